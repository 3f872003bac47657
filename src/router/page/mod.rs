//! The node's own answers on the web port: the index of sites, how a site is doing, what is wrong with a request.
//!
//! Pages are for people, JSON is for programs; both come from one value. Pages load only `/_nexus/nexus.css` and
//! `/_nexus/nexus.js`, both compiled in, work without JavaScript, and run under a policy that forbids everything else.

mod html;
mod index;
mod own;
mod problem;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderValue};
use hyper::{HeaderMap, Response, StatusCode};

pub(crate) use index::index;
pub(crate) use own::own;
pub(crate) use problem::Problem;

/// What our own pages may do.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'self'";

/// Whether whoever asks can show a page. Browsers say so; API clients, images and scripts do not.
pub(crate) fn wants_html(headers: &HeaderMap) -> bool {
    accepts(headers, "text/html")
}

fn accepts(headers: &HeaderMap, mime: &str) -> bool {
    let accepted = headers.get_all(header::ACCEPT);
    accepted.iter().filter_map(|value| value.to_str().ok()).any(|value| value.contains(mime))
}

/// A redirect that nobody may remember: which site it leads to depends on who asks. 308 alone is permanent by nature.
pub(crate) fn redirect(status: u16, location: &str) -> Response<Full<Bytes>> {
    let mut response = empty(StatusCode::from_u16(status).unwrap_or(StatusCode::FOUND));
    let headers = response.headers_mut();
    // A location is made of a plain name, a canonical path and a query that was parsed.
    if let Ok(location) = HeaderValue::try_from(location) {
        headers.insert(header::LOCATION, location);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::VARY, HeaderValue::from_static("Referer, Cookie"));
    response
}

/// An answer without a body.
pub(crate) fn empty(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

/// An answer of ours. Nothing of it is kept by caches unless the caller says so.
fn answer(status: StatusCode, mime: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, mime),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "same-origin"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json";

#[cfg(test)]
mod tests;
