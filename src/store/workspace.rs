//! What is wanted of each workspace.

use jiff::Timestamp;
use rusqlite::OptionalExtension as _;
use rusqlite::Row;

use super::Error;
use super::Store;
use crate::base::ids::WorkspaceId;
use crate::model::project::FolderIdentity;

/// What its owner wants of a workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Desired {
    /// Run.
    Run,
    /// Exist and not run.
    Stop,
    /// Be taken down; the folder goes to the trash, the volumes stay.
    Remove,
    /// Be taken down, and lose its volumes too.
    Purge,
    /// Be gone: done.
    Removed,
}

impl Desired {
    fn as_str(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Stop => "stop",
            Self::Remove => "remove",
            Self::Purge => "purge",
            Self::Removed => "removed",
        }
    }

    /// A word no version of ours writes is read as *stop*: the one wish that neither runs nor removes anything.
    fn parse(text: &str) -> Self {
        match text {
            "run" => Self::Run,
            "remove" => Self::Remove,
            "purge" => Self::Purge,
            "removed" => Self::Removed,
            _ => Self::Stop,
        }
    }
}

/// One row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Id for life.
    pub id: WorkspaceId,
    /// The folder's name in the watched directory.
    pub folder: String,
    /// The folder it was when last seen.
    pub identity: FolderIdentity,
    /// What is wanted.
    pub desired: Desired,
    /// Containers started before this moment are restarted once.
    pub restart_at: Timestamp,
    /// Where the folder went when the workspace was removed.
    pub trash: Option<String>,
    /// When it was first seen.
    pub created_at: Timestamp,
    /// When the row last changed.
    pub updated_at: Timestamp,
}

impl Record {
    /// A new workspace for a folder that wants to run.
    pub fn new(folder: &str, identity: FolderIdentity, now: Timestamp) -> Self {
        Self {
            id: WorkspaceId::random(),
            folder: folder.to_owned(),
            identity,
            desired: Desired::Run,
            restart_at: Timestamp::UNIX_EPOCH,
            trash: None,
            created_at: now,
            updated_at: now,
        }
    }
}

fn record(row: &Row<'_>) -> Result<Record, rusqlite::Error> {
    let id: String = row.get("id")?;
    let time =
        |column| row.get(column).map(|ms| Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH));
    let desired: String = row.get("desired")?;
    Ok(Record {
        id: WorkspaceId::parse(&id).ok_or(rusqlite::Error::InvalidQuery)?,
        folder: row.get("folder")?,
        identity: FolderIdentity {
            device: row.get::<_, i64>("device")?.cast_unsigned(),
            inode: row.get::<_, i64>("inode")?.cast_unsigned(),
        },
        desired: Desired::parse(&desired),
        restart_at: time("restart_at_ms")?,
        trash: row.get("trash")?,
        created_at: time("created_at_ms")?,
        updated_at: time("updated_at_ms")?,
    })
}

impl Store {
    /// All workspaces, oldest first, removed ones included.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn workspaces(&self) -> Result<Vec<Record>, Error> {
        self.call(|connection| {
            let mut query =
                connection.prepare_cached("SELECT * FROM workspace ORDER BY created_at_ms, id")?;
            query.query_map([], record)?.collect()
        })
        .await
    }

    /// One workspace.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn workspace(&self, id: &WorkspaceId) -> Result<Option<Record>, Error> {
        let id = id.to_string();
        self.call(move |connection| {
            connection.query_row("SELECT * FROM workspace WHERE id = ?1", [id], record).optional()
        })
        .await
    }

    /// Inserts or replaces one workspace.
    ///
    /// # Errors
    /// When the database fails, or another workspace already has the folder.
    pub async fn save_workspace(&self, record: &Record) -> Result<(), Error> {
        let row = record.clone();
        self.call(move |connection| {
            connection.execute(
                "INSERT INTO workspace (id, folder, device, inode, desired, restart_at_ms, trash, created_at_ms, updated_at_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
                 ON CONFLICT (id) DO UPDATE SET folder = ?2, device = ?3, inode = ?4, desired = ?5, restart_at_ms = ?6,
                     trash = ?7, updated_at_ms = ?9",
                rusqlite::params![
                    row.id.as_str(),
                    row.folder,
                    row.identity.device.cast_signed(),
                    row.identity.inode.cast_signed(),
                    row.desired.as_str(),
                    row.restart_at.as_millisecond(),
                    row.trash,
                    row.created_at.as_millisecond(),
                    row.updated_at.as_millisecond(),
                ],
            )?;
            Ok(())
        })
        .await
    }

    /// Says what is wanted of a workspace from now on.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn desire(&self, id: &WorkspaceId, desired: Desired, now: Timestamp) -> Result<(), Error> {
        let id = id.to_string();
        self.call(move |connection| {
            connection.execute(
                "UPDATE workspace SET desired = ?2, updated_at_ms = ?3 WHERE id = ?1",
                rusqlite::params![id, desired.as_str(), now.as_millisecond()],
            )?;
            Ok(())
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_record_comes_back_as_it_went() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("nexus.db")).unwrap();
        let now = Timestamp::from_millisecond(1_700_000_000_123).unwrap();
        let mut record = Record::new("hello", FolderIdentity { device: u64::MAX, inode: 7 }, now);
        store.save_workspace(&record).await.unwrap();
        record.desired = Desired::Stop;
        record.folder = "hello-2".to_owned();
        store.save_workspace(&record).await.unwrap();
        assert_eq!(store.workspaces().await.unwrap(), [record.clone()]);
        let twin = Record::new("hello-2", record.identity, now);
        assert!(store.save_workspace(&twin).await.is_err(), "two workspaces in one folder");
        assert_eq!(store.node_id().await.unwrap(), store.node_id().await.unwrap());
    }
}
