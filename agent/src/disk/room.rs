//! A directory of ours beside the tree: found when it is there, made when it is needed, and again when somebody removed
//! it.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use rustix::fs::Mode;
use rustix::io::Errno;

use crate::files;
use crate::files::Root;

/// The staging area's name when it is inside the folder: never listed, never a path of the tree.
pub const STAGING: &[u8] = b".nexus-stage";

/// Where the staging area is. It has to be on the folder's own mount.
#[derive(Debug, Clone)]
pub enum StageAt {
    /// In the folder, under a name that no scan reports.
    Inside,
    /// In this directory, which is ours alone.
    Beside(PathBuf),
}

/// A directory of ours, made when it is needed.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) at: StageAt,
    handle: Mutex<Option<Arc<OwnedFd>>>,
}

impl Room {
    pub(super) fn at(at: StageAt) -> Self {
        Self { at, handle: Mutex::default() }
    }

    /// Does something in the room; makes it first, and again when somebody has removed it.
    pub(super) fn with<T>(
        &self,
        root: &Root,
        act: impl Fn(&OwnedFd) -> rustix::io::Result<T>,
    ) -> io::Result<T> {
        let existing = self.existing(root)?;
        let handle = match existing {
            Some(handle) => handle,
            None => self.make(root)?,
        };
        match act(&handle) {
            Err(Errno::NOENT) if rustix::fs::fstat(&*handle)?.st_nlink == 0 => {
                *self.handle.lock().unwrap_or_else(PoisonError::into_inner) = None;
                Ok(act(&*self.make(root)?)?)
            }
            done => Ok(done?),
        }
    }

    fn make(&self, root: &Root) -> io::Result<Arc<OwnedFd>> {
        match &self.at {
            StageAt::Inside => {
                match rustix::fs::mkdirat(root.directory(), STAGING, Mode::from_raw_mode(0o700)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            StageAt::Beside(path) => std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?,
        }
        self.existing(root)?.ok_or_else(|| Errno::NOENT.into())
    }

    pub(super) fn existing(&self, root: &Root) -> io::Result<Option<Arc<OwnedFd>>> {
        let mut handle = self.handle.lock().unwrap_or_else(PoisonError::into_inner);
        if handle.is_none() {
            let opened = match &self.at {
                StageAt::Inside => {
                    rustix::fs::openat(root.directory(), STAGING, files::DIRECTORY, Mode::empty())
                }
                StageAt::Beside(path) => rustix::fs::open(path, files::DIRECTORY, Mode::empty()),
            };
            match opened {
                Ok(opened) => *handle = Some(Arc::new(opened)),
                Err(Errno::NOENT) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(handle.clone())
    }
}
