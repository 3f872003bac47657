//! One request and its answer: checks the head, decides, forwards or shows a page.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::{Body as _, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::http::uri::Authority;
use hyper::upgrade::OnUpgrade;
use hyper::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version};
use tokio::sync::watch;
use tokio::time::Instant;

use super::canonical::Canonical;
use super::forward::{self, Download, Lease, Outgoing, Pool, SendError};
use super::metrics::Metrics;
use super::page::{self, Problem};
use super::rewrite::{self, View};
use super::route::{self, Ask, Mount, Route};
use super::table::{Site, SiteState, Table};
use super::upgrade::{self, Tunnel};
use crate::base::fault::chain;

/// What a client receives as a body: an upstream's stream, or a page of ours.
pub(crate) type Body = Either<Download, Full<Bytes>>;

/// One client connection, as its requests see it.
pub(crate) struct Client {
    /// The client's address, as sites are told.
    address: HeaderValue,
    /// Our end of the connection: the host of requests that name none.
    local: SocketAddr,
    /// Set when an upgrade has been answered; the connection's task runs it.
    tunnel: Mutex<Option<Tunnel>>,
}

impl Client {
    pub(crate) fn new(peer: SocketAddr, local: SocketAddr) -> Self {
        let address = peer.ip().to_canonical().to_string();
        let address = HeaderValue::try_from(address).unwrap_or(HeaderValue::from_static("unknown"));
        Self { address, local, tunnel: Mutex::default() }
    }

    pub(crate) fn take_tunnel(&self) -> Option<Tunnel> {
        self.tunnel.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// What all connections share.
pub(crate) struct Exchange {
    table: watch::Receiver<Arc<Table>>,
    pool: Arc<Pool>,
    metrics: Arc<Metrics>,
    next_request: AtomicU64,
}

/// A request on its way to a site.
struct Errand {
    site: Arc<Site>,
    mount: Mount,
    authority: String,
    target: String,
    id: HeaderValue,
    html: bool,
}

impl Exchange {
    pub(crate) fn new(table: watch::Receiver<Arc<Table>>, pool: Arc<Pool>, metrics: Arc<Metrics>) -> Self {
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).expect("the kernel gives random bytes");
        // 40 bits: short enough to read out, long enough not to meet again soon.
        let next_request = AtomicU64::new(u64::from_le_bytes(seed) >> 24);
        Self { table, pool, metrics, next_request }
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Answers one request. Every answer carries the request's id, which logs and pages show too.
    pub(crate) async fn answer(&self, client: &Client, request: Request<Incoming>) -> Response<Body> {
        let started = Instant::now();
        let id = format!("{:010x}", self.next_request.fetch_add(1, Ordering::Relaxed));
        let asked = tracing::enabled!(tracing::Level::DEBUG)
            .then(|| (request.method().clone(), request.uri().clone()));
        let id_value = HeaderValue::try_from(&id).unwrap_or(HeaderValue::from_static("0"));
        let mut response = self.respond(client, request, id_value.clone()).await;
        response.headers_mut().insert("x-request-id", id_value);
        self.metrics.request();
        if let Some((method, uri)) = asked {
            let elapsed_ms = started.elapsed().as_secs_f64() * 1000.0;
            tracing::debug!(request = id, %method, path = uri.path(), status = response.status().as_u16(), elapsed_ms, "answered");
        }
        response
    }

    async fn respond(&self, client: &Client, request: Request<Incoming>, id: HeaderValue) -> Response<Body> {
        let html = page::wants_html(request.headers());
        let refuse = |problem: Problem<'_>| {
            self.metrics.refusal();
            problem.method(request.method()).request(&id).render(html).map(Either::Right)
        };
        let authority = match check_head(&request, client) {
            Ok(authority) => authority,
            Err((status, message)) => return refuse(Problem::refused(status, message)),
        };
        if request.uri().path() == "*" && *request.method() == Method::OPTIONS {
            return page::empty(StatusCode::NO_CONTENT).map(Either::Right);
        }
        let path = match Canonical::parse(request.uri().path()) {
            Ok(path) => path,
            Err(refusal) => return refuse(Problem::refused(StatusCode::BAD_REQUEST, refusal.to_string())),
        };
        let table = Arc::clone(&self.table.borrow());
        let headers = request.headers();
        let ask = Ask {
            authority: &authority,
            path: &path,
            query: request.uri().query(),
            safe: matches!(*request.method(), Method::GET | Method::HEAD),
            websocket: upgrade::is_websocket(request.method(), request.version(), headers),
            referer: headers.get(header::REFERER).and_then(|value| value.to_str().ok()),
            last: rewrite::cookie(headers, rewrite::LAST),
        };
        match route::decide(&table, &ask) {
            Route::Site { site, mount, path } => {
                let target = match ask.query {
                    Some(query) => format!("{path}?{query}"),
                    None => path.to_owned(),
                };
                let errand = Errand { site: Arc::clone(site), mount, authority, target, id, html };
                self.site(client, errand, &table, request).await
            }
            Route::Redirect { status, location } => {
                if status == 307 {
                    self.metrics.escape();
                }
                page::redirect(status, &location).map(Either::Right)
            }
            Route::Control { location } => page::redirect(302, &location).map(Either::Right),
            Route::Own(path) => page::own(&table, path, ask.safe, headers).map(Either::Right),
            Route::Index => page::index(&table, headers).map(Either::Right),
            Route::Unknown { name } => {
                let problem = Problem::unknown(&table, &name, ask.authority);
                problem.method(request.method()).request(&id).render(html).map(Either::Right)
            }
            Route::Stranger => refuse(Problem::stranger(&authority)),
        }
    }

    /// Forwards when the site can answer, else shows how it is doing.
    async fn site(
        &self,
        client: &Client,
        errand: Errand,
        table: &Table,
        request: Request<Incoming>,
    ) -> Response<Body> {
        let site = Arc::clone(&errand.site);
        let method = request.method().clone();
        let (id, html) = (errand.id.clone(), errand.html);
        let show =
            |problem: Problem<'_>| problem.method(&method).request(&id).render(html).map(Either::Right);
        match (&site.state, site.upstream) {
            (SiteState::Ready, Some(upstream)) => {
                self.forward(client, errand, upstream, request).await.unwrap_or_else(|failure| {
                    self.metrics.upstream_failure();
                    let error = chain(&failure).to_string();
                    tracing::debug!(site = site.name, request = ?id, error, "an upstream gave no answer");
                    show(Problem::unreachable(&site, failure.status(), failure.code(), error))
                })
            }
            _ => show(Problem::of_state(&site, table)),
        }
    }

    async fn forward(
        &self,
        client: &Client,
        errand: Errand,
        upstream: SocketAddr,
        mut request: Request<Incoming>,
    ) -> Result<Response<Body>, Failure> {
        let Errand { site, mount, authority, target, id, .. } = errand;
        let view =
            View { authority: &authority, site: &site.name, mount, upstream, host_sent: site.host_sent };
        let websocket = upgrade::is_websocket(request.method(), request.version(), request.headers());
        let upgrade = websocket.then(|| hyper::upgrade::on(&mut request));
        let remember = mount == Mount::Prefix
            && *request.method() == Method::GET
            && rewrite::cookie(request.headers(), rewrite::LAST) != Some(&site.name);

        let request = outgoing(request, &view, client, &id, target, websocket);
        let (response, lease) = self.pool.send(upstream, request).await.map_err(Failure::Send)?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return switch(client, response, upgrade, &view);
        }
        let mut response = returning(response, lease, &view)?;
        if remember && response.status().is_success() && is_page(response.headers()) {
            let cookie = format!("{}={}; Path=/; HttpOnly; SameSite=Lax", rewrite::LAST, site.name);
            if let Ok(cookie) = HeaderValue::try_from(cookie) {
                response.headers_mut().append(header::SET_COOKIE, cookie);
            }
        }
        Ok(response)
    }
}

/// Why a site that should have answered did not.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the request was not answered")]
    Send(#[source] SendError),
    #[error("the answer cannot be passed on")]
    Framing(#[source] rewrite::BadFraming),
    #[error("it switched to a protocol that nobody asked for")]
    Switched,
}

impl Failure {
    fn status(&self) -> StatusCode {
        match self {
            Self::Send(SendError::Silent { .. } | SendError::ConnectTimeout { .. }) => {
                StatusCode::GATEWAY_TIMEOUT
            }
            _ => StatusCode::BAD_GATEWAY,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Send(SendError::Connect { .. }) => "upstream_refused",
            Self::Send(SendError::ConnectTimeout { .. } | SendError::Silent { .. }) => "upstream_silent",
            Self::Send(SendError::Broken { .. }) => "upstream_broken",
            Self::Framing(_) | Self::Switched => "upstream_invalid",
        }
    }
}

/// Refuses heads that two readers could read differently; returns the authority the client asked for.
fn check_head(request: &Request<Incoming>, client: &Client) -> Result<String, (StatusCode, String)> {
    let bad = |message: &str| (StatusCode::BAD_REQUEST, message.to_owned());
    let (uri, headers) = (request.uri(), request.headers());
    if *request.method() == Method::CONNECT {
        return Err((
            StatusCode::NOT_IMPLEMENTED,
            "this node is no forward proxy: CONNECT is not implemented".to_owned(),
        ));
    }
    if *request.method() == Method::TRACE {
        return Err((StatusCode::METHOD_NOT_ALLOWED, "TRACE is not allowed".to_owned()));
    }
    if uri.authority().is_some() && !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(bad("the request's target is no path"));
    }
    if uri.path() == "*" && *request.method() != Method::OPTIONS {
        return Err(bad("the request's target is no path"));
    }
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next()
        && (!coding.as_bytes().eq_ignore_ascii_case(b"chunked") || codings.next().is_some())
    {
        return Err(bad("the only transfer coding understood is `chunked`"));
    }
    if headers
        .get_all(header::EXPECT)
        .iter()
        .any(|value| !value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
    {
        return Err((
            StatusCode::EXPECTATION_FAILED,
            "the only expectation understood is `100-continue`".to_owned(),
        ));
    }
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (_, Some(_)) => return Err(bad("the request has more than one Host")),
        (Some(host), None) => Some(host.to_str().map_err(|_| bad("the request's Host is no host name"))?),
        (None, None) if request.version() == Version::HTTP_11 => return Err(bad("the request has no Host")),
        (None, None) => None,
    };
    let authority = match (uri.authority(), host) {
        (Some(authority), _) => authority.as_str().to_owned(),
        (None, Some(host)) => host.to_owned(),
        (None, None) => client.local.to_string(),
    };
    // An authority may hold user information, which is no business of a server.
    let valid = !authority.contains('@')
        && authority.parse::<Authority>().is_ok_and(|parsed| !parsed.host().is_empty());
    if valid { Ok(authority) } else { Err(bad("the request's Host is no host name")) }
}

/// The request as the site sees it.
fn outgoing(
    request: Request<Incoming>,
    view: &View<'_>,
    client: &Client,
    id: &HeaderValue,
    target: String,
    websocket: bool,
) -> Request<Outgoing> {
    let (mut parts, body) = request.into_parts();
    let body = forward::outgoing(body);
    rewrite::request(&mut parts.headers, view, &client.address);
    parts.headers.insert("x-request-id", id.clone());
    if matches!(body, Either::Left(_)) && body.size_hint().exact().is_none() {
        // Without it a body of unknown length would be left out of a GET.
        parts.headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    if websocket {
        parts.headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        parts.headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    }
    // A canonical path and a query that was parsed once make a target that parses again.
    parts.uri = Uri::try_from(target).unwrap_or(Uri::from_static("/"));
    parts.version = Version::HTTP_11;
    Request::from_parts(parts, body)
}

/// The answer as the client sees it.
fn returning(response: Response<Incoming>, lease: Lease, view: &View<'_>) -> Result<Response<Body>, Failure> {
    let (mut parts, body) = response.into_parts();
    rewrite::response(&mut parts.headers, view).map_err(Failure::Framing)?;
    parts.version = Version::HTTP_11;
    Ok(Response::from_parts(parts, Either::Left(Download::new(body, lease))))
}

/// Passes a 101 on and leaves the tunnel to the connection's task.
fn switch(
    client: &Client,
    mut response: Response<Incoming>,
    asked: Option<OnUpgrade>,
    view: &View<'_>,
) -> Result<Response<Body>, Failure> {
    let (true, Some(asked)) = (upgrade::names_websocket(response.headers()), asked) else {
        return Err(Failure::Switched);
    };
    let upstream = hyper::upgrade::on(&mut response);
    let (mut parts, _) = response.into_parts();
    rewrite::response(&mut parts.headers, view).map_err(Failure::Framing)?;
    parts.headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    parts.headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    *client.tunnel.lock().unwrap_or_else(PoisonError::into_inner) = Some(Tunnel { client: asked, upstream });
    Ok(Response::from_parts(parts, Either::Right(Full::default())))
}

fn is_page(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"text/html"))
}
