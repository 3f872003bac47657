//! A log file in memory.

use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;

use nexus_agent::log::Medium;

/// Copies are the same file.
#[derive(Debug, Clone)]
pub struct Bytes(Arc<Mutex<Vec<u8>>>);

impl Bytes {
    /// A file with this in it.
    pub fn new(bytes: &[u8]) -> Self {
        Self(Arc::new(Mutex::new(bytes.to_vec())))
    }

    /// What is in it.
    pub fn get(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().expect("nobody panics with it")
    }
}

impl Medium for Bytes {
    fn read(&mut self) -> io::Result<Vec<u8>> {
        Ok(self.get().clone())
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.get().extend_from_slice(bytes);
        Ok(())
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.get().truncate(usize::try_from(length).map_err(io::Error::other)?);
        Ok(())
    }

    fn replace(&mut self, bytes: &[u8]) -> io::Result<()> {
        *self.get() = bytes.to_vec();
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}
