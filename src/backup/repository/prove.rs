//! Whether a file holds what a snapshot says, by the digests the repository knows it by.

use std::fs::File;
use std::io::ErrorKind;
use std::io::Read as _;

use rustic_core::DataId;
use sha2::Digest as _;
use sha2::Sha256;

use super::Content;
use super::Reader;
use crate::backup::trouble::Cause;
use crate::backup::trouble::Trouble;

impl Content {
    /// The blobs a file consists of: each is called by the SHA-256 of what it holds.
    pub fn blobs(&self) -> Vec<String> {
        self.ids.iter().map(|id| id.to_hex().as_str().to_owned()).collect()
    }
}

impl Reader {
    /// Whether a file consists of exactly these blobs, from where it stands to its end.
    ///
    /// # Errors
    /// When a blob is not in the index, or the file cannot be read.
    pub fn holds(&self, blobs: &[String], file: &mut File) -> Result<bool, Trouble> {
        let failed = |error: std::io::Error| Trouble::new(Cause::Stopped, "read it again", error.to_string());
        let mut bytes = Vec::new();
        for blob in blobs {
            let Ok(id) = blob.parse::<DataId>() else { return Ok(false) };
            let entry = self.repository.inner.get_index_entry(&id);
            let entry = entry.map_err(|error| self.repository.trouble("read from", &error))?;
            bytes.resize(entry.data_length() as usize, 0);
            match file.read_exact(&mut bytes) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(false),
                Err(error) => return Err(failed(error)),
            }
            let digest: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
            if digest != *blob {
                return Ok(false);
            }
        }
        Ok(file.read(&mut [0]).map_err(failed)? == 0)
    }
}
