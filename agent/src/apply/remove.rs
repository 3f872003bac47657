//! Removing what a plan names, and nothing else.

use std::collections::BTreeSet;
use std::io;

use crate::apply::Applier;
use crate::apply::Problem;
use crate::disk::Disk;
use crate::log::Medium;
use crate::path::RelPath;
use crate::tree::Directory;
use crate::tree::Item;
use crate::tree::Keep;
use crate::tree::Name;
use crate::versions::Cause;

impl<D: Disk, M: Medium> Applier<'_, D, M> {
    /// Removes what stands there if it is `old`; returns what is left of it.
    pub(super) fn remove(&mut self, path: Option<&RelPath>, local: &Item, old: &Item) -> Option<Item> {
        match (local, old) {
            (Item::Directory(local), Item::Directory(old)) => self.remove_directory(path, local, old),
            _ if self.full => local.carried(),
            _ => match path.map(|path| self.remove_leaf(path, local)) {
                Some(Ok(())) => None,
                Some(Err(problem)) => {
                    self.fail(path, problem);
                    local.carried()
                }
                None => local.carried(),
            },
        }
    }

    fn remove_leaf(&mut self, path: &RelPath, local: &Item) -> Result<(), Problem> {
        let cause = if self.lost { Cause::LostConflict } else { Cause::Deleted };
        let moves = match local {
            Item::File(file) => self.wanted.contains(&file.digest) && !self.moving.contains_key(&file.digest),
            _ => false,
        };
        let taken = self.take_aside(path, local, cause, moves)?;
        if let (Some(id), true, Item::File(file)) = (taken, moves, local) {
            self.moving.insert(file.digest, id);
        }
        Ok(())
    }

    fn remove_directory(
        &mut self,
        path: Option<&RelPath>,
        local: &Directory,
        old: &Directory,
    ) -> Option<Item> {
        let mut left = Vec::new();
        let mut disposable = BTreeSet::new();
        let mut foreign = false;
        for (name, child) in local {
            let named = old.get(name).filter(|old| old.is_carried());
            match (child, named) {
                (Item::Untracked(Keep::Disposable), _) => drop(disposable.insert(name.clone())),
                (Item::Untracked(Keep::Protected) | Item::Problematic(_), _) => foreign = true,
                (child, Some(old)) if fits(child, old) => {
                    let below = RelPath::child(path, name).ok();
                    let rest = self.remove(below.as_ref(), child, old);
                    left.extend(rest.map(|rest| (name.clone(), rest)));
                }
                (child, _) => {
                    foreign = true;
                    left.extend(child.carried().map(|child| (name.clone(), child)));
                }
            }
        }
        let Some(here) = path else { return Some(Item::Directory(Directory::from_children(left))) };
        if foreign && self.rules.only_named {
            self.fail(path, Problem::NotEmpty);
        } else if left.is_empty() && !self.full {
            match self.remove_emptied(here, &disposable) {
                Ok(()) => return None,
                Err(problem) => self.fail(path, problem),
            }
        }
        Some(Item::Directory(Directory::from_children(left)))
    }

    /// Removes a directory that holds nothing but what is disposable.
    fn remove_emptied(&mut self, path: &RelPath, disposable: &BTreeSet<Name>) -> Result<(), Problem> {
        if !self.rules.only_named {
            let slot = self.versions.dispose(self.disk.now())?;
            return Ok(self.disk.take(path, slot)?);
        }
        if !disposable.is_empty() {
            let listing = self.disk.list(path.into())?;
            if listing.iter().any(|(name, _)| !disposable.contains(name)) {
                return Err(Problem::NotEmpty);
            }
            for (name, _) in listing {
                let child = path.join(&name).map_err(|error| Problem::Refused(error.to_string()))?;
                let slot = self.versions.dispose(self.disk.now())?;
                self.disk.take(&child, slot)?;
            }
        }
        match self.disk.remove_directory(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => Ok(done?),
        }
    }
}

fn fits(local: &Item, old: &Item) -> bool {
    super::fits(Some(local), Some(old))
}
