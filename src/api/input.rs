//! Takes JSON bodies and query strings: bounded in size, time and depth, with our own failures.

use std::time::Duration;

use axum::extract::FromRequest;
use axum::extract::FromRequestParts;
use axum::extract::Query;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::http::request::Parts;
use http_body_util::BodyExt as _;
use http_body_util::Limited;
use serde::de::DeserializeOwned;

use super::problem::Problem;

const BODY_MAX: usize = 1024 * 1024;
const BODY_TIME: Duration = Duration::from_secs(10);

/// A JSON body. The parser itself stops at 128 levels.
pub struct Input<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Input<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Problem> {
        let collected =
            tokio::time::timeout(BODY_TIME, Limited::new(request.into_body(), BODY_MAX).collect()).await;
        let body = match collected {
            Err(_elapsed) => {
                return Err(Problem::new(
                    StatusCode::REQUEST_TIMEOUT,
                    "TIMEOUT",
                    "the body took too long to arrive",
                ));
            }
            Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
                return Err(Problem::new(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    "BODY_TOO_LARGE",
                    "the body is larger than 1 MiB",
                ));
            }
            Ok(Err(error)) => return Err(Problem::invalid(format!("the body did not arrive: {error}"))),
            Ok(Ok(body)) => body.to_bytes(),
        };
        serde_json::from_slice(&body)
            .map(Self)
            .map_err(|error| Problem::invalid(format!("the body is not what this route takes: {error}")))
    }
}

/// The query string.
pub struct Params<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        Query::try_from_uri(&parts.uri).map(|Query(params)| Self(params)).map_err(|error| {
            Problem::invalid(format!("the query is not what this route takes: {}", error.body_text()))
        })
    }
}

/// The `{id}` of a path: an id, a name or a folder.
pub struct Key(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Key {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        axum::extract::Path::<String>::from_request_parts(parts, state)
            .await
            .map(|axum::extract::Path(key)| Self(key))
            .map_err(|_| Problem::invalid("the path is not UTF-8"))
    }
}
