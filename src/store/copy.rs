//! A copy of the database for people and machines that are not to get in with it.

use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::backup::Backup;

use super::Error;
use super::Store;

/// Pages that are copied at once; the database is a few.
const PAGES: i32 = 1000;

impl Store {
    /// Writes the database to a new file as it is at one moment, without tokens and without the claim. The same content
    /// gives the same bytes.
    ///
    /// # Errors
    /// When the database fails, or the file is there already.
    pub async fn copy(&self, to: PathBuf) -> Result<(), Error> {
        std::fs::File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&to)
            .map_err(|source| Error::Private { path: to.clone(), source })?;
        self.call(move |connection| {
            let mut copy = Connection::open_in_memory()?;
            Backup::new(connection, &mut copy)?.run_to_completion(PAGES, Duration::ZERO, None)?;
            copy.execute_batch("DELETE FROM token; DELETE FROM claim;")?;
            // What was deleted is still in its pages; those of a database that is written anew hold nothing else.
            let path = to.to_str().ok_or_else(|| rusqlite::Error::InvalidPath(to.clone()))?;
            copy.execute("VACUUM INTO ?1", [path])?;
            Ok(())
        })
        .await
    }
}
