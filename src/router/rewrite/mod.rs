//! What is changed in heads on their way through: pure functions over header maps.
//!
//! Towards a site: headers about one connection only go (RFC 9110 section 7.6.1), `X-Forwarded-*` is ours alone, and our
//! cookies stay here. Towards the client, for a site mounted under a prefix: URLs in headers get the prefix back, cookies
//! are confined to it, and headers that speak for the whole host are dropped.

use std::net::SocketAddr;

use hyper::HeaderMap;
use hyper::header::{self, HeaderName, HeaderValue};

use super::route::Mount;
use super::table::HostSent;

/// Cookies whose name starts so are the node's own: they never reach a site, and no site may set one.
const OWN_COOKIES: &str = "nexus_";
/// Remembers the site whose page was opened last.
pub(crate) const LAST: &str = "nexus_last";

/// Where a request came in and where it goes, as far as rewriting cares.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View<'a> {
    /// `host:port` as the client asked for it.
    pub(crate) authority: &'a str,
    pub(crate) site: &'a str,
    pub(crate) mount: Mount,
    pub(crate) upstream: SocketAddr,
    pub(crate) host_sent: HostSent,
}

// ---- requests ----

/// Makes a client's headers fit for a site. Framing (`Transfer-Encoding`) and `Upgrade` are put back by the caller.
pub(crate) fn request(headers: &mut HeaderMap, view: &View<'_>, peer: &HeaderValue) {
    let trailers = lists(headers, &header::TE, "trailers");
    drop_connection_headers(headers);
    drop_managed(headers);
    if trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    // The node has answered it already by reading the body.
    headers.remove(header::EXPECT);
    drop_own_cookies(headers);

    let asked = value(view.authority);
    headers.insert("x-forwarded-for", peer.clone());
    headers.insert("x-forwarded-proto", HeaderValue::from_static("http"));
    headers.insert("x-forwarded-host", asked.clone());
    if view.mount == Mount::Prefix {
        headers.insert("x-forwarded-prefix", value(&format!("/{}", view.site)));
    }
    match view.host_sent {
        HostSent::AsAsked => {
            headers.insert(header::HOST, asked);
        }
        HostSent::Local => pretend_local(headers, view),
    }
}

/// Whether a comma-separated header lists a token.
pub(crate) fn lists(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|listed| listed.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(token))
}

/// Removes what is about one connection: the standard headers, and what `Connection` lists. It cannot name headers whose
/// absence would mean something else to the receiver.
fn drop_connection_headers(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
        const KEPT: [&str; 5] = ["host", "authorization", "cookie", "content-length", "content-type"];
        let listed: Vec<HeaderName> = headers
            .get_all(header::CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|name| name.trim().parse().ok())
            .filter(|name: &HeaderName| !KEPT.contains(&name.as_str()))
            .collect();
        for name in listed {
            headers.remove(name);
        }
    }
    for name in [header::CONNECTION, header::TE, header::TRANSFER_ENCODING, header::UPGRADE] {
        headers.remove(name);
    }
    for name in
        ["keep-alive", "proxy-connection", "proxy-authorization", "proxy-authenticate", "http2-settings"]
    {
        headers.remove(name);
    }
}

/// Removes a client's copies of the headers only we may set, in every spelling a server may fold into them.
fn drop_managed(headers: &mut HeaderMap) {
    let managed: Vec<HeaderName> = headers.keys().filter(|name| is_managed(name.as_str())).cloned().collect();
    for name in managed {
        headers.remove(name);
    }
}

/// `X_Forwarded_For` becomes the same CGI variable as `X-Forwarded-For`; `Proxy` becomes `HTTP_PROXY`.
fn is_managed(name: &str) -> bool {
    let starts = |prefix: &str| {
        name.len() >= prefix.len()
            && name.bytes().zip(prefix.bytes()).all(|(a, b)| a == b || (a == b'_' && b == b'-'))
    };
    let is = |whole: &str| name.len() == whole.len() && starts(whole);
    match name.as_bytes().first() {
        Some(b'x') => starts("x-forwarded-") || starts("x-nexus-") || is("x-real-ip"),
        Some(b'f') => is("forwarded"),
        Some(b'p') => is("proxy"),
        _ => false,
    }
}

fn drop_own_cookies(headers: &mut HeaderMap) {
    let ours = |value: &HeaderValue| {
        value.as_bytes().windows(OWN_COOKIES.len()).any(|part| part == OWN_COOKIES.as_bytes())
    };
    if !headers.get_all(header::COOKIE).iter().any(ours) {
        return;
    }
    let kept: Vec<HeaderValue> =
        headers.get_all(header::COOKIE).iter().filter_map(without_own_cookies).collect();
    headers.remove(header::COOKIE);
    for value in kept {
        headers.append(header::COOKIE, value);
    }
}

fn without_own_cookies(value: &HeaderValue) -> Option<HeaderValue> {
    let kept: Vec<&[u8]> = value
        .as_bytes()
        .split(|byte| *byte == b';')
        .map(<[u8]>::trim_ascii)
        .filter(|pair| !pair.is_empty() && !pair.starts_with(OWN_COOKIES.as_bytes()))
        .collect();
    if kept.is_empty() { None } else { HeaderValue::from_bytes(&kept.join(&b"; "[..])).ok() }
}

/// The value of one cookie of ours.
pub(crate) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .find_map(|pair| pair.trim().strip_prefix(name)?.strip_prefix('='))
}

/// Tells a development server that it is asked on its own machine; what names our origin is mapped to match.
fn pretend_local(headers: &mut HeaderMap, view: &View<'_>) {
    let local = format!("localhost:{}", view.upstream.port());
    for name in [header::ORIGIN, header::REFERER] {
        let mapped = headers.get(&name).and_then(|value| value.to_str().ok()).and_then(|url| {
            let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"))?;
            let rest = rest
                .get(..view.authority.len())
                .filter(|host| host.eq_ignore_ascii_case(view.authority))
                .map(|host| &rest[host.len()..])?;
            let path =
                if view.mount == Mount::Prefix { unprefixed(rest, view.site).unwrap_or(rest) } else { rest };
            (rest.is_empty() || rest.starts_with('/')).then(|| value(&format!("http://{local}{path}")))
        });
        if let Some(mapped) = mapped {
            headers.insert(name, mapped);
        }
    }
    headers.insert(header::HOST, value(&local));
}

/// The path without `/site`, when it lies below it.
fn unprefixed<'a>(path: &'a str, site: &str) -> Option<&'a str> {
    let rest = path.strip_prefix('/')?.strip_prefix(site)?;
    (rest.is_empty() || rest.starts_with(['/', '?', '#'])).then_some(rest)
}

// ---- responses ----

/// A site's answer that cannot be passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it answered with a transfer coding other than `chunked`")]
pub(crate) struct BadFraming;

/// Makes a site's headers fit for the client.
pub(crate) fn response(headers: &mut HeaderMap, view: &View<'_>) -> Result<(), BadFraming> {
    if headers.contains_key(header::TRANSFER_ENCODING) {
        let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
        let chunked = codings.next().is_some_and(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"));
        if !chunked || codings.next().is_some() {
            return Err(BadFraming);
        }
        // With both, the length is a lie that would cut the body short.
        headers.remove(header::CONTENT_LENGTH);
    }
    drop_connection_headers(headers);
    confine_cookies(headers, view);
    if view.mount == Mount::Prefix || view.host_sent == HostSent::Local {
        for name in [header::LOCATION, header::CONTENT_LOCATION] {
            if let Some(mapped) =
                headers.get(&name).and_then(|value| value.to_str().ok()).and_then(|url| map_url(url, view))
            {
                headers.insert(name, value(&mapped));
            }
        }
    }
    if view.mount == Mount::Prefix {
        speak_for_the_prefix_only(headers);
    }
    Ok(())
}

/// Headers with which one site would speak for all that share the host; and a referrer policy under which the page that
/// asked for `/style.css` cannot be known.
fn speak_for_the_prefix_only(headers: &mut HeaderMap) {
    for name in
        ["strict-transport-security", "clear-site-data", "alt-svc", "public-key-pins", "nel", "report-to"]
    {
        headers.remove(name);
    }
    let hides =
        |value: &HeaderValue| matches!(value.as_bytes(), b"no-referrer" | b"origin" | b"strict-origin");
    if headers.get(header::REFERRER_POLICY).is_some_and(hides) {
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    }
}

/// Maps a URL a site speaks of to one the client can follow; `None` leaves it as it is.
fn map_url(url: &str, view: &View<'_>) -> Option<String> {
    // Browsers take a backslash for a slash: `/\evil.example` would lead away.
    let url = url.trim().replace('\\', "%5C");
    let after_scheme = url.strip_prefix("http:").or_else(|| url.strip_prefix("https:")).unwrap_or(&url);
    let path = match after_scheme.strip_prefix("//") {
        Some(rest) => {
            let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
            if !is_ours(&rest[..end], view) {
                return None;
            }
            &rest[end..]
        }
        None => url.starts_with('/').then_some(url.as_str())?,
    };
    // `http://localhost:3000//evil.example` must not come out as `//evil.example`.
    let path = path.trim_start_matches('/');
    if view.mount == Mount::Root {
        return Some(format!("/{path}"));
    }
    let path = format!("/{path}");
    // An application that heeds X-Forwarded-Prefix has put it there itself.
    if unprefixed(&path, view.site).is_some() { Some(path) } else { Some(format!("/{}{path}", view.site)) }
}

/// Whether an authority is the origin the client knows, or what the site believes to be its own.
fn is_ours(authority: &str, view: &View<'_>) -> bool {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse().ok()),
        _ => (authority, Some(80)),
    };
    authority.eq_ignore_ascii_case(view.authority)
        || (port == Some(view.upstream.port())
            && (matches!(host, "localhost" | "127.0.0.1" | "[::1]" | "0.0.0.0")
                || host.parse().ok() == Some(view.upstream.ip())))
}

/// Confines a site's cookies: no site sets ours, none sets one for a whole domain, and below a prefix they stay there.
fn confine_cookies(headers: &mut HeaderMap, view: &View<'_>) {
    if !headers.contains_key(header::SET_COOKIE) {
        return;
    }
    let confined: Vec<HeaderValue> = headers
        .get_all(header::SET_COOKIE)
        .iter()
        .filter_map(|cookie| confine(cookie.to_str().ok()?, view))
        .collect();
    headers.remove(header::SET_COOKIE);
    for cookie in confined {
        headers.append(header::SET_COOKIE, cookie);
    }
}

fn confine(cookie: &str, view: &View<'_>) -> Option<HeaderValue> {
    let mut parts = cookie.split(';');
    let pair = parts.next()?.trim();
    if pair.starts_with(OWN_COOKIES) {
        return None;
    }
    let mut confined = pair.to_owned();
    // A browser takes a `__Host-` cookie only with `Path=/`.
    let whole_host = pair.starts_with("__Host-");
    for attribute in parts.map(str::trim) {
        let (name, path) = attribute.split_once('=').unwrap_or((attribute, ""));
        if name.trim().eq_ignore_ascii_case("domain") {
            continue;
        }
        confined.push_str("; ");
        if name.trim().eq_ignore_ascii_case("path") && view.mount == Mount::Prefix && !whole_host {
            let path = path.trim();
            confined.push_str("Path=");
            // What is no path at all means the default one (RFC 6265 section 5.2.4), which lies below the prefix.
            if unprefixed(path, view.site).is_none() {
                confined.push('/');
                confined.push_str(view.site);
            }
            if path != "/" && path.starts_with('/') {
                confined.push_str(path);
            }
        } else {
            confined.push_str(attribute);
        }
    }
    HeaderValue::from_str(&confined).ok()
}

/// A header value from text that came out of header values; what cannot be one becomes empty.
fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests;
