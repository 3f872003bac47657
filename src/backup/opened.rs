//! A destination that is open, in whichever form it is: what is asked of it goes on with what was found at the first look.
//!
//! Everything but opening and locking blocks: callers are on threads that may.

use std::fs::File;
use std::sync::Arc;

use super::control::Backups;
use super::control::blocking;
use super::destination::Destination;
use super::destination::Form;
use super::error::Error;
use super::mirror::mirrors::Mirrors;
use super::mirror::read;
use super::objects::Objects;
use super::pace::Paced;
use super::repository;
use super::repository::Access;
use super::repository::Lock;
use super::repository::Repository;
use super::restore::Wanted;
use super::snapshot;
use super::snapshot::Read;
use super::snapshot::Snapshot;
use super::trouble::Cause;
use super::trouble::Trouble;
use crate::base::clock;
use crate::base::sealed::Sealed;

/// A destination that is open.
pub enum Opened {
    /// Nothing was backed up there yet.
    Nothing,
    /// The incremental form.
    Repository(Box<Repository>),
    /// The mirror form, which needs no opening: whether something is there shows when it is listed.
    Mirrors(Mirrors),
}

impl Opened {
    /// All snapshots of folders, the oldest first.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn snapshots(&self) -> Result<Vec<Snapshot>, Trouble> {
        match self {
            Self::Nothing => Ok(Vec::new()),
            Self::Repository(repository) => repository.snapshots(),
            Self::Mirrors(mirrors) => mirrors.snapshots(),
        }
    }

    /// All snapshots of nodes' own state, the oldest first.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn states(&self) -> Result<Vec<Snapshot>, Trouble> {
        match self {
            Self::Nothing => Ok(Vec::new()),
            Self::Repository(repository) => repository.states(),
            Self::Mirrors(mirrors) => mirrors.states(),
        }
    }

    /// Ready to give content back.
    ///
    /// # Errors
    /// When there is nothing, or it cannot be read.
    pub fn reader(self) -> Result<Reader, Trouble> {
        match self {
            Self::Nothing => Err(Trouble::new(Cause::Missing, "read a snapshot", "the repository is gone")),
            Self::Repository(repository) => Ok(Reader::Repository(Box::new(repository.reader()?))),
            Self::Mirrors(mirrors) => Ok(Reader::Mirrors(mirrors)),
        }
    }

    /// What is not whole; with `read` down to each byte.
    ///
    /// # Errors
    /// When that cannot be found out.
    pub fn check(&self, read: bool) -> Result<Vec<String>, Trouble> {
        match self {
            Self::Nothing => Ok(Vec::new()),
            Self::Repository(repository) => repository.check(read),
            Self::Mirrors(mirrors) => mirrors.check(read),
        }
    }

    /// Takes snapshots out of the list.
    ///
    /// # Errors
    /// When some stay.
    pub fn forget(&self, snapshots: &[Snapshot]) -> Result<(), Trouble> {
        match self {
            Self::Nothing => Ok(()),
            Self::Repository(repository) => {
                let ids: Vec<String> = snapshots.iter().map(|one| one.id.clone()).collect();
                repository.forget(&ids)
            }
            Self::Mirrors(mirrors) => mirrors.forget(snapshots),
        }
    }
}

/// Gives back what an open destination holds.
pub enum Reader {
    /// The incremental form.
    Repository(Box<repository::Reader>),
    /// The mirror form.
    Mirrors(Mirrors),
}

/// What reads a file of a snapshot.
pub enum Content {
    /// The incremental form.
    Repository(repository::Content),
    /// The mirror form, with what reads the folder it is of.
    Mirror(Arc<read::Reader>, read::Content),
}

impl snapshot::Reader for Reader {
    type Content = Content;

    fn entries(
        &self,
        snapshot: &Snapshot,
        likely: &dyn Fn(&Wanted) -> bool,
        each: &mut dyn FnMut(Read<Content>),
    ) -> Result<Wanted, Trouble> {
        match self {
            Self::Repository(reader) => reader.entries(snapshot, likely, &mut |entry| {
                each(entry.map(|(wanted, content)| (wanted, Content::Repository(content))));
            }),
            Self::Mirrors(mirrors) => {
                let reader = Arc::new(mirrors.reader(snapshot)?);
                reader.entries(snapshot, likely, &mut |entry| {
                    let of = |content| Content::Mirror(Arc::clone(&reader), content);
                    each(entry.map(|(wanted, content)| (wanted, of(content))));
                })
            }
        }
    }

    fn content(&self, content: Content, to: &mut File) -> Result<(), Trouble> {
        match (self, content) {
            (_, Content::Mirror(reader, content)) => reader.content(content, to),
            (Self::Repository(reader), Content::Repository(content)) => reader.content(content, to),
            (Self::Mirrors(_), Content::Repository(_)) => {
                unreachable!("a reader is asked for what it has listed itself")
            }
        }
    }

    fn length(&self, content: &Content) -> u64 {
        match (self, content) {
            (_, Content::Mirror(reader, content)) => reader.length(content),
            (Self::Repository(reader), Content::Repository(content)) => reader.length(content),
            (Self::Mirrors(_), Content::Repository(_)) => {
                unreachable!("a reader is asked for what it has listed itself")
            }
        }
    }

    fn fingerprint(content: &Content) -> [u8; 32] {
        match content {
            Content::Repository(content) => repository::Reader::fingerprint(content),
            Content::Mirror(_, content) => read::Reader::fingerprint(content),
        }
    }
}

impl Backups {
    /// The objects of a destination.
    pub(super) fn objects(&self, destination: &Destination) -> Result<Objects, Trouble> {
        let patience = &self.inner().settings.patience;
        let objects = match destination.form {
            Form::Incremental => Objects::open(&destination.place, patience),
            Form::Mirror => Objects::open_plain(&destination.place, patience),
        }?;
        Ok(match self.inner().paces.get(&destination.name) {
            Some(pace) => objects.through(|store| Arc::new(Paced::new(store, Arc::clone(pace)))),
            None => objects,
        })
    }

    /// What opens a destination's repository.
    pub(super) fn access(&self, destination: &Destination) -> Result<Access, Trouble> {
        let home = self.inner().home.backup();
        Ok(Access {
            objects: self.objects(destination)?,
            keys: home.join("keys").join(format!("{}.json", destination.name)),
            cache: home.join("cache"),
            runtime: self.inner().runtime.clone(),
            stop: self.inner().closing.child_token(),
        })
    }

    /// The same, and the password that was given for it.
    ///
    /// # Errors
    /// When there is no such destination, or it is a mirror.
    pub(super) fn opening(&self, name: &str) -> Result<(Access, Option<Sealed<String>>), Error> {
        let destination = self.destination(name)?;
        if destination.form == Form::Mirror {
            return Err(Error::Mirror { destination: name.to_owned() });
        }
        Ok((self.access(destination)?, self.inner().settings.passwords.get(name).cloned()))
    }

    /// The mirrors at a destination.
    pub(super) fn mirrors(&self, objects: Objects) -> Mirrors {
        Mirrors { objects, runtime: self.inner().runtime.clone(), stop: self.inner().closing.child_token() }
    }

    /// Opens a destination, in whichever form it is.
    pub(super) async fn open(&self, name: &str) -> Result<Opened, Error> {
        let destination = self.destination(name)?;
        if destination.form == Form::Mirror {
            return Ok(Opened::Mirrors(self.mirrors(self.objects(destination)?)));
        }
        let repository = self.repository(name).await?;
        Ok(repository.map_or(Opened::Nothing, |repository| Opened::Repository(Box::new(repository))))
    }

    /// The repository at a destination; `None` when there is none.
    ///
    /// # Errors
    /// When it cannot be opened, or the destination is a mirror.
    pub(super) async fn repository(&self, name: &str) -> Result<Option<Repository>, Error> {
        let (access, password) = self.opening(name)?;
        Ok(blocking(move || access.open_with_password(password)).await?)
    }

    /// The snapshots at one destination, the oldest first, and the open destination to go on with.
    pub(super) async fn listed(&self, name: &str) -> Result<(Vec<Snapshot>, Opened), Error> {
        let opened = self.open(name).await?;
        Ok(blocking(move || Ok((opened.snapshots()?, opened))).await?)
    }

    /// Says at a destination that we are at work there, beside others. Nobody has to be told at a mirror: each node writes
    /// objects of its own.
    pub(super) async fn lock(&self, opened: &Opened) -> Result<Option<Lock>, Trouble> {
        let Opened::Repository(repository) = opened else { return Ok(None) };
        let (objects, master) = (repository.objects(), repository.master());
        Lock::take(objects, &master, &self.inner().host, clock::now()).await.map(Some)
    }
}
