//! Every failure of the API: a status, a code for programs, a message and a hint for people, more for the log.
//!
//! The one place that maps a kind of fault to a status. A handler returns a [`Problem`]; the door (`door::finish`) adds
//! the request id, logs and writes it, so that no failure can leave in another shape.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::response::Response;

use crate::backup;
use crate::base::fault;
use crate::base::fault::Explain;
use crate::base::fault::Kind;
use crate::engine;
use crate::store;
use crate::workspace;

/// A failure on its way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// HTTP status.
    pub status: StatusCode,
    /// For programs; never changes once published.
    pub code: &'static str,
    /// For people.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
    /// For the log only.
    pub internal: Option<String>,
    /// When to try again.
    pub retry_after_s: Option<u64>,
}

/// The status of a kind of fault, and the code used where nothing more is known.
fn status_of(kind: Kind) -> (StatusCode, &'static str) {
    match kind {
        Kind::NotFound => (StatusCode::NOT_FOUND, "NOT_FOUND"),
        Kind::Invalid => (StatusCode::BAD_REQUEST, "INVALID"),
        Kind::Conflict => (StatusCode::CONFLICT, "CONFLICT"),
        Kind::Busy => (StatusCode::SERVICE_UNAVAILABLE, "BUSY"),
        Kind::Denied => (StatusCode::FORBIDDEN, "PERMISSION_DENIED"),
        Kind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE"),
        Kind::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL"),
    }
}

/// The kind a status stands for: the way back, for the command line.
pub fn kind_of(status: u16) -> Kind {
    match status {
        404 => Kind::NotFound,
        409 => Kind::Conflict,
        401 | 403 => Kind::Denied,
        429 => Kind::Busy,
        503 | 504 => Kind::Unavailable,
        400..=499 => Kind::Invalid,
        _ => Kind::Internal,
    }
}

impl Problem {
    /// A problem without a cause.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), hint: None, internal: None, retry_after_s: None }
    }

    /// The same with what to do next.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The input is wrong.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "INVALID", message)
    }

    /// Nothing is there. Also what a route that does not exist answers.
    pub fn no_route() -> Self {
        Self::new(StatusCode::NOT_FOUND, "NOT_FOUND", "there is nothing here")
            .hint("the API is described at /api/v1/openapi.json")
    }

    /// From an error that knows its kind. A bug's causes go to the log only.
    pub fn of(error: &impl Explain) -> Self {
        let (status, code) = status_of(error.kind());
        let chain = fault::chain(error).to_string();
        let mut problem = Self::new(status, code, chain);
        problem.hint = error.hint();
        if error.kind() == Kind::Internal {
            problem.internal = Some(std::mem::replace(&mut problem.message, error.to_string()));
        }
        problem
    }

    fn code(mut self, code: &'static str) -> Self {
        self.code = code;
        self
    }
}

impl From<workspace::Error> for Problem {
    fn from(error: workspace::Error) -> Self {
        let code = match &error {
            workspace::Error::NotFound { .. } => "WORKSPACE_NOT_FOUND",
            workspace::Error::Exists { .. } => "WORKSPACE_ALREADY_EXISTS",
            workspace::Error::Name(_) => "WORKSPACE_NAME_INVALID",
            workspace::Error::NotRunning { .. } => "WORKSPACE_NOT_RUNNING",
            workspace::Error::NoService { .. } => "SERVICE_NOT_FOUND",
            workspace::Error::Engine(engine::Error::DiskFull { .. })
            | workspace::Error::Store(store::Error::DiskFull) => "DISK_FULL",
            workspace::Error::Engine(engine::Error::Unreachable { .. } | engine::Error::TooOld { .. }) => {
                "BACKEND_UNAVAILABLE"
            }
            workspace::Error::Engine(_) => "CONTAINER_ERROR",
            _ => return Self::of(&error),
        };
        Self::of(&error).code(code)
    }
}

impl From<backup::Error> for Problem {
    fn from(error: backup::Error) -> Self {
        let code = match &error {
            backup::Error::NoDestination { .. } => "DESTINATION_NOT_FOUND",
            backup::Error::NoWorkspace { .. } => "WORKSPACE_NOT_FOUND",
            backup::Error::NoSnapshot { .. }
            | backup::Error::NoState { .. }
            | backup::Error::Id { found: 0, .. } => "SNAPSHOT_NOT_FOUND",
            backup::Error::NotEmpty { .. } => "FOLDER_NOT_EMPTY",
            backup::Error::Space { .. } => "DISK_FULL",
            _ => return Self::of(&error),
        };
        Self::of(&error).code(code)
    }
}

impl From<store::Error> for Problem {
    fn from(error: store::Error) -> Self {
        let problem = Self::of(&error);
        if matches!(error, store::Error::DiskFull) { problem.code("DISK_FULL") } else { problem }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(Arc::new(self));
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_keep_their_kind_on_the_way_out_and_back() {
        for kind in
            [Kind::NotFound, Kind::Invalid, Kind::Conflict, Kind::Denied, Kind::Unavailable, Kind::Internal]
        {
            assert_eq!(kind_of(status_of(kind).0.as_u16()), kind);
        }
    }

    #[test]
    fn a_failing_engine_says_so_and_what_to_do() {
        let source =
            engine::Error::Unreachable { socket: "unix:///x.sock".to_owned(), seconds: 5, source: None };
        let problem = Problem::from(workspace::Error::Engine(source));
        assert_eq!((problem.status.as_u16(), problem.code), (503, "BACKEND_UNAVAILABLE"));
        assert!(
            problem.message.ends_with("no container engine answered at unix:///x.sock within 5s"),
            "{problem:?}"
        );
        assert!(problem.hint.is_some());
    }

    #[test]
    fn a_bug_keeps_its_causes_for_the_log() {
        let problem = Problem::from(store::Error::Sqlite(rusqlite::Error::InvalidQuery));
        assert_eq!(problem.message, "the state database failed");
        assert!(problem.internal.is_some_and(|text| text.len() > problem.message.len()));
    }
}
