//! Log files on a simulated disk: a crash cuts them anywhere behind what was synced.

use std::io;

use crate::disk::sim::Random;
use crate::disk::sim::SimDisk;
use crate::log::Medium;

/// A log's bytes.
#[derive(Default, Clone)]
pub(super) struct Sheet {
    bytes: Vec<u8>,
    safe: usize,
}

/// A log's file on a simulated disk.
#[derive(Clone)]
pub struct SimMedium {
    disk: SimDisk,
    sheet: usize,
}

impl Sheet {
    pub(super) fn crash(&mut self, random: &mut Random) {
        let keep = self.safe + random.below(self.bytes.len() - self.safe + 1);
        self.bytes.truncate(keep);
        self.safe = keep;
    }
}

impl SimMedium {
    pub(super) fn new(disk: SimDisk, sheet: usize) -> Self {
        Self { disk, sheet }
    }
}

impl Medium for SimMedium {
    fn read(&mut self) -> io::Result<Vec<u8>> {
        Ok(self.disk.call("load", None)?.sheets[self.sheet].bytes.clone())
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.disk.call("append", None)?.sheets[self.sheet].bytes.extend(bytes);
        Ok(())
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        let mut shared = self.disk.call("truncate", None)?;
        let sheet = &mut shared.sheets[self.sheet];
        sheet.bytes.truncate(usize::try_from(length).unwrap_or(usize::MAX));
        sheet.safe = sheet.safe.min(sheet.bytes.len());
        Ok(())
    }

    fn replace(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.disk.call("replace", None)?.sheets[self.sheet] =
            Sheet { bytes: bytes.to_vec(), safe: bytes.len() };
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut shared = self.disk.call("flush", None)?;
        let sheet = &mut shared.sheets[self.sheet];
        sheet.safe = sheet.bytes.len();
        Ok(())
    }
}
