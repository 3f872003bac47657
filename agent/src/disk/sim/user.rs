//! What a user does to a simulated file system, and sees of it.

use std::collections::BTreeMap;
use std::io;

use rustix::io::Errno;

use crate::disk::Kind;
use crate::disk::Nonce;
use crate::disk::sim::volume::Body;
use crate::disk::sim::volume::KEPT;
use crate::disk::sim::volume::ROOT;
use crate::disk::sim::volume::STAGING;
use crate::disk::sim::volume::Step;
use crate::disk::sim::volume::Volume;
use crate::path::RelPath;

/// What a user sees at a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Seen {
    /// A directory.
    Directory,
    /// A file's content, and whether it may be executed.
    File(Vec<u8>, bool),
    /// A link's target.
    Symlink(Vec<u8>),
    /// Anything else.
    Other,
}

/// A descriptor a user holds for writing, whatever becomes of the name.
#[derive(Debug, Clone, Copy)]
pub struct Held(u64);

impl Volume {
    /// Writes into a file, made when it is not there: the inode stays.
    ///
    /// # Errors
    /// As a kernel would.
    pub fn write(&mut self, path: &str, content: &[u8]) -> io::Result<()> {
        let (directory, name) = self.spot(&parse(path))?;
        let key = match self.directories[&directory].get(&name) {
            Some(&key) => key,
            None => self.create_at(directory, name, Body::empty(), 0o644)?,
        };
        self.fill(key, content.to_vec())
    }

    /// Saves as most editors do: a new file renamed over the old one.
    ///
    /// # Errors
    /// As a kernel would.
    pub fn save(&mut self, path: &str, content: &[u8]) -> io::Result<()> {
        let (directory, name) = self.spot(&parse(path))?;
        if self.directories[&directory].get(&name).is_some_and(|key| self.is_directory(*key)) {
            return Err(Errno::ISDIR.into());
        }
        let key = self.create(Body::empty(), 0o644);
        self.fill(key, content.to_vec())?;
        self.step(Step { names: vec![(directory, name, Some(key))], touches: None });
        Ok(())
    }

    /// Removes a file, a link, or a directory with all it holds.
    ///
    /// # Errors
    /// As a kernel would.
    pub fn remove(&mut self, path: &str) -> io::Result<()> {
        let (directory, name) = self.spot(&parse(path))?;
        if !self.directories[&directory].contains_key(&name) {
            return Err(Errno::NOENT.into());
        }
        self.unlink_all(directory, name);
        Ok(())
    }

    /// Makes a directory.
    ///
    /// # Errors
    /// As a kernel would.
    pub fn make_directory(&mut self, path: &str) -> io::Result<()> {
        let (directory, name) = self.spot(&parse(path))?;
        self.create_at(directory, name, Body::Directory, 0o755).map(drop)
    }

    /// Removes the folder itself and makes it again, empty, on a file system that gives the new one the inode number of
    /// the old and knows no births.
    pub fn make_again(&mut self) {
        for name in self.directories[&ROOT].keys().cloned().collect::<Vec<_>>() {
            self.unlink_all(ROOT, name);
        }
        self.nonce = Nonce::default();
        self.sync();
    }

    /// Makes a symbolic link.
    ///
    /// # Errors
    /// As a kernel would.
    pub fn link(&mut self, path: &str, target: &[u8]) -> io::Result<()> {
        let (directory, name) = self.spot(&parse(path))?;
        self.create_at(directory, name, Body::Link(target.to_vec()), 0o777).map(drop)
    }

    /// Makes something that is never carried: a pipe, a socket, a device.
    ///
    /// # Errors
    /// As a kernel would.
    pub fn make_other(&mut self, path: &str, kind: Kind) -> io::Result<()> {
        let (directory, name) = self.spot(&parse(path))?;
        self.create_at(directory, name, Body::Other(kind), 0o644).map(drop)
    }

    /// Gives a file a second name.
    ///
    /// # Errors
    /// As a kernel would.
    pub fn hard_link(&mut self, from: &str, to: &str) -> io::Result<()> {
        let (directory, name) = self.spot(&parse(from))?;
        let key = *self.directories[&directory].get(&name).ok_or(Errno::NOENT)?;
        let (directory, name) = self.spot(&parse(to))?;
        self.step(Step { names: vec![(directory, name, Some(key))], touches: None });
        Ok(())
    }

    /// Moves, over a file if one is there.
    ///
    /// # Errors
    /// As a kernel would.
    pub fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let (from, to) = (self.spot(&parse(from))?, self.spot(&parse(to))?);
        if self.directories[&to.0].get(&to.1).is_some_and(|key| self.is_directory(*key)) {
            return Err(Errno::ISDIR.into());
        }
        self.relocate(from, to)
    }

    /// Makes a file executable, or not.
    ///
    /// # Errors
    /// As a kernel would.
    pub fn set_executable(&mut self, path: &str, executable: bool) -> io::Result<()> {
        let key = self.find(&parse(path)).ok_or(Errno::NOENT)?;
        self.set_mode(key, if executable { 0o755 } else { 0o644 });
        Ok(())
    }

    /// Keeps a file open for writing.
    pub fn hold(&self, path: &str) -> Option<Held> {
        self.find(&parse(path)).map(Held)
    }

    /// Writes through a descriptor held, wherever the file is now.
    ///
    /// # Errors
    /// As a kernel would.
    pub fn write_held(&mut self, held: Held, content: &[u8]) -> io::Result<()> {
        self.fill(held.0, content.to_vec())
    }

    /// What stands at a path.
    pub fn see(&self, path: &str) -> Option<Seen> {
        self.find(&parse(path)).map(|key| self.seen(key))
    }

    /// Everything in the folder.
    pub fn see_all(&self) -> BTreeMap<String, Seen> {
        self.below(ROOT)
    }

    /// Everything in the staging area and among the kept files.
    pub fn see_slots(&self) -> BTreeMap<String, Seen> {
        let mut all = self.below(STAGING);
        all.extend(self.below(KEPT));
        all
    }

    fn below(&self, directory: u64) -> BTreeMap<String, Seen> {
        let mut all = BTreeMap::new();
        let mut pending = vec![(String::new(), directory)];
        while let Some((prefix, directory)) = pending.pop() {
            for (name, &key) in &self.directories[&directory] {
                let path = format!("{prefix}{}", String::from_utf8_lossy(name));
                if self.is_directory(key) {
                    pending.push((format!("{path}/"), key));
                }
                all.insert(path, self.seen(key));
            }
        }
        all
    }

    fn seen(&self, key: u64) -> Seen {
        let inode = &self.inodes[&key];
        match &inode.body {
            Body::Directory => Seen::Directory,
            Body::File { now, .. } => Seen::File(now.to_vec(), inode.mode & 0o111 != 0),
            Body::Link(target) => Seen::Symlink(target.clone()),
            Body::Other(_) => Seen::Other,
        }
    }
}

fn parse(path: &str) -> RelPath {
    RelPath::parse(path.as_bytes()).expect("a path in a simulation is a path")
}
