//! One node per home: a lock the kernel gives back when the process ends, however it ends.

use std::fs::File;

use rustix::fs::FlockOperation;

use super::Error;
use crate::base::home::Home;

/// Takes the lock for as long as the file stays open.
pub fn take(home: &Home) -> Result<File, Error> {
    let path = home.lock();
    let file = File::options()
        .create(true)
        .append(true)
        .open(&path)
        .map_err(|source| Error::Directory { path: path.clone(), source })?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(Error::Locked { home: home.root().to_owned() }),
        Err(error) => Err(Error::Directory { path, source: error.into() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_has_one_node_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::new(directory.path());
        let first = take(&home).unwrap();
        assert!(matches!(take(&home), Err(Error::Locked { .. })));
        drop(first);
        take(&home).unwrap();
    }
}
