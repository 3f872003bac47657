//! Access tokens, and the one-time claim that gives the first. Hashes only: a stolen database opens nothing.

use jiff::Timestamp;
use rusqlite::Connection;
use rusqlite::OptionalExtension as _;
use rusqlite::Row;

use super::Error;
use super::Store;

/// SHA-256 of a secret.
pub type Digest = [u8; 32];

/// Tokens a node keeps; more are refused.
const TOKENS_MAX: u32 = 256;

/// How often the last use of one token is written at most: a busy client must not mean a busy disk.
const USED_EVERY_MS: i64 = 60_000;

/// One token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Its public half.
    pub id: String,
    /// What its owner calls it.
    pub label: String,
    /// `read`, `write` or `admin`, as written; the reader refuses words it does not know.
    pub scope: String,
    /// SHA-256 of the token.
    pub hash: Digest,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it stops working.
    pub expires_at: Option<Timestamp>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<Timestamp>,
}

/// The claim, as far as it has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// SHA-256 of its code.
    pub hash: Digest,
    /// Whether it was used.
    pub used: bool,
}

fn time(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn token(row: &Row<'_>) -> Result<Token, rusqlite::Error> {
    Ok(Token {
        id: row.get("id")?,
        label: row.get("label")?,
        scope: row.get("scope")?,
        hash: row.get("hash")?,
        created_at: time(row.get("created_at_ms")?),
        expires_at: row.get::<_, Option<i64>>("expires_at_ms")?.map(time),
        last_used_at: row.get::<_, Option<i64>>("last_used_at_ms")?.map(time),
    })
}

fn insert(connection: &Connection, token: &Token) -> Result<bool, rusqlite::Error> {
    let kept: u32 = connection.query_row("SELECT count(*) FROM token", [], |row| row.get(0))?;
    if kept >= TOKENS_MAX {
        return Ok(false);
    }
    connection.execute(
        "INSERT INTO token (id, label, scope, hash, created_at_ms, expires_at_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        rusqlite::params![
            token.id,
            token.label,
            token.scope,
            token.hash,
            token.created_at.as_millisecond(),
            token.expires_at.map(Timestamp::as_millisecond),
        ],
    )?;
    Ok(true)
}

impl Store {
    /// All tokens, oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn tokens(&self) -> Result<Vec<Token>, Error> {
        self.call(|connection| {
            let mut query = connection.prepare_cached("SELECT * FROM token ORDER BY created_at_ms, id")?;
            query.query_map([], token)?.collect()
        })
        .await
    }

    /// One token by its public half.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn token(&self, id: &str) -> Result<Option<Token>, Error> {
        let id = id.to_owned();
        self.call(move |connection| {
            let mut query = connection.prepare_cached("SELECT * FROM token WHERE id = ?1")?;
            query.query_row([id], token).optional()
        })
        .await
    }

    /// Keeps a new token; `false` when there are too many already.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn add_token(&self, token: &Token) -> Result<bool, Error> {
        let token = token.clone();
        self.call(move |connection| insert(connection, &token)).await
    }

    /// Forgets a token; `false` when there was none.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn revoke_token(&self, id: &str) -> Result<bool, Error> {
        let id = id.to_owned();
        self.call(move |connection| Ok(connection.execute("DELETE FROM token WHERE id = ?1", [id])? == 1))
            .await
    }

    /// Notes that a token was used, once a minute at most.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn token_used(&self, token: &Token, now: Timestamp) -> Result<(), Error> {
        let ms = now.as_millisecond();
        if token
            .last_used_at
            .is_some_and(|last| (last.as_millisecond()..last.as_millisecond() + USED_EVERY_MS).contains(&ms))
        {
            return Ok(());
        }
        let id = token.id.clone();
        self.call(move |connection| {
            connection
                .execute("UPDATE token SET last_used_at_ms = ?2 WHERE id = ?1", rusqlite::params![id, ms])?;
            Ok(())
        })
        .await
    }

    /// The claim, if one was ever made.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn claim(&self) -> Result<Option<Claim>, Error> {
        self.call(|connection| {
            connection
                .query_row("SELECT hash, used_at_ms FROM claim", [], |row| {
                    Ok(Claim { hash: row.get(0)?, used: row.get::<_, Option<i64>>(1)?.is_some() })
                })
                .optional()
        })
        .await
    }

    /// Replaces the claim by a fresh one.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn open_claim(&self, hash: Digest, now: Timestamp) -> Result<(), Error> {
        self.call(move |connection| {
            connection.execute(
                "INSERT OR REPLACE INTO claim (one, hash, created_at_ms, used_at_ms) VALUES (1, ?1, ?2, NULL)",
                rusqlite::params![hash, now.as_millisecond()],
            )?;
            Ok(())
        })
        .await
    }

    /// Uses the claim up and keeps the token it gives, both or neither; `false` when it was used before.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn use_claim(&self, hash: Digest, given: &Token) -> Result<bool, Error> {
        let given = given.clone();
        self.call(move |connection| {
            let transaction = connection.transaction()?;
            let won = transaction.execute(
                "UPDATE claim SET used_at_ms = ?2 WHERE hash = ?1 AND used_at_ms IS NULL",
                rusqlite::params![hash, given.created_at.as_millisecond()],
            )?;
            if won != 1 || !insert(&transaction, &given)? {
                return Ok(false);
            }
            transaction.commit()?;
            Ok(true)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(id: &str) -> Token {
        Token {
            id: id.to_owned(),
            label: "laptop".to_owned(),
            scope: "read".to_owned(),
            hash: [7; 32],
            created_at: time(1_700_000_000_000),
            expires_at: Some(time(1_800_000_000_000)),
            last_used_at: None,
        }
    }

    fn store() -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("nexus.db")).unwrap();
        (directory, store)
    }

    #[tokio::test]
    async fn a_token_comes_back_as_it_went_until_it_is_revoked() {
        let (_directory, store) = store();
        let mut token = sample("a");
        assert!(store.add_token(&token).await.unwrap());
        assert_eq!(store.token("a").await.unwrap(), Some(token.clone()));
        let now = time(1_700_000_100_000);
        store.token_used(&token, now).await.unwrap();
        token.last_used_at = Some(now);
        // Again within the minute: nothing is written.
        store.token_used(&token, time(1_700_000_101_000)).await.unwrap();
        assert_eq!(store.tokens().await.unwrap(), [token]);
        assert!(store.revoke_token("a").await.unwrap());
        assert!(!store.revoke_token("a").await.unwrap());
        assert_eq!(store.token("a").await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_claim_gives_one_token_however_many_race_for_it() {
        let (_directory, store) = store();
        assert_eq!(store.claim().await.unwrap(), None);
        store.open_claim([1; 32], time(0)).await.unwrap();
        let racers = (0..8).map(|i| {
            let store = store.clone();
            async move { store.use_claim([1; 32], &sample(&format!("t{i}"))).await.unwrap() }
        });
        let won = futures::future::join_all(racers).await.into_iter().filter(|won| *won).count();
        assert_eq!((won, store.tokens().await.unwrap().len()), (1, 1));
        assert_eq!(store.claim().await.unwrap(), Some(Claim { hash: [1; 32], used: true }));
    }

    #[tokio::test]
    async fn tokens_are_bounded() {
        let (_directory, store) = store();
        for i in 0..TOKENS_MAX {
            assert!(store.add_token(&sample(&format!("t{i}"))).await.unwrap());
        }
        assert!(!store.add_token(&sample("one-more")).await.unwrap());
    }
}
