//! A medium that forgets at a crash what was not synced, and fails when told to.

use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use crate::log::Medium;

/// A file in memory. Copies are the same file: one outlives the journal that is killed.
#[derive(Debug, Clone, Default)]
pub struct Memory(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    bytes: Vec<u8>,
    /// How many of them survive a crash.
    synced: usize,
    /// The calls until they fail.
    fails_in: Option<usize>,
    /// How many bytes it holds at most.
    capacity: Option<usize>,
}

impl Memory {
    /// An empty file.
    pub fn new() -> Self {
        Self::default()
    }

    /// Loses power. Of what was not synced a part stays, `choose` says which: given how many bytes there are, how many
    /// were written; and of each block among those, whether it was (2) or reads as zeros (below 2).
    pub fn crash(&self, mut choose: impl FnMut(usize) -> usize) {
        let mut state = self.state();
        let (synced, length) = (state.synced, state.bytes.len());
        let left = synced + choose(length - synced + 1).min(length - synced);
        state.bytes.truncate(left);
        for block in state.bytes[synced..].chunks_mut(64) {
            if choose(3) < 2 {
                block.fill(0);
            }
        }
        state.synced = left;
        state.fails_in = None;
    }

    /// Lets every call fail, half done, from the one after the next `calls` on; `None`: no more.
    pub fn fail_in(&self, calls: Option<usize>) {
        self.state().fails_in = calls;
    }

    /// Lets everything that would make it larger than this fail.
    pub fn limit(&self, capacity: Option<usize>) {
        self.state().capacity = capacity;
    }

    /// The bytes as they are now, to be damaged at will.
    pub fn edit(&self, edit: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state();
        edit(&mut state.bytes);
        state.synced = state.bytes.len();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn step(&mut self) -> io::Result<()> {
        match &mut self.fails_in {
            Some(0) => Err(io::Error::from(io::ErrorKind::Other)),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl Medium for Memory {
    fn read(&mut self) -> io::Result<Vec<u8>> {
        Ok(self.state().bytes.clone())
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        if let Err(error) = state.step() {
            state.bytes.extend(&bytes[..bytes.len() / 2]);
            return Err(error);
        }
        let room = state.capacity.map_or(bytes.len(), |capacity| capacity.saturating_sub(state.bytes.len()));
        state.bytes.extend(&bytes[..room.min(bytes.len())]);
        if room < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        state.bytes.truncate(length);
        state.synced = state.synced.min(length);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        state.synced = state.bytes.len();
        Ok(())
    }

    fn replace(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        if state.capacity.is_some_and(|capacity| bytes.len() > capacity) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        state.bytes = bytes.to_vec();
        state.synced = bytes.len();
        Ok(())
    }
}
