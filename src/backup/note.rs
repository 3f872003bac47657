//! Small notes in the node's home, each a file of JSON: what they say is a short cut or a memory, and no proof.

use std::io;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::base::files;

/// What a note says; nothing when it is not there or cannot be read.
pub fn load<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

/// Writes a note in one step, and the directories above it where they are not there.
///
/// # Errors
/// When it cannot be written; it says what it said before then.
pub fn save(path: &Path, note: &impl Serialize) -> io::Result<()> {
    let text = serde_json::to_vec(note)?;
    path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
    files::replace(path, &text)
}
