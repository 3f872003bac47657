//! The HTTP of a bucket, without successes that are none.
//!
//! A server may begin with 200 and say only then that it failed, and what answers may be no server at all but the page of
//! some proxy. `object_store` takes such an answer to a list for an empty list, and whoever takes unknown for absent
//! makes a new repository over an old one. Here it becomes the failure it is. What an object holds is left alone: its
//! length and its digest say whether it is whole.

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::Method;
use hyper::StatusCode;
use object_store::ClientOptions;
use object_store::client::HttpClient;
use object_store::client::HttpConnector;
use object_store::client::HttpError;
use object_store::client::HttpRequest;
use object_store::client::HttpResponse;
use object_store::client::HttpService;
use object_store::client::ReqwestConnector;

/// Makes clients that do not believe every success.
#[derive(Debug, Default)]
pub struct Doubtful {
    inner: ReqwestConnector,
}

impl HttpConnector for Doubtful {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(Service { inner: self.inner.connect(options)? }))
    }
}

#[derive(Debug)]
struct Service {
    inner: HttpClient,
}

#[async_trait]
impl HttpService for Service {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let list = request.uri().query().is_some_and(|query| query.contains("list-type="));
        let small = list || request.method() == Method::PUT || request.method() == Method::POST;
        let answer = self.inner.execute(request).await?;
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
