//! What the node serves below `/_nexus/`: its own files, icons, and how it and its sites are doing.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderValue};
use hyper::{HeaderMap, Response, StatusCode};
use serde_json::json;

use super::super::table::{Icon, Site, SiteState, Table};
use super::html::without_escapes;
use super::index::index_json;
use super::problem::Problem;
use super::{JSON, answer, index, wants_html};

const STYLE: &str = include_str!("nexus.css");
const SCRIPT: &str = include_str!("nexus.js");
const MARK: &str = include_str!("nexus.svg");

/// Pictures browsers show; anything else a project calls its icon is only offered for download.
const PICTURES: [&str; 7] =
    ["image/png", "image/svg+xml", "image/jpeg", "image/webp", "image/gif", "image/avif", "image/x-icon"];

/// Answers a path below `/_nexus`.
pub(crate) fn own(table: &Table, path: &str, safe: bool, headers: &HeaderMap) -> Response<Full<Bytes>> {
    if !safe {
        return Problem::method_not_allowed().render(wants_html(headers));
    }
    let found = match path {
        "" | "/" => Some(index(table, headers)),
        "/index.json" => Some(index_json(table, headers)),
        "/health" => Some(answer(StatusCode::OK, "text/plain; charset=utf-8", "ok\n")),
        "/nexus.css" => Some(file("text/css; charset=utf-8", STYLE)),
        "/nexus.js" => Some(file("text/javascript; charset=utf-8", SCRIPT)),
        "/nexus.svg" => Some(file("image/svg+xml", MARK)),
        _ => by_site(table, path),
    };
    found.unwrap_or_else(|| Problem::not_found().render(wants_html(headers)))
}

fn by_site(table: &Table, path: &str) -> Option<Response<Full<Bytes>>> {
    if let Some(name) = path.strip_prefix("/icon/") {
        return Some(icon(table.site(name)?.icon.as_ref()?));
    }
    let name = path.strip_prefix("/status/")?;
    Some(answer(StatusCode::OK, JSON, status(table.site(name)?).to_string()))
}

/// Ours, compiled in: five minutes are short enough to live through an upgrade.
fn file(mime: &'static str, content: &'static str) -> Response<Full<Bytes>> {
    let mut response = answer(StatusCode::OK, mime, content);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=300"));
    response
}

/// A project's picture comes from a stranger: as a document of its own (an SVG may hold scripts) it is locked up.
fn icon(icon: &Icon) -> Response<Full<Bytes>> {
    let mime = PICTURES.into_iter().find(|known| *known == icon.mime).unwrap_or("application/octet-stream");
    let mut response = answer(StatusCode::OK, mime, icon.bytes.clone());
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=60"));
    let policy = HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; sandbox");
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    response
}

/// What a waiting page looks at.
fn status(site: &Site) -> serde_json::Value {
    let (phase, message, log): (_, &str, &[String]) = match &site.state {
        SiteState::Starting { phase, message, log_tail } => (Some(phase), message, log_tail),
        SiteState::Failed { message, log_tail, .. } => (None, message, log_tail),
        SiteState::Finished { output } => (None, "", output),
        SiteState::Ready | SiteState::Stopped | SiteState::Missing => (None, "", &[]),
    };
    let log: Vec<String> = log.iter().map(|line| without_escapes(line)).collect();
    json!({ "name": site.name, "state": site.state.as_str(), "phase": phase, "message": message, "log": log })
}
