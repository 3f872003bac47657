//! Who may do what: tokens with a scope, the local socket, and the one-time claim that gives the first token.
//!
//! There is no password and no setup window: until the claim is used nobody can do anything over the network, and its
//! code is in a file only the node's owner can read.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Instant;

use jiff::Timestamp;
use jiff::ToSpan as _;
use tokio::sync::watch;

use crate::api::problem::Problem;
use crate::api::rate;
use crate::api::token::Secret;
use crate::api::token::same;
use crate::base::clock;
use crate::base::fault;
use crate::store;
use crate::store::Store;
use crate::store::token::Token;
use axum::http::StatusCode;

/// What a token allows; each includes the ones before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// See.
    Read,
    /// Start, stop, create, remove, run programs inside.
    Write,
    /// Give and take tokens.
    Admin,
}

impl Scope {
    /// The word used in JSON, on the screen and on disk.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }

    /// Takes the word back.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Read, Self::Write, Self::Admin].into_iter().find(|scope| scope.as_str() == text)
    }
}

/// Who is asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    /// Somebody the file permissions let open the local socket.
    Local,
    /// The holder of a token.
    Token {
        /// Its public half.
        id: String,
        /// What its owner calls it.
        label: String,
        /// What it allows.
        scope: Scope,
        /// When it stops working.
        expires_at: Option<Timestamp>,
    },
}

impl Principal {
    /// Whether this scope is granted.
    pub fn may(&self, scope: Scope) -> bool {
        match self {
            Self::Local => true,
            Self::Token { scope: granted, .. } => *granted >= scope,
        }
    }

    /// For the log.
    pub fn label(&self) -> &str {
        match self {
            Self::Local => "local socket",
            Self::Token { label, .. } => label,
        }
    }
}

/// Why a token or claim could not be given.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store failed.
    #[error("the tokens could not be read or changed")]
    Store(#[from] store::Error),
    /// Too many tokens.
    #[error("there are too many tokens")]
    TooMany,
    /// There is no such token.
    #[error("no token has the id `{id}`")]
    NotFound {
        /// The id asked for.
        id: String,
    },
    /// The label or scope is none.
    #[error("{message}")]
    Invalid {
        /// What is wrong.
        message: String,
    },
    /// The file that holds the claim code failed.
    #[error("cannot {what} the claim file {}", path.display())]
    File {
        /// The verb.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl fault::Explain for Error {
    fn kind(&self) -> fault::Kind {
        match self {
            Self::Store(error) => error.kind(),
            Self::TooMany => fault::Kind::Conflict,
            Self::NotFound { .. } => fault::Kind::NotFound,
            Self::Invalid { .. } => fault::Kind::Invalid,
            Self::File { .. } => fault::Kind::Unavailable,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Store(error) => error.hint(),
            Self::TooMany => Some("revoke those not in use: `nexus token list`".to_owned()),
            Self::NotFound { .. } => Some("see `nexus token list`".to_owned()),
            Self::Invalid { .. } => None,
            Self::File { .. } => Some("check that the node's home can be written".to_owned()),
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self::of(&error)
    }
}

/// The tokens of this node.
pub struct Tokens {
    store: Store,
    /// Holds the claim code until it is used; mode 0600.
    claim_file: PathBuf,
    failures: Mutex<rate::Failures>,
    /// Counts revocations, so that open streams look again whether their token still lives.
    revoked: watch::Sender<u64>,
}

impl Tokens {
    /// Tokens kept in `store`, the claim code in `claim_file`.
    pub fn new(store: Store, claim_file: PathBuf) -> Self {
        Self { store, claim_file, failures: Mutex::default(), revoked: watch::Sender::new(0) }
    }

    /// Who holds this secret. Wrong ones are counted against `address`.
    ///
    /// # Errors
    /// 401 for a wrong, expired or revoked token, 429 when the address has sent too many of them.
    pub async fn check(&self, secret: Option<&str>, address: IpAddr) -> Result<Principal, Problem> {
        let Some(text) = secret else {
            return Err(unauthenticated("a token is needed").hint(
                "send `Authorization: Bearer <token>`; `nexus token create` or the claim link gives one",
            ));
        };
        if let Some(token) = Secret::parse_token(text)
            && let Some(principal) = self.holder(&token).await?
        {
            return Ok(principal);
        }
        Err(self.wrong(address, unauthenticated("the token is wrong, expired or revoked")))
    }

    async fn holder(&self, secret: &Secret) -> Result<Option<Principal>, store::Error> {
        let Some(row) = self.store.token(secret.id()).await? else { return Ok(None) };
        let now = clock::now();
        let alive = row.expires_at.is_none_or(|end| now < end);
        let Some(scope) = Scope::parse(&row.scope).filter(|_| alive && same(&row.hash, &secret.digest()))
        else {
            return Ok(None);
        };
        if let Err(error) = self.store.token_used(&row, now).await {
            tracing::warn!(error = %fault::chain(&error), "the use of a token could not be noted");
        }
        Ok(Some(Principal::Token { id: row.id, label: row.label, scope, expires_at: row.expires_at }))
    }

    /// Counts a wrong secret and says what to answer.
    fn wrong(&self, address: IpAddr, otherwise: Problem) -> Problem {
        let verdict = {
            let mut failures = self.failures.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            failures.count(address, Instant::now())
        };
        let left = match verdict {
            rate::Verdict::Counted => return otherwise,
            rate::Verdict::Tripped(left) => {
                tracing::warn!(peer = %address, "too many wrong tokens from one address");
                left
            }
            rate::Verdict::Limited(left) => left,
        };
        let mut problem = Problem::new(
            StatusCode::TOO_MANY_REQUESTS,
            "TOO_MANY_FAILURES",
            "too many wrong tokens from this address",
        )
        .hint("wait a minute, then try again with the right token");
        problem.retry_after_s = Some(left.as_secs() + 1);
        problem
    }

    /// All tokens, without their secrets.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn list(&self) -> Result<Vec<Token>, Error> {
        Ok(self.store.tokens().await?)
    }

    /// A new token: the secret is known here and now only.
    ///
    /// # Errors
    /// When the label or scope is none, there are too many tokens, or the store fails.
    pub async fn create(
        &self,
        label: &str,
        scope: &str,
        days: Option<u32>,
    ) -> Result<(Secret, Token), Error> {
        let invalid = |message: String| Error::Invalid { message };
        let scope = Scope::parse(scope)
            .ok_or_else(|| invalid(format!("`{scope}` is not a scope: it is read, write or admin")))?;
        if label.trim().is_empty() || label.chars().count() > 64 || label.chars().any(char::is_control) {
            return Err(invalid(
                "a label has 1 to 64 characters, none of them a control character".to_owned(),
            ));
        }
        if days.is_some_and(|days| !(1..=3650).contains(&days)) {
            return Err(invalid("a token lives 1 to 3650 days".to_owned()));
        }
        let (secret, token) = fresh(label, scope, days);
        if self.store.add_token(&token).await? { Ok((secret, token)) } else { Err(Error::TooMany) }
    }

    /// Makes a token stop working, on open streams too.
    ///
    /// # Errors
    /// When there is no such token, or the store fails.
    pub async fn revoke(&self, id: &str) -> Result<(), Error> {
        if !self.store.revoke_token(id).await? {
            return Err(Error::NotFound { id: id.to_owned() });
        }
        self.revoked.send_modify(|count| *count += 1);
        Ok(())
    }

    /// Ends when the principal may no longer read: for streams that stay open. Cancel-safe.
    pub async fn ended(&self, principal: Principal) {
        let Principal::Token { id, expires_at, .. } = principal else { return std::future::pending().await };
        let mut revoked = self.revoked.subscribe();
        let expiry = async {
            match expires_at {
                Some(end) => tokio::time::sleep(clock::now().duration_until(end).unsigned_abs()).await,
                None => std::future::pending().await,
            }
        };
        let revocation = async {
            loop {
                // An unreadable store is no reason to cut a stream: the token was good when it was opened.
                if matches!(self.store.token(&id).await, Ok(None)) || revoked.changed().await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            () = expiry => {}
            () = revocation => {}
        }
    }

    /// Makes a claim unless there was ever one, so that a fresh node has exactly one.
    ///
    /// # Errors
    /// When the store or the claim file fails.
    pub async fn ensure_claim(&self) -> Result<(), Error> {
        match self.store.claim().await? {
            Some(claim) if claim.used => Ok(()),
            // The node died between the file and the row, or somebody deleted the file: the old code is lost.
            Some(claim) if self.code()?.is_some_and(|code| same(&code.digest(), &claim.hash)) => Ok(()),
            _ => self.new_claim().await.map(drop),
        }
    }

    /// The code of the claim, while it has not been used.
    ///
    /// # Errors
    /// When the store or the claim file fails.
    pub async fn claim_code(&self) -> Result<Option<Secret>, Error> {
        let Some(claim) = self.store.claim().await? else { return Ok(None) };
        Ok(self.code()?.filter(|code| !claim.used && same(&code.digest(), &claim.hash)))
    }

    /// Replaces the claim by a new one; an old link stops working.
    ///
    /// # Errors
    /// When the store or the claim file fails.
    pub async fn new_claim(&self) -> Result<Secret, Error> {
        let code = Secret::code();
        write_private(&self.claim_file, code.reveal()).map_err(|source| self.file("write", source))?;
        self.store.open_claim(code.digest(), clock::now()).await?;
        Ok(code)
    }

    /// Whether this code would be taken now. Wrong ones are counted against `address`.
    ///
    /// # Errors
    /// 404 for a wrong or used code, 429 when the address has sent too many of them.
    pub async fn check_claim(&self, code: &str, address: IpAddr) -> Result<Secret, Problem> {
        let claim = self.store.claim().await?;
        Secret::parse_code(code)
            .filter(|code| claim.is_some_and(|claim| !claim.used && same(&claim.hash, &code.digest())))
            .ok_or_else(|| self.wrong(address, dead_claim()))
    }

    /// Uses the claim up: the first admin token.
    ///
    /// # Errors
    /// As [`Tokens::check_claim`]; of several at once one wins.
    pub async fn use_claim(&self, code: &str, address: IpAddr) -> Result<Secret, Problem> {
        let code = self.check_claim(code, address).await?;
        let (secret, token) = fresh("claimed", Scope::Admin, None);
        if !self.store.use_claim(code.digest(), &token).await? {
            return Err(dead_claim());
        }
        if let Err(error) = std::fs::remove_file(&self.claim_file) {
            tracing::warn!(error = %error, "the used claim's file could not be removed; its code is void");
        }
        tracing::info!(peer = %address, "the node was claimed");
        Ok(secret)
    }

    fn code(&self) -> Result<Option<Secret>, Error> {
        match std::fs::read_to_string(&self.claim_file) {
            Ok(text) => Ok(Secret::parse_code(text.trim())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(self.file("read", source)),
        }
    }

    fn file(&self, what: &'static str, source: io::Error) -> Error {
        Error::File { what, path: self.claim_file.clone(), source }
    }
}

fn fresh(label: &str, scope: Scope, days: Option<u32>) -> (Secret, Token) {
    let secret = Secret::token();
    let now = clock::now();
    let expires_at = days.and_then(|days| now.checked_add((i64::from(days) * 24).hours()).ok());
    let token = Token {
        id: secret.id().to_owned(),
        label: label.trim().to_owned(),
        scope: scope.as_str().to_owned(),
        hash: secret.digest(),
        created_at: now,
        expires_at,
        last_used_at: None,
    };
    (secret, token)
}

fn unauthenticated(message: &str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "AUTHENTICATION_FAILED", message)
}

fn dead_claim() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "CLAIM_NOT_FOUND", "this claim link is wrong or was used already")
        .hint("on the machine itself, `nexus claim --new` makes another one")
}

/// Writes a file nobody else can read, replacing what is there.
fn write_private(path: &std::path::Path, text: &str) -> io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let new = path.with_extension("new");
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&new, path)
}

#[cfg(test)]
mod tests;
