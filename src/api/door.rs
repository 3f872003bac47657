//! The way of a request: `finish` (id, log, headers, the shape of failures) around `admit` (where does it come from)
//! around `require` (who asks, and may they).
//!
//! Every route states its [`Access`] when it is added to [`Doors`]; there is no way to add one without. A request whose
//! connection does not say where it comes from is refused.

use std::convert::Infallible;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::extract::State;
use axum::handler::Handler;
use axum::http::HeaderMap;
use axum::http::HeaderName;
use axum::http::HeaderValue;
use axum::http::Method;
use axum::http::StatusCode;
use axum::http::header;
use axum::middleware::Next;
use axum::middleware::from_fn;
use axum::middleware::from_fn_with_state;
use axum::response::IntoResponse as _;
use axum::response::Response;
use axum::routing::MethodFilter;
use axum::routing::MethodRouter;
use axum::routing::on;

use super::Api;
use super::auth::Principal;
use super::auth::Scope;
use super::origin;
use super::problem::Problem;
use super::wire;
use crate::base::ids;

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everybody who can reach the port.
    Open,
    /// Holders of a token with this scope, and the local socket.
    Token(Scope),
    /// The local socket alone.
    Local,
}

/// Where a request's connection comes from. The listener puts it into each request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// The local socket: whoever may open it is the owner.
    Local,
    /// The network.
    Tcp(SocketAddr),
}

impl Peer {
    /// The address wrong secrets are counted against.
    pub fn address(self) -> IpAddr {
        match self {
            Self::Local => IpAddr::V4(Ipv4Addr::LOCALHOST),
            Self::Tcp(address) => address.ip(),
        }
    }
}

/// One route, as it was added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// `GET`, ...
    pub method: &'static str,
    /// `/api/v1/workspaces/{id}`.
    pub path: &'static str,
    /// Who may use it.
    pub access: Access,
}

/// Collects routes, each with its access.
pub struct Doors {
    router: Router<Api>,
    routes: Vec<Route>,
    api: Api,
}

impl Doors {
    /// No routes yet.
    pub fn new(api: Api) -> Self {
        Self { router: Router::new(), routes: Vec::new(), api }
    }

    /// Adds a route.
    pub fn add<H, T>(mut self, access: Access, method: &'static str, path: &'static str, handler: H) -> Self
    where
        H: Handler<T, Api>,
        T: 'static,
    {
        let filter = Method::try_from(method).ok().and_then(|method| MethodFilter::try_from(method).ok());
        let methods: MethodRouter<Api, Infallible> = on(filter.expect("a method axum knows"), handler);
        let guarded = methods.route_layer(from_fn_with_state((self.api.clone(), access), require));
        self.router = self.router.route(path, guarded);
        self.routes.push(Route { method, path, access });
        self
    }

    /// The routes, and the router that serves them.
    pub fn finish(self) -> (Vec<Route>, Router) {
        let router = self
            .router
            .fallback(|| async { Problem::no_route() })
            .method_not_allowed_fallback(|| async {
                Problem::new(
                    StatusCode::METHOD_NOT_ALLOWED,
                    "METHOD_NOT_ALLOWED",
                    "this route has no such method",
                )
            })
            .layer(from_fn_with_state(self.api.clone(), admit))
            .layer(from_fn(finish))
            .with_state(self.api);
        (self.routes, router)
    }
}

/// The one value of a header; `Err` when it is there twice or is no text.
fn single(headers: &HeaderMap, name: HeaderName) -> Result<Option<&str>, Problem> {
    let mut values = headers.get_all(&name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    match (value.to_str(), values.next()) {
        (Ok(text), None) => Ok(Some(text)),
        _ => Err(Problem::invalid(format!("the header `{name}` is doubled or is no plain text"))),
    }
}

fn named<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<Option<&'a str>, Problem> {
    single(headers, HeaderName::from_static(name))
}

/// Refuses requests from where none may come; looks at no token.
async fn admit(State(api): State<Api>, request: Request, next: Next) -> Result<Response, Problem> {
    match request.extensions().get::<Peer>() {
        Some(Peer::Local) => {}
        Some(Peer::Tcp(address)) => {
            if api.settings().refuse.iter().any(|subnet| subnet.contains(address.ip())) {
                return Err(denied("a workspace's container may not use the control port"));
            }
            judge_origin(&api, &request)?;
        }
        None => return Err(denied("the connection does not say where it comes from")),
    }
    judge_body(&request)?;
    Ok(next.run(request).await)
}

fn judge_origin(api: &Api, request: &Request) -> Result<(), Problem> {
    let headers = request.headers();
    let host = single(headers, header::HOST)?;
    // A client that names another host in its target than in its header has something to hide.
    let target = request.uri().authority().map(axum::http::uri::Authority::as_str);
    let claims = origin::Claims {
        host: if target.is_none() || target == host { host } else { None },
        origin: single(headers, header::ORIGIN)?,
        site: named(headers, "sec-fetch-site")?,
        navigation: request.method() == Method::GET
            && named(headers, "sec-fetch-mode")? == Some("navigate")
            && named(headers, "sec-fetch-dest")? == Some("document"),
    };
    api.settings().names.admit(&claims).map_err(|refusal| match refusal {
        origin::Refusal::NoHost => Problem::invalid("the request does not say which host it means"),
        origin::Refusal::Host => denied("the node is not known by this host name")
            .hint("use its IP address, or add the name to `control.hosts`"),
        origin::Refusal::Origin => denied("pages of another origin may not use the control port"),
        origin::Refusal::Site => denied("pages of other sites may not use the control port"),
    })
}

/// A body must be JSON, plainly said: forms of other sites cannot say so. The claim page's form has no fields.
fn judge_body(request: &Request) -> Result<(), Problem> {
    if request.method().is_safe() {
        return Ok(());
    }
    let headers = request.headers();
    let unsupported =
        |message: &str| Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UNSUPPORTED_MEDIA_TYPE", message);
    if headers.contains_key(header::CONTENT_ENCODING) {
        return Err(unsupported("compressed bodies are not taken").hint("send the body as it is"));
    }
    let empty = !headers.contains_key(header::TRANSFER_ENCODING)
        && single(headers, header::CONTENT_LENGTH)?.is_none_or(|length| length == "0");
    let essence =
        single(headers, header::CONTENT_TYPE)?.map(|kind| kind.split(';').next().unwrap_or(kind).trim());
    match essence {
        Some(kind) if kind.eq_ignore_ascii_case("application/json") => Ok(()),
        None if empty => Ok(()),
        Some(kind)
            if empty
                && kind.eq_ignore_ascii_case("application/x-www-form-urlencoded")
                && request.uri().path().starts_with("/claim/") =>
        {
            Ok(())
        }
        _ => {
            Err(unsupported("the body must be JSON").hint("send the header `Content-Type: application/json`"))
        }
    }
}

/// Lets those through who may use this route, and tells the handler who they are.
async fn require(
    State((api, access)): State<(Api, Access)>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let peer = request.extensions().get::<Peer>().copied().ok_or_else(|| denied("where from?"))?;
    let scope = match access {
        Access::Open => return Ok(next.run(request).await),
        Access::Local if peer == Peer::Local => Scope::Admin,
        Access::Local => {
            return Err(denied("this is for the machine itself").hint("use the command line on the machine"));
        }
        Access::Token(scope) => scope,
    };
    let principal = match peer {
        Peer::Local => Principal::Local,
        Peer::Tcp(address) => {
            let value = single(request.headers(), header::AUTHORIZATION)?;
            api.tokens().check(value.map(bearer), address.ip()).await?
        }
    };
    if !principal.may(scope) {
        return Err(denied(format!("this needs the scope `{}`", scope.as_str()))
            .hint(format!("make a token for it: `nexus token create --scope {}`", scope.as_str())));
    }
    let who = principal.label().to_owned();
    request.extensions_mut().insert(principal);
    let mut response = next.run(request).await;
    response.extensions_mut().insert(Who(who));
    Ok(response)
}

/// The token of `Bearer <token>`; anything else stays as it is and is no token.
fn bearer(value: &str) -> &str {
    match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
        _ => value,
    }
}

fn denied(message: impl Into<String>) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "PERMISSION_DENIED", message)
}

/// Who a request was served for; for the log.
#[derive(Clone)]
struct Who(String);

/// The same on every answer. `style-src 'self'`: the pages have one sheet and no script.
const HEADERS: [(&str, &str); 7] = [
    ("cache-control", "no-store"),
    (
        "content-security-policy",
        "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    // Not `no-referrer`: browsers then send `Origin: null` with our own form.
    ("referrer-policy", "same-origin"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
];

/// Gives the request an id, turns a [`Problem`] into its JSON, logs writes and failures, adds the headers.
async fn finish(request: Request, next: Next) -> Response {
    let id = ids::random(16);
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let mut response = next.run(request).await;
    let status = response.status().as_u16();
    let problem = response.extensions_mut().remove::<Arc<Problem>>();
    let who = response.extensions_mut().remove::<Who>().map_or_else(String::new, |who| who.0);
    // The code of a claim is a secret until it is used.
    let shown = if path.starts_with("/claim/") { "/claim/..." } else { &path };
    let cause =
        problem.as_ref().map(|problem| problem.internal.as_ref().unwrap_or(&problem.message).as_str());
    match cause {
        Some(cause) if status == 500 => {
            tracing::error!(request = id, %method, path = shown, status, error = cause, "a request failed")
        }
        _ if !method.is_safe() && status < 400 => {
            tracing::info!(request = id, %method, path = shown, status, who, "a request changed something")
        }
        _ => {
            tracing::debug!(request = id, %method, path = shown, status, who, error = cause.unwrap_or_default(), "a request was answered")
        }
    }
    if let Some(problem) = problem {
        response = render(&problem, &id);
    }
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    headers.insert("x-request-id", HeaderValue::try_from(id).expect("an id is plain text"));
    response
}

fn render(problem: &Problem, id: &str) -> Response {
    let failure = wire::Failure {
        error: wire::FailureBody {
            code: problem.code.to_owned(),
            message: problem.message.clone(),
            hint: problem.hint.clone(),
            request_id: id.to_owned(),
        },
    };
    let body = serde_json::to_string(&failure).expect("strings become JSON");
    let mut response =
        (problem.status, [(header::CONTENT_TYPE, "application/json")], Body::from(body)).into_response();
    if problem.status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if let Some(seconds) = problem.retry_after_s {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}
