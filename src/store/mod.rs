//! What must survive a restart: the node's identity, the desired state of each workspace, tokens. SQLite, one file per
//! table.
//!
//! Invariant: the database holds what is *wanted*; what *is* is asked of the engine, never remembered here.

pub mod copy;
pub mod node;
pub mod token;
pub mod workspace;

use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use rusqlite::Connection;

use crate::base::fault;

/// Each migration runs once, in order, in a transaction of its own; `user_version` counts them. Never edited after a
/// release: a change is a new line.
const MIGRATIONS: [&str; 2] =
    [include_str!("migrations/001_start.sql"), include_str!("migrations/002_token.sql")];

/// Why the state could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be opened.
    #[error("cannot open the state database {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// SQLite's reason.
        #[source]
        source: rusqlite::Error,
    },
    /// The file cannot be kept from other users.
    #[error("cannot make the state database {} private", path.display())]
    Private {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file was written by a newer node.
    #[error("the state database is of version {theirs}, this node knows up to {ours}")]
    Newer {
        /// Its version.
        theirs: i64,
        /// Ours.
        ours: i64,
    },
    /// The disk is full.
    #[error("the disk that holds the state database is full")]
    DiskFull,
    /// Any other failure.
    #[error("the state database failed")]
    Sqlite(#[source] rusqlite::Error),
    /// The task that ran the query was cancelled with the node.
    #[error("the node is closing")]
    Closed,
}

impl fault::Explain for Error {
    fn kind(&self) -> fault::Kind {
        match self {
            Self::Open { .. } | Self::Private { .. } | Self::DiskFull | Self::Closed => {
                fault::Kind::Unavailable
            }
            Self::Newer { .. } => fault::Kind::Conflict,
            Self::Sqlite(_) => fault::Kind::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Open { .. } | Self::Private { .. } => {
                Some("check that the node's home exists and can be written".to_owned())
            }
            Self::Newer { .. } => {
                Some("run the version of nexus that wrote it, or restore its backup".to_owned())
            }
            Self::DiskFull => Some("free space where the node's home is".to_owned()),
            Self::Sqlite(_) | Self::Closed => None,
        }
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull) => Self::DiskFull,
            _ => Self::Sqlite(error),
        }
    }
}

/// The open database. Cheap to clone; calls are serialised.
#[derive(Clone)]
pub struct Store {
    connection: Arc<Mutex<Connection>>,
}

impl Store {
    /// Opens the file, creating and migrating it as needed.
    ///
    /// # Errors
    /// When it cannot be opened, or was written by a newer node; it is left untouched then.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let open = |source| Error::Open { path: path.to_owned(), source };
        keep_private(path).map_err(|source| Error::Private { path: path.to_owned(), source })?;
        let mut connection = Connection::open(path).map_err(open)?;
        connection.busy_timeout(Duration::from_secs(5)).map_err(open)?;
        connection.pragma_update(None, "journal_mode", "WAL").map_err(open)?;
        connection.pragma_update(None, "synchronous", "FULL").map_err(open)?;
        connection.pragma_update(None, "foreign_keys", true).map_err(open)?;
        migrate(&mut connection)?;
        Ok(Self { connection: Arc::new(Mutex::new(connection)) })
    }

    /// Runs `query` off the async threads.
    pub(crate) async fn call<T: Send + 'static>(
        &self,
        query: impl FnOnce(&mut Connection) -> Result<T, rusqlite::Error> + Send + 'static,
    ) -> Result<T, Error> {
        let connection = Arc::clone(&self.connection);
        tokio::task::spawn_blocking(move || {
            // A panic inside a query left the connection itself sound: SQLite rolled the statement back.
            let mut connection = connection.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            query(&mut connection).map_err(Error::from)
        })
        .await
        .map_err(|_| Error::Closed)?
    }
}

/// Makes the file, and gives it to its owner alone whatever the umask says; SQLite's files beside it take after it.
fn keep_private(path: &Path) -> Result<(), std::io::Error> {
    let file = std::fs::File::options().create(true).append(true).mode(0o600).open(path)?;
    file.set_permissions(std::fs::Permissions::from_mode(0o600))
}

fn migrate(connection: &mut Connection) -> Result<(), Error> {
    let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let ours = i64::try_from(MIGRATIONS.len()).expect("a handful");
    if version > ours {
        return Err(Error::Newer { theirs: version, ours });
    }
    for (step, sql) in (1_i64..).zip(MIGRATIONS).skip(usize::try_from(version).unwrap_or(0)) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(sql)?;
        transaction.pragma_update(None, "user_version", step)?;
        transaction.commit()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_are_their_owners_alone_even_those_that_were_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("nexus.db");
        std::fs::write(&path, "").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let _store = Store::open(&path).unwrap();
        for entry in std::fs::read_dir(directory.path()).unwrap() {
            let entry = entry.unwrap();
            assert_eq!(
                entry.metadata().unwrap().permissions().mode() & 0o777,
                0o600,
                "{:?}",
                entry.file_name()
            );
        }
    }

    #[test]
    fn a_newer_database_is_refused_and_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("nexus.db");
        drop(Store::open(&path).unwrap());
        let connection = Connection::open(&path).unwrap();
        connection.pragma_update(None, "user_version", 99).unwrap();
        drop(connection);
        assert!(matches!(Store::open(&path), Err(Error::Newer { theirs: 99, .. })));
    }
}
