//! The file system of the simulation: inodes, directories, a coarse clock, and what of it would survive a crash.
//!
//! Each change of names is a *step*: a few assignments that happen together or not at all, and the directories they
//! touch. A crash keeps, of the steps since the last sync, any set in which each directory's steps are cut at one point
//! and no step is kept without those it rests on. Content that was not brought to the disk is old, new, torn or empty.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use rustix::io::Errno;

use crate::disk::Facts;
use crate::disk::Kind;
use crate::disk::Nonce;
use crate::disk::Owner;
use crate::disk::sim::random::Random;
use crate::path::RelPath;
use crate::tree::Name;

/// The coarse clock's step, as of a kernel with 250 ticks a second.
pub const TICK: i64 = 4_000_000;

/// The directories there are at the beginning.
pub(super) const ROOT: u64 = 1;
pub(super) const STAGING: u64 = 2;
pub(super) const KEPT: u64 = 3;

type Entries = BTreeMap<Name, u64>;

/// A file system in memory. What a user does to it is in `user`; the engine goes through a
/// [`SimDisk`](crate::disk::sim::SimDisk).
#[derive(Debug, Clone)]
pub struct Volume {
    pub(super) inodes: BTreeMap<u64, Inode>,
    pub(super) directories: BTreeMap<u64, Entries>,
    durable: BTreeMap<u64, Entries>,
    pending: Vec<Step>,
    parents: BTreeMap<u64, (u64, Name)>,
    next: u64,
    free_numbers: Vec<u64>,
    clock: i64,
    capacity: Option<u64>,
    /// What the folder was marked with.
    pub(super) nonce: Nonce,
    changed: BTreeSet<Option<RelPath>>,
    pub(super) random: Random,
}

#[derive(Debug, Clone)]
pub(super) struct Inode {
    pub(super) body: Body,
    pub(super) mode: u32,
    pub(super) owner: Owner,
    pub(super) modified: i64,
    changed: i64,
    pub(super) born: i64,
    /// What the kernel calls it; given again once it is free, as real file systems do.
    pub(super) number: u64,
    links: u64,
    pub(super) opens: u32,
}

#[derive(Debug, Clone)]
pub(super) enum Body {
    Directory,
    File {
        now: Arc<Vec<u8>>,
        /// What would be read after a crash.
        safe: Arc<Vec<u8>>,
    },
    Link(Vec<u8>),
    Other(Kind),
}

/// Assignments that happen together: in a directory, a name, what it stands for from now on.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) names: Vec<(u64, Name, Option<u64>)>,
    /// Directories it touches besides those.
    pub(super) touches: Option<u64>,
}

impl Volume {
    pub(super) fn new(seed: u64) -> Self {
        let mut volume = Self {
            inodes: BTreeMap::new(),
            directories: BTreeMap::new(),
            durable: BTreeMap::new(),
            pending: Vec::new(),
            parents: BTreeMap::new(),
            next: ROOT,
            free_numbers: Vec::new(),
            clock: 1_700_000_000_000_000_000,
            capacity: None,
            nonce: Nonce::default(),
            changed: BTreeSet::new(),
            random: Random::new(seed),
        };
        for key in [ROOT, STAGING, KEPT] {
            let made = volume.create(Body::Directory, 0o755);
            debug_assert_eq!(made, key);
            if let Some(inode) = volume.inodes.get_mut(&key) {
                inode.links = 1;
            }
        }
        volume.sync();
        volume
    }

    /// The coarse clock.
    pub fn now(&self) -> i64 {
        self.clock - self.clock % TICK
    }

    /// Lets time pass.
    pub fn advance(&mut self, nanoseconds: i64) {
        self.clock += nanoseconds;
    }

    /// Limits the bytes all files together may have.
    pub fn limit(&mut self, capacity: Option<u64>) {
        self.capacity = capacity;
    }

    pub(super) fn free(&self) -> u64 {
        self.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(self.used()))
    }

    fn used(&self) -> u64 {
        self.inodes.values().filter(|inode| inode.links > 0).map(Inode::size).sum()
    }

    /// The directories of the folder in which something happened since the last question: what a watcher would say.
    pub fn take_changed(&mut self) -> BTreeSet<Option<RelPath>> {
        std::mem::take(&mut self.changed)
    }

    pub(super) fn find(&self, path: &RelPath) -> Option<u64> {
        let mut at = ROOT;
        for component in path.components() {
            at = *self.directories.get(&at)?.get(component)?;
        }
        Some(at)
    }

    /// The directory a path stands in, and its name there.
    pub(super) fn spot(&self, path: &RelPath) -> io::Result<(u64, Name)> {
        let parent = path.parent().map_or(Some(ROOT), |parent| self.find(&parent)).ok_or(Errno::NOENT)?;
        if !self.is_directory(parent) {
            return Err(Errno::NOTDIR.into());
        }
        Ok((parent, path.name().into()))
    }

    pub(super) fn is_directory(&self, key: u64) -> bool {
        self.directories.contains_key(&key)
    }

    pub(super) fn facts(&self, key: u64) -> Facts {
        let inode = &self.inodes[&key];
        let kind = match &inode.body {
            Body::Directory => Kind::Directory,
            Body::File { .. } => Kind::File,
            Body::Link(_) => Kind::Symlink,
            Body::Other(kind) => *kind,
        };
        Facts {
            kind,
            size: inode.size(),
            modified: inode.modified,
            changed: inode.changed,
            inode: inode.number,
            device: 1,
            links: inode.links,
            mode: inode.mode,
            owner: inode.owner,
        }
    }

    pub(super) fn create_at(&mut self, directory: u64, name: Name, body: Body, mode: u32) -> io::Result<u64> {
        if self.directories[&directory].contains_key(&name) {
            return Err(Errno::EXIST.into());
        }
        let key = self.create(body, mode);
        let touches = self.is_directory(key).then_some(key);
        self.step(Step { names: vec![(directory, name, Some(key))], touches });
        Ok(key)
    }

    pub(super) fn create(&mut self, body: Body, mode: u32) -> u64 {
        let (key, now) = (self.next, self.now());
        self.next += 1;
        let number = self.free_numbers.pop().unwrap_or(100 + key);
        if matches!(body, Body::Directory) {
            self.directories.insert(key, Entries::new());
        }
        let owner = Owner { user: 0, group: 0 };
        let inode =
            Inode { body, mode, owner, modified: now, changed: now, born: now, number, links: 0, opens: 0 };
        self.inodes.insert(key, inode);
        key
    }

    pub(super) fn unlink(&mut self, directory: u64, name: Name) -> io::Result<()> {
        let key = *self.directories[&directory].get(&name).ok_or(Errno::NOENT)?;
        let touches = self.is_directory(key).then_some(key);
        if touches.is_some_and(|key| !self.directories[&key].is_empty()) {
            return Err(Errno::NOTEMPTY.into());
        }
        self.step(Step { names: vec![(directory, name, None)], touches });
        Ok(())
    }

    /// Removes a name with all below it.
    pub(super) fn unlink_all(&mut self, directory: u64, name: Name) {
        let Some(&key) = self.directories[&directory].get(&name) else { return };
        for child in
            self.directories.get(&key).into_iter().flat_map(BTreeMap::keys).cloned().collect::<Vec<_>>()
        {
            self.unlink_all(key, child);
        }
        let touches = self.is_directory(key).then_some(key);
        self.step(Step { names: vec![(directory, name, None)], touches });
    }

    pub(super) fn relocate(&mut self, from: (u64, Name), to: (u64, Name)) -> io::Result<()> {
        let key = *self.directories[&from.0].get(&from.1).ok_or(Errno::NOENT)?;
        self.refuse_loop(key, to.0)?;
        self.step(Step { names: vec![(from.0, from.1, None), (to.0, to.1, Some(key))], touches: None });
        Ok(())
    }

    pub(super) fn swap(&mut self, one: (u64, Name), other: (u64, Name)) -> io::Result<()> {
        let first = *self.directories[&one.0].get(&one.1).ok_or(Errno::NOENT)?;
        let second = *self.directories[&other.0].get(&other.1).ok_or(Errno::NOENT)?;
        self.refuse_loop(first, other.0)?;
        self.refuse_loop(second, one.0)?;
        let names = vec![(one.0, one.1, Some(second)), (other.0, other.1, Some(first))];
        self.step(Step { names, touches: None });
        Ok(())
    }

    fn refuse_loop(&self, key: u64, mut into: u64) -> io::Result<()> {
        loop {
            if into == key {
                return Err(Errno::INVAL.into());
            }
            match self.parents.get(&into) {
                Some((parent, _)) => into = *parent,
                None => return Ok(()),
            }
        }
    }

    pub(super) fn fill(&mut self, key: u64, content: Vec<u8>) -> io::Result<()> {
        let size = self.inodes.get(&key).map_or(0, Inode::size);
        if self.capacity.is_some_and(|capacity| self.used() - size + content.len() as u64 > capacity) {
            return Err(Errno::NOSPC.into());
        }
        let clock = self.now();
        let inode = self.inodes.get_mut(&key).ok_or(Errno::BADF)?;
        let Body::File { now, .. } = &mut inode.body else { return Err(Errno::ISDIR.into()) };
        *now = Arc::new(content);
        (inode.modified, inode.changed) = (clock, clock);
        for (directory, entries) in &self.directories {
            if entries.values().any(|entry| *entry == key) {
                self.changed.extend(path_of(&self.parents, *directory));
            }
        }
        Ok(())
    }

    pub(super) fn set_mode(&mut self, key: u64, mode: u32) {
        let now = self.now();
        if let Some(inode) = self.inodes.get_mut(&key) {
            (inode.mode, inode.changed) = (mode, now);
        }
        for (directory, entries) in &self.directories {
            if entries.values().any(|entry| *entry == key) {
                self.changed.extend(path_of(&self.parents, *directory));
            }
        }
    }

    /// Brings one file's content to the disk.
    pub(super) fn order(&mut self, key: u64) {
        if let Some(Inode { body: Body::File { now, safe }, .. }) = self.inodes.get_mut(&key) {
            *safe = now.clone();
        }
    }

    pub(super) fn step(&mut self, step: Step) {
        let now = self.now();
        for (directory, name, key) in &step.names {
            let entries = self.directories.entry(*directory).or_default();
            let before = match key {
                Some(key) => entries.insert(name.clone(), *key),
                None => entries.remove(name),
            };
            for (key, more) in [(before, false), (*key, true)] {
                let Some(inode) = key.and_then(|key| self.inodes.get_mut(&key)) else { continue };
                inode.links = if more { inode.links + 1 } else { inode.links.saturating_sub(1) };
                inode.changed = now;
            }
            if let Some(directory) = self.inodes.get_mut(directory) {
                (directory.modified, directory.changed) = (now, now);
            }
            self.changed.extend(path_of(&self.parents, *directory));
        }
        for (directory, name, key) in &step.names {
            if let Some(key) = key.filter(|key| self.directories.contains_key(key)) {
                self.parents.insert(key, (*directory, name.clone()));
            }
        }
        self.pending.push(step);
    }

    // What survives.

    /// Everything done so far survives.
    pub fn sync(&mut self) {
        for inode in self.inodes.values_mut() {
            if let Body::File { now, safe } = &mut inode.body {
                *safe = now.clone();
            }
        }
        self.pending.clear();
        self.collect();
        self.durable = self.directories.clone();
    }

    /// Forgets what has no name and is not open.
    fn collect(&mut self) {
        let gone: Vec<u64> = self
            .inodes
            .iter()
            .filter(|(_, inode)| inode.links == 0 && inode.opens == 0)
            .map(|(key, _)| *key)
            .collect();
        for key in gone {
            self.directories.remove(&key);
            self.parents.remove(&key);
            if let Some(inode) = self.inodes.remove(&key) {
                self.free_numbers.push(inode.number);
            }
        }
    }

    /// The machine stops. What is left is a legal remainder of what was there, drawn from the seed.
    pub fn crash(&mut self) {
        let chance = [0, 2, 10, 50, 100][self.random.below(5)];
        let mut directories = std::mem::take(&mut self.durable);
        let mut cut = BTreeSet::new();
        for step in std::mem::take(&mut self.pending) {
            let touched = || step.names.iter().map(|(directory, ..)| *directory).chain(step.touches);
            if touched().any(|directory| cut.contains(&directory)) || self.random.below(100) < chance {
                cut.extend(touched());
                continue;
            }
            if let Some(made) = step.touches {
                directories.entry(made).or_default();
            }
            for (directory, name, key) in step.names {
                let entries = directories.entry(directory).or_default();
                match key {
                    Some(key) => drop(entries.insert(name, key)),
                    None => drop(entries.remove(&name)),
                }
            }
        }
        self.directories = directories;
        self.settle_content();
        self.settle_names();
        self.durable = self.directories.clone();
        self.clock += 10_000_000_000;
    }

    fn settle_content(&mut self) {
        for inode in self.inodes.values_mut() {
            inode.opens = 0;
            let Body::File { now, safe } = &mut inode.body else { continue };
            if now != safe {
                *now = match self.random.below(4) {
                    0 => Arc::default(),
                    1 => safe.clone(),
                    2 => now.clone(),
                    _ => Arc::new(now[..self.random.below(now.len() + 1)].to_vec()),
                };
                *safe = now.clone();
            }
        }
    }

    /// Links are counted again, and what cannot be reached is gone.
    fn settle_names(&mut self) {
        let mut links = BTreeMap::from([(ROOT, 1), (STAGING, 1), (KEPT, 1)]);
        let mut pending = vec![ROOT, STAGING, KEPT];
        self.parents.clear();
        while let Some(directory) = pending.pop() {
            for (name, key) in self.directories.entry(directory).or_default().clone() {
                *links.entry(key).or_insert(0) += 1;
                if matches!(self.inodes[&key].body, Body::Directory) {
                    self.directories.entry(key).or_default();
                    self.parents.insert(key, (directory, name));
                    pending.push(key);
                }
            }
        }
        for (key, inode) in &mut self.inodes {
            inode.links = links.get(key).copied().unwrap_or(0);
        }
        self.free_numbers.clear();
        self.collect();
        // Freed numbers may have been given away already.
        self.free_numbers.clear();
        let mut numbers = BTreeSet::new();
        for inode in self.inodes.values_mut() {
            while !numbers.insert(inode.number) {
                inode.number += 1_000_000;
            }
        }
    }
}

impl Inode {
    fn size(&self) -> u64 {
        match &self.body {
            Body::Directory | Body::Other(_) => 0,
            Body::File { now, .. } => now.len() as u64,
            Body::Link(target) => target.len() as u64,
        }
    }
}

impl Body {
    pub(super) fn empty() -> Self {
        Self::File { now: Arc::default(), safe: Arc::default() }
    }
}

/// The path of a directory of the folder; nothing for the rooms beside it.
fn path_of(parents: &BTreeMap<u64, (u64, Name)>, mut directory: u64) -> Option<Option<RelPath>> {
    let mut names = Vec::new();
    while let Some((parent, name)) = parents.get(&directory) {
        names.push(name.clone());
        directory = *parent;
    }
    if directory != ROOT {
        return None;
    }
    names.reverse();
    Some(RelPath::parse(&names.join(&b'/')).ok())
}
