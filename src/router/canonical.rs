//! One canonical spelling of a request's path.
//!
//! What is matched, what is cut off and what is forwarded are the same bytes. Every proxy that matched on one view of a
//! path and forwarded another had to be mended: `/api../admin` matched `/api` and left `../admin` (CVE-2026-48020),
//! an encoded path was cut at its decoded length (CVE-2026-40912). So there is one view, made before routing:
//!
//! - escapes are valid, name UTF-8, and are spelled in one way: unreserved characters plain, the rest in upper case;
//! - characters that a path may not hold are escaped; control bytes, backslashes and NULs, plain or escaped, are refused;
//! - a dot segment is refused in every disguise (`..`, `%2e%2e`, `..;x`, `..%2f`): browsers and curl resolve them before
//!   they send, so only a probe still has one;
//! - `%2F`, `;` and `//` stay as they are behind the first segment, because applications need them, but an escaped slash
//!   is refused within it, and slashes that follow it directly are one: `/app//evil.example` must not reach a site as
//!   `//evil.example`, which reads as an authority.
//!
//! Escapes are read once: `%252e` is the three characters `%2e` to whoever decodes it, and stays so.

use std::borrow::Cow;

/// A path in its canonical spelling. Starts with `/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Canonical<'a> {
    path: Cow<'a, str>,
    /// Where the first segment ends: the index of the slash behind it, or the length.
    segment_end: usize,
}

/// Why a path is refused. The text is shown to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not of the form `/...`.
    #[error("the path does not start with one slash")]
    NotAbsolute,
    /// `%` without two hexadecimal digits.
    #[error("the path holds a percent sign that is no escape")]
    BadEscape,
    /// The bytes behind the escapes are no UTF-8.
    #[error("the path's escapes are not UTF-8")]
    NotUtf8,
    /// A control byte or NUL, plain or escaped.
    #[error("the path holds a control byte")]
    Control,
    /// A backslash, plain or escaped: some servers take it for a slash.
    #[error("the path holds a backslash")]
    Backslash,
    /// `.` or `..` in any disguise.
    #[error("the path holds a dot segment")]
    DotSegment,
    /// An escaped slash within the first segment.
    #[error("the path's first segment holds an escaped slash")]
    EscapedSlash,
}

impl<'a> Canonical<'a> {
    /// Takes a path as it came, without its query.
    ///
    /// # Errors
    /// Says which rule the path breaks; such a request is answered 400 and goes nowhere.
    pub fn parse(raw: &'a str) -> Result<Self, Refusal> {
        if !raw.starts_with('/') || raw.starts_with("//") {
            return Err(Refusal::NotAbsolute);
        }
        let spelled = if raw.bytes().all(plain) { Cow::Borrowed(raw) } else { Cow::Owned(spell(raw)?) };
        if spelled.contains("/.") || spelled.contains("%2F") {
            refuse_dots_and_slashes(&spelled)?;
        }
        Ok(Self::cut(spelled))
    }

    /// Finds the end of the first segment and joins the slashes behind it.
    fn cut(path: Cow<'a, str>) -> Self {
        let segment_end = path[1..].find('/').map_or(path.len(), |at| at + 1);
        let rest = path[segment_end..].trim_start_matches('/');
        let doubled = path.len() - segment_end - rest.len();
        let path = if doubled > 1 { Cow::Owned(format!("{}/{rest}", &path[..segment_end])) } else { path };
        Self { path, segment_end }
    }

    /// The whole path.
    pub fn as_str(&self) -> &str {
        &self.path
    }

    /// The first segment, which names a site or nothing: `app` of `/app/x`, empty for `/`.
    pub fn segment(&self) -> &str {
        &self.path[1..self.segment_end]
    }

    /// What follows the first segment: `/x` of `/app/x`, `/` of `/app/`, empty of `/app`.
    pub fn rest(&self) -> &str {
        &self.path[self.segment_end..]
    }
}

/// Bytes that need no second look: unreserved, sub-delims, `:`, `@`, `/` (RFC 3986 section 3.3).
fn plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:@".contains(&byte)
}

fn unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// Spells every escape in the one way, and escapes what should have been.
fn spell(raw: &str) -> Result<String, Refusal> {
    let mut spelled = String::with_capacity(raw.len() + 16);
    let mut meant = Vec::with_capacity(raw.len());
    let mut bytes = raw.bytes();
    while let Some(byte) = bytes.next() {
        let escaped = byte == b'%';
        let byte = if escaped { unescape(bytes.next(), bytes.next())? } else { byte };
        match byte {
            b'\\' => return Err(Refusal::Backslash),
            0..0x20 | 0x7f => return Err(Refusal::Control),
            _ => {}
        }
        meant.push(byte);
        if unreserved(byte) || (!escaped && plain(byte)) {
            spelled.push(char::from(byte));
        } else {
            const HEX: &[u8; 16] = b"0123456789ABCDEF";
            spelled.push('%');
            spelled.push(char::from(HEX[usize::from(byte >> 4)]));
            spelled.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
    match std::str::from_utf8(&meant) {
        // U+0080..U+009F are control characters too, and some servers fold them.
        Ok(text) if text.chars().any(char::is_control) => Err(Refusal::Control),
        Ok(_) => Ok(spelled),
        Err(_) => Err(Refusal::NotUtf8),
    }
}

fn unescape(high: Option<u8>, low: Option<u8>) -> Result<u8, Refusal> {
    let digit =
        |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16)).ok_or(Refusal::BadEscape);
    // Two hexadecimal digits make at most 255.
    Ok((digit(high)? * 16 + digit(low)?) as u8)
}

/// Looks at segments as a careless server would: split at escaped slashes too, path parameters (`;x`) cut off.
fn refuse_dots_and_slashes(path: &str) -> Result<(), Refusal> {
    let first = path[1..].split('/').next().unwrap_or_default();
    if first.contains("%2F") {
        return Err(Refusal::EscapedSlash);
    }
    for segment in path[1..].split('/').flat_map(|segment| segment.split("%2F")) {
        let name = segment.split(';').next().unwrap_or_default();
        let name = name.split("%3B").next().unwrap_or_default();
        if name == "." || name == ".." {
            return Err(Refusal::DotSegment);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The path's canonical form, or the refusal's name.
    fn check(raw: &str, expected: &str) {
        let found = match Canonical::parse(raw) {
            Ok(path) => format!("{} | {}", path.segment(), path.rest()),
            Err(refusal) => format!("{refusal:?}"),
        };
        assert_eq!(found, expected, "{raw:?}");
    }

    #[test]
    fn whole_segments_decide() {
        check("/", " | ");
        check("/app", "app | ");
        check("/app/", "app | /");
        check("/application", "application | ");
        check("/application/x", "application | /x");
        check("/app/x/y/", "app | /x/y/");
        check("/App/x", "App | /x");
        check("/app;x/y", "app;x | /y");
        check("/app.html", "app.html | ");
        check("/app/...", "app | /...");
        check("/app/.well-known/x", "app | /.well-known/x");
        check("/app/a..b/..c/d..", "app | /a..b/..c/d..");
    }

    #[test]
    fn one_spelling_for_every_escape() {
        check("/%61pp/x", "app | /x");
        check("/app/%7euser/%2d", "app | /~user/-");
        check("/app/%c3%a9", "app | /%C3%A9");
        check("/app/\u{e9}", "app | /%C3%A9");
        check("/app/a b", "app | /a%20b");
        check("/app/\"<>^`{|}[]", "app | /%22%3C%3E%5E%60%7B%7C%7D%5B%5D");
        check("/app/a%3bb%26", "app | /a%3Bb%26");
        check("/app/%252e%252e/x", "app | /%252e%252e/x");
        check("/app/%25", "app | /%25");
    }

    #[test]
    fn applications_keep_their_odd_paths() {
        check("/app/@scope%2fname", "app | /@scope%2Fname");
        check("/app/group%2Fproject/x", "app | /group%2Fproject/x");
        check("/app/a//b///c", "app | /a//b///c");
        check("/app/x;v=1,2;w", "app | /x;v=1,2;w");
        check("/app/https://example.org/x", "app | /https://example.org/x");
    }

    #[test]
    fn slashes_behind_the_first_segment_are_one() {
        check("/app//evil.example/x", "app | /evil.example/x");
        check("/app////", "app | /");
        check("//app/x", "NotAbsolute");
        check("//", "NotAbsolute");
        check("app", "NotAbsolute");
        check("", "NotAbsolute");
        check("*", "NotAbsolute");
    }

    #[test]
    fn dot_segments_are_refused_in_every_disguise() {
        for raw in [
            "/..",
            "/.",
            "/./",
            "/app/..",
            "/app/../admin",
            "/app/./x",
            "/app/x/..",
            "/app/%2e%2e/x",
            "/app/%2E./x",
            "/app/.%2e",
            "/app/%2e",
            "/app/..;/x",
            "/app/..;a=b/x",
            "/app/.;/x",
            "/app/..%3bx",
            "/app/..%2fx",
            "/app/x%2f..",
            "/app/x%2F%2e%2e%2Fy",
            "/%2e%2e/app",
            "/..;/app",
            "/app/%2f../x",
            "/app//../x",
            "/app/.%2f",
        ] {
            check(raw, "DotSegment");
        }
    }

    #[test]
    fn the_rest_of_the_corpus_is_refused() {
        for raw in ["/app\\x", "/app/..\\x", "/app/%5cx", "/app%5C..%5Cadmin", "/\\evil", "/app/%5c%5cevil"] {
            check(raw, "Backslash");
        }
        for raw in [
            "/app/%00",
            "/app%00/x",
            "/app/\u{1}",
            "/app/%0d%0aX",
            "/app/\t",
            "/app/%7f",
            "/app/%c2%85",
            "/%00",
        ] {
            check(raw, "Control");
        }
        for raw in [
            "/app/%c0%ae%c0%ae/",
            "/app/%c0%af",
            "/app/%e0%80%af",
            "/app/%ff",
            "/app/%ed%a0%80",
            "/app/%f0%80%80%ae",
            "/app/%e9",
        ] {
            check(raw, "NotUtf8");
        }
        for raw in ["/app/%", "/app/%2", "/app/%zz", "/app/%u002e", "/%", "/app/%+1", "/app/%\u{e9}a"] {
            check(raw, "BadEscape");
        }
        for raw in ["/app%2fx", "/%2fapp", "/app%2F", "/app%2fx/y", "/app%2f../admin"] {
            check(raw, "EscapedSlash");
        }
    }

    /// Decodes like a server behind us: once, then slashes and backslashes split, parameters are cut.
    fn decoded_segments(path: &str) -> Vec<String> {
        let decoded = percent_encoding::percent_decode_str(path).decode_utf8().unwrap().into_owned();
        decoded.split(['/', '\\']).map(|segment| segment.split(';').next().unwrap().to_owned()).collect()
    }

    proptest! {
        #[test]
        fn canonical_is_a_fixed_point(raw in "/[a-z%.;/\\\\2eEfF5cC0 \u{e9}]{0,24}") {
            if let Ok(path) = Canonical::parse(&raw) {
                let again = Canonical::parse(path.as_str()).unwrap();
                prop_assert_eq!(again.as_str(), path.as_str());
                prop_assert_eq!(again.segment(), path.segment());
            }
        }

        #[test]
        fn segment_and_rest_make_the_path(raw in "/\\PC{0,24}") {
            if let Ok(path) = Canonical::parse(&raw) {
                prop_assert_eq!(format!("/{}{}", path.segment(), path.rest()), path.as_str());
                prop_assert!(path.as_str().bytes().all(|byte| plain(byte) || byte == b'%'));
                prop_assert!(path.rest().is_empty() || path.rest().starts_with('/'));
                prop_assert!(!path.rest().starts_with("//"));
            }
        }

        #[test]
        fn nothing_climbs_out_once_decoded(raw in "/(app|%61pp)?[a%.;/2eEfF5cC]{0,20}") {
            if let Ok(path) = Canonical::parse(&raw) {
                for segment in decoded_segments(path.as_str()) {
                    prop_assert!(segment != ".." && segment != ".", "{} -> {}", raw, path.as_str());
                }
            }
        }

        #[test]
        fn the_first_segment_is_what_a_server_would_see(raw in "/[ap%16/2fF]{0,12}") {
            if let Ok(path) = Canonical::parse(&raw) {
                let decoded = percent_encoding::percent_decode_str(path.segment()).decode_utf8().unwrap();
                prop_assert!(!decoded.contains('/'));
            }
        }
    }
}
