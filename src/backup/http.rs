//! The HTTP of a bucket, without successes that are none.
//!
//! A server may begin with 200 and say only then that it failed, and what answers may be no server at all but the page of
//! some proxy. `object_store` takes such an answer to a list for an empty list, and whoever takes unknown for absent
//! makes a new repository over an old one. Here it becomes the failure it is. What an object holds is left alone: its
//! length and its digest say whether it is whole.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::Method;
use hyper::StatusCode;
use hyper::header::DATE;
use jiff::SignedDuration;
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use object_store::ClientOptions;
use object_store::client::HttpClient;
use object_store::client::HttpConnector;
use object_store::client::HttpError;
use object_store::client::HttpRequest;
use object_store::client::HttpRequestBody;
use object_store::client::HttpResponse;
use object_store::client::HttpService;
use object_store::client::ReqwestConnector;

use crate::base::clock;

/// Makes clients that do not believe every success.
#[derive(Debug, Default)]
pub struct Doubtful {
    inner: ReqwestConnector,
    line: Option<Arc<Line>>,
}

/// What a probe has to do with the line to a server: it sees its clock, and damages what is sent.
#[derive(Debug, Default)]
pub struct Line {
    damage: AtomicBool,
    ahead: Mutex<Option<SignedDuration>>,
}

impl Line {
    /// The next object that is written changes on the way.
    pub fn damage_next(&self) {
        self.damage.store(true, Ordering::Relaxed);
    }

    /// How far the server's clock is ahead of ours, as far as it says what time it is.
    pub fn ahead(&self) -> Option<SignedDuration> {
        *self.ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn pass(&self, request: HttpRequest) -> Result<HttpRequest, HttpError> {
        if request.method() != Method::PUT || !self.damage.swap(false, Ordering::Relaxed) {
            return Ok(request);
        }
        let (parts, body) = request.into_parts();
        let mut bytes = body.collect().await?.to_bytes().to_vec();
        if let Some(byte) = bytes.first_mut() {
            *byte ^= 1;
        }
        Ok(HttpRequest::from_parts(parts, HttpRequestBody::from(Bytes::from(bytes))))
    }

    fn hear(&self, answer: &HttpResponse) {
        let theirs = answer.headers().get(DATE).and_then(|date| date.to_str().ok()).and_then(time_of);
        if let Some(theirs) = theirs {
            let ahead = theirs.duration_since(clock::now());
            *self.ahead.lock().unwrap_or_else(PoisonError::into_inner) = Some(ahead);
        }
    }
}

/// The moment a header names.
fn time_of(date: &str) -> Option<Timestamp> {
    DateTimeParser::new().parse_timestamp(date).ok()
}

impl Doubtful {
    /// The same on a line that a probe listens to.
    pub fn on(line: &Arc<Line>) -> Self {
        Self { line: Some(Arc::clone(line)), ..Self::default() }
    }
}

impl HttpConnector for Doubtful {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(Service { inner: self.inner.connect(options)?, line: self.line.clone() }))
    }
}

#[derive(Debug)]
struct Service {
    inner: HttpClient,
    line: Option<Arc<Line>>,
}

#[async_trait]
impl HttpService for Service {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let list = request.uri().query().is_some_and(|query| query.contains("list-type="));
        let small = list || request.method() == Method::PUT || request.method() == Method::POST;
        let request = match &self.line {
            Some(line) => line.pass(request).await?,
            None => request,
        };
        let answer = self.inner.execute(request).await?;
        if let Some(line) = &self.line {
            line.hear(&answer);
        }
        if !small || !answer.status().is_success() {
            return Ok(answer);
        }
        let (mut parts, body) = answer.into_parts();
        let body = body.collect().await?.to_bytes();
        if is_failure(&body, list) {
            parts.status = StatusCode::INTERNAL_SERVER_ERROR;
        }
        Ok(HttpResponse::from_parts(parts, body.into()))
    }
}

/// Whether an answer that calls itself a success is none. A list has to be one.
fn is_failure(body: &Bytes, list: bool) -> bool {
    let start = String::from_utf8_lossy(body.get(..512).unwrap_or(body));
    if list { !start.contains("<ListBucketResult") } else { start.contains("<Error>") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_says_what_time_it_is() {
        let expected: Timestamp = "1994-11-06T08:49:37Z".parse().unwrap();
        assert_eq!(time_of("Sun, 06 Nov 1994 08:49:37 GMT"), Some(expected));
        assert_eq!(time_of("yesterday"), None);
    }

    #[test]
    fn a_list_has_to_be_one_and_other_answers_no_error() {
        let failure = |text: &str, list| is_failure(&Bytes::copy_from_slice(text.as_bytes()), list);
        let list =
            "<?xml version=\"1.0\"?>\n<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"/>";
        assert!(!failure(list, true));
        let error = "<?xml version=\"1.0\"?><Error><Code>InternalError</Code></Error>";
        for text in [error, "<html>Please log in</html>", ""] {
            assert!(failure(text, true), "{text}");
        }
        assert!(failure(error, false) && !failure("", false));
    }
}
