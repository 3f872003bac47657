//! The node's identity.

use rusqlite::OptionalExtension as _;

use super::Error;
use super::Store;
use crate::base::ids::NodeId;

impl Store {
    /// Whether this is the first time the node asks about `what`; it is not from now on.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn first_time(&self, what: &'static str) -> Result<bool, Error> {
        self.call(move |connection| {
            let key = format!("done:{what}");
            Ok(connection.execute("INSERT OR IGNORE INTO node (key, value) VALUES (?1, '1')", [key])? == 1)
        })
        .await
    }

    /// This node's id; made at the first call and the same for ever after.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn node_id(&self) -> Result<NodeId, Error> {
        self.call(|connection| {
            let transaction = connection.transaction()?;
            let found: Option<String> = transaction
                .query_row("SELECT value FROM node WHERE key = 'id'", [], |row| row.get(0))
                .optional()?;
            let id = found.as_deref().and_then(NodeId::parse).unwrap_or_else(NodeId::random);
            transaction
                .execute("INSERT OR REPLACE INTO node (key, value) VALUES ('id', ?1)", [id.as_str()])?;
            transaction.commit()?;
            Ok(id)
        })
        .await
    }
}
