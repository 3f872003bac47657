//! Stands between a client and the S3 server.
//!
//! It passes on what it gets. One thing it mends: the server takes an empty `delimiter` for one that is in every key,
//! S3 takes it for none. restic sends one with each list, so those are signed anew without it.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use http_body_util::BodyExt as _;
use http_body_util::Full;
use hyper::Request;
use hyper::Response;
use hyper::Uri;
use hyper::body::Incoming;
use hyper::http::request::Parts;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use hyper_util::rt::TokioIo;
use object_store::aws::AwsAuthorizer;
use object_store::aws::AwsCredential;
use object_store::client::HttpRequestBody;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::server::KEY;
use super::server::SECRET;
use super::server::Server;

/// Ends with the test.
pub struct Proxy {
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// A proxy in front of the server.
    pub async fn before(server: &Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let way =
            Arc::new(Way { port: server.port(), client: Client::builder(TokioExecutor::new()).build_http() });
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let way = Arc::clone(&way);
                tokio::spawn(async move {
                    let answer = service_fn(move |request| Arc::clone(&way).answer(request));
                    // A connection that ends early is what it is for.
                    let _ended = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), answer)
                        .await;
                });
            }
        });
        Self { address, accepting }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// The way to the server.
struct Way {
    port: u16,
    client: Client<HttpConnector, Full<Bytes>>,
}

type Answer = Result<Response<Full<Bytes>>, std::io::Error>;

impl Way {
    fn answer(self: Arc<Self>, request: Request<Incoming>) -> BoxFuture<'static, Answer> {
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
            self.pass_on(&parts, body).await
        })
    }

    async fn pass_on(&self, parts: &Parts, body: Bytes) -> Answer {
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let uri = |path: &str| format!("http://127.0.0.1:{}{path}", self.port).parse::<Uri>().unwrap();
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = parts.method.clone();
        *request.headers_mut() = parts.headers.clone();
        request.headers_mut().remove("expect");
        let (place, query) = path.split_once('?').unwrap_or((path, ""));
        if query.split('&').any(|part| part == "delimiter=") {
            let rest: Vec<&str> = query.split('&').filter(|part| *part != "delimiter=").collect();
            *request.uri_mut() = uri(&format!("{place}?{}", rest.join("&")));
            *request.headers_mut() = signed(request.uri());
        } else {
            *request.uri_mut() = uri(path);
        }
        let answer = self.client.request(request).await.map_err(std::io::Error::other)?;
        let (parts, body) = answer.into_parts();
        let body = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
        Ok(Response::from_parts(parts, Full::new(body)))
    }
}

/// The headers of a request for this.
fn signed(uri: &Uri) -> hyper::HeaderMap {
    let credential = AwsCredential { key_id: KEY.to_owned(), secret_key: SECRET.to_owned(), token: None };
    let mut request = Request::new(HttpRequestBody::empty());
    *request.uri_mut() = uri.clone();
    AwsAuthorizer::new(&credential, "s3", "us-east-1").try_authorize(&mut request, None).unwrap();
    request.headers().clone()
}
