//! The page that lists the sites, and the same as JSON.

use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use bytes::Bytes;
use futures::FutureExt as _;
use http_body_util::{BodyExt as _, Full};
use hyper::header::{self, HeaderValue};
use hyper::{HeaderMap, Response, StatusCode};
use serde_json::{Value, json};

use super::super::table::{Site, SiteState, Table, Unnamed};
use super::html::{Text, code, frame, picture, sentence};
use super::{HTML, JSON, accepts, answer, empty, wants_html};

/// The index, as a page unless a program asks for JSON alone.
pub(crate) fn index(table: &Table, headers: &HeaderMap) -> Response<Full<Bytes>> {
    if accepts(headers, JSON) && !wants_html(headers) {
        return index_json(table, headers);
    }
    unless_known(answer(StatusCode::OK, HTML, page(table)), headers)
}

/// The index for programs.
pub(super) fn index_json(table: &Table, headers: &HeaderMap) -> Response<Full<Bytes>> {
    let sites: Vec<Value> = table.sites().iter().map(|site| summary(site)).collect();
    let unnamed = table.unnamed().iter();
    let unnamed: Vec<Value> = unnamed
        .map(|one| json!({ "folder": one.folder, "message": one.message, "hint": one.hint }))
        .collect();
    unless_known(
        answer(StatusCode::OK, JSON, json!({ "workspaces": sites, "unnamed": unnamed }).to_string()),
        headers,
    )
}

/// One site in a list.
fn summary(site: &Site) -> Value {
    let icon = site.icon.as_ref().map(|_| format!("/_nexus/icon/{}", site.name));
    let phase = match &site.state {
        SiteState::Starting { phase, .. } => Some(phase),
        _ => None,
    };
    json!({
        "name": site.name,
        "title": site.title(),
        "description": site.description,
        "kind": site.kind,
        "state": site.state.as_str(),
        "phase": phase,
        "url": format!("/{}/", site.name),
        "icon": icon,
        "notices": site.notices,
    })
}

/// Pages ask again every few seconds: what has not changed is not sent again.
fn unless_known(mut response: Response<Full<Bytes>>, headers: &HeaderMap) -> Response<Full<Bytes>> {
    // A full body is there at once.
    let Some(Ok(body)) = response.body_mut().clone().collect().now_or_never() else { return response };
    let mut hasher = DefaultHasher::new();
    body.to_bytes().hash(&mut hasher);
    let Ok(tag) = HeaderValue::try_from(format!("\"{:016x}\"", hasher.finish())) else { return response };
    if headers.get(header::IF_NONE_MATCH) == Some(&tag) {
        response = empty(StatusCode::NOT_MODIFIED);
    }
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept, Referer"));
    response.headers_mut().insert(header::ETAG, tag);
    response
}

fn page(table: &Table) -> String {
    let sites = table.sites();
    let mut main = String::with_capacity(600 * (sites.len() + 2));
    main.push_str(r#"<main class="index" data-index>"#);
    if sites.is_empty() && table.unnamed().is_empty() {
        welcome(&mut main, &table.settings().drop_into);
    } else {
        let noun = if sites.len() == 1 { "workspace" } else { "workspaces" };
        let _infallible = write!(
            main,
            "<div class=\"heading\"><h1>Workspaces</h1><p>{} {noun} · drop a folder into <code>{}</code> to add one</p></div>\n<ul class=\"grid\">\n",
            sites.len(),
            Text(&table.settings().drop_into)
        );
        for site in sites {
            card(&mut main, site);
        }
        for one in table.unnamed() {
            unnamed(&mut main, one);
        }
        main.push_str("</ul>");
    }
    main.push_str("</main>");
    frame("Nexus", &main)
}

fn card(main: &mut String, site: &Site) {
    let name = Text(&site.name);
    let state = site.state.as_str();
    let shown = match &site.state {
        SiteState::Starting { phase, .. } => phase.as_str(),
        SiteState::Missing => "folder gone",
        _ => state,
    };
    let _infallible = write!(
        main,
        r#"<li><a class="tile" href="/{name}/">{}<span class="words"><span class="name">{}</span><span class="path">/{name}/</span></span>"#,
        picture(site),
        Text(site.title()),
    );
    let _infallible = write!(main, r#"<span class="badge {state}">{}</span>"#, Text(shown));
    if let SiteState::Failed { message, .. } = &site.state {
        let _infallible = write!(main, r#"<span class="about wrong">{}</span>"#, code(&sentence(message)));
    } else if !site.description.is_empty() {
        let _infallible = write!(main, r#"<span class="about">{}</span>"#, Text(&site.description));
    }
    if !site.kind.is_empty() || !site.notices.is_empty() {
        main.push_str(r#"<span class="facts">"#);
        if !site.kind.is_empty() {
            let _infallible = write!(main, r#"<span class="kind">{}</span>"#, Text(&site.kind));
        }
        for notice in &site.notices {
            let _infallible = write!(main, r#"<span class="notice">{}</span>"#, Text(notice));
        }
        main.push_str("</span>");
    }
    main.push_str("</a></li>\n");
}

/// A folder that answers nowhere: a tile that leads nowhere.
fn unnamed(main: &mut String, one: &Unnamed) {
    let first = one.folder.chars().next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    let hint = one.hint.as_deref().map(|hint| code(&sentence(hint))).unwrap_or_default();
    let _infallible = writeln!(
        main,
        r#"<li><div class="tile"><span class="icon letter" aria-hidden="true">{}</span><span class="words"><span class="name">{}</span></span><span class="badge failed">no address</span><span class="about wrong">{}</span><span class="facts"><span class="notice">{hint}</span></span></div></li>"#,
        Text(&first),
        Text(&one.folder),
        code(&sentence(&one.message)),
    );
}

fn welcome(main: &mut String, drop_into: &str) {
    let _infallible = write!(
        main,
        r#"<div class="welcome"><img src="/_nexus/nexus.svg" alt="" width="72" height="72"><h1>Nothing here yet</h1>
<p>Drop a project folder into</p><p><code class="drop">{}</code></p>
<p>and it appears on this page with an address of its own, a few moments later.
Node, Python, PHP, Go, Ruby, plain files, a Dockerfile or a compose file: no configuration is needed.</p></div>"#,
        Text(drop_into)
    );
}
