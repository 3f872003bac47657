//! A listing seen from one of its directories: every path a detector says is relative to where commands run.

use crate::model::project::Problem;
use crate::model::project::Reason;
use crate::project::listing::Content;
use crate::project::listing::Entry;
use crate::project::listing::EntryKind;
use crate::project::listing::Listing;

/// One directory of a listing. `base` is `""` for the project itself.
#[derive(Debug, Clone)]
pub(crate) struct View<'a> {
    listing: &'a Listing,
    base: String,
}

impl<'a> View<'a> {
    pub(crate) fn new(listing: &'a Listing, base: &str) -> Self {
        Self { listing, base: base.to_owned() }
    }

    /// The same listing seen from a directory below this one.
    pub(crate) fn child(&self, directory: &str) -> Self {
        Self { listing: self.listing, base: self.path(directory) }
    }

    pub(crate) fn listing(&self) -> &'a Listing {
        self.listing
    }

    /// The directory as a detection's root says it.
    pub(crate) fn root(&self) -> String {
        if self.base.is_empty() { ".".to_owned() } else { self.base.clone() }
    }

    /// A path relative to the project.
    pub(crate) fn path(&self, relative: &str) -> String {
        if self.base.is_empty() { relative.to_owned() } else { format!("{}/{relative}", self.base) }
    }

    pub(crate) fn entry(&self, relative: &str) -> Option<&'a Entry> {
        self.listing.entry(&self.path(relative))
    }

    pub(crate) fn has(&self, file: &str) -> bool {
        self.entry(file).is_some_and(|entry| entry.kind == EntryKind::File)
    }

    pub(crate) fn has_dir(&self, directory: &str) -> bool {
        self.entry(directory)
            .is_some_and(|entry| matches!(entry.kind, EntryKind::Directory | EntryKind::Skipped))
    }

    pub(crate) fn text(&self, file: &str) -> Option<&'a str> {
        self.listing.text(&self.path(file))
    }

    pub(crate) fn content(&self, file: &str) -> Option<&'a Content> {
        self.listing.content(&self.path(file))
    }

    /// The first of several files that exists.
    pub(crate) fn first<'n>(&self, files: &[&'n str]) -> Option<&'n str> {
        files.iter().copied().find(|file| self.has(file))
    }

    /// The first of several files that exists and has text, with the text.
    pub(crate) fn first_text<'n>(&self, files: &[&'n str]) -> Option<(&'n str, &'a str)> {
        files.iter().find_map(|file| Some((*file, self.text(file)?)))
    }

    /// Names directly in this directory.
    pub(crate) fn names(&self) -> impl Iterator<Item = (&'a str, &'a Entry)> + use<'a> {
        self.listing.below(&self.base).filter(|(path, _)| !path.contains('/'))
    }

    /// Names of files directly in this directory that end so.
    pub(crate) fn names_ending<'e>(&self, ending: &'e str) -> impl Iterator<Item = &'a str> + use<'a, 'e> {
        let files = self.names().filter(|(_, entry)| entry.kind == EntryKind::File);
        files.map(|(name, _)| name).filter(move |name| name.ends_with(ending))
    }

    /// Directories directly in this one, hidden and skipped ones left out.
    pub(crate) fn directories(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.names()
            .filter(|(name, entry)| entry.kind == EntryKind::Directory && !name.starts_with('.'))
            .map(|(name, _)| name)
    }

    /// Every file below this directory, nearest first, then by name.
    pub(crate) fn files(&self) -> Vec<&'a str> {
        let mut files: Vec<&'a str> = self
            .listing
            .below(&self.base)
            .filter(|(_, entry)| entry.kind == EntryKind::File)
            .map(|(path, _)| path)
            .collect();
        files.sort_by_key(|path| (path.matches('/').count(), *path));
        files
    }

    /// Every file with one of these endings that has text, nearest first.
    pub(crate) fn sources(&self, endings: &[&str]) -> Vec<(&'a str, &'a str)> {
        self.files()
            .into_iter()
            .filter(|path| endings.iter().any(|ending| path.ends_with(ending)))
            .filter_map(|path| Some((path, self.text(path)?)))
            .collect()
    }

    pub(crate) fn reason(&self, file: &str, fact: impl Into<String>) -> Reason {
        let file = if file.is_empty() { String::new() } else { self.path(file) };
        Reason { file, fact: fact.into() }
    }

    /// A problem that stops the project from running.
    pub(crate) fn fatal(&self, file: &str, message: impl Into<String>, hint: impl Into<String>) -> Problem {
        Problem { fatal: true, ..self.warning(file, message, hint) }
    }

    /// A problem the project may live with.
    pub(crate) fn warning(&self, file: &str, message: impl Into<String>, hint: impl Into<String>) -> Problem {
        let file = if file.is_empty() { String::new() } else { self.path(file) };
        let hint = Some(hint.into()).filter(|hint| !hint.is_empty());
        Problem { file, line: None, column: None, message: message.into(), hint, fatal: false }
    }
}
