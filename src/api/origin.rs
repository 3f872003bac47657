//! Which requests may reach the control port at all, by what their headers say about where they come from.
//!
//! Threats: a page that rebinds its own name to our address (its Host is foreign), a page anywhere that posts to us (its
//! Origin is foreign), a workspace's page on the web port of the same host (same site, another origin). Programs send
//! no Origin. Pure over the values of the headers.

use std::net::IpAddr;

/// Names that are ours.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// Host names besides IP addresses, `localhost` and `*.localhost`: configured ones, the machine's own.
    pub hosts: Vec<String>,
}

/// What a request says about itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct Claims<'a> {
    /// `Host`, or the authority of an absolute target. `None` when absent, doubled or not text.
    pub host: Option<&'a str>,
    /// `Origin`.
    pub origin: Option<&'a str>,
    /// `Sec-Fetch-Site`.
    pub site: Option<&'a str>,
    /// Whether a person opens a page: GET, `Sec-Fetch-Mode: navigate`, `Sec-Fetch-Dest: document`.
    pub navigation: bool,
}

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It does not say which host it means, or says so twice.
    NoHost,
    /// The host it means is not us.
    Host,
    /// It comes from a page that is not ours.
    Origin,
    /// The browser says it comes from another site or origin.
    Site,
}

impl Names {
    /// Judges a request by where it says it comes from.
    ///
    /// # Errors
    /// The first reason to refuse it.
    pub fn admit(&self, claims: &Claims<'_>) -> Result<(), Refusal> {
        let host = claims.host.ok_or(Refusal::NoHost)?;
        if !name_of(host).is_some_and(|name| self.is_ours(name)) {
            return Err(Refusal::Host);
        }
        if let Some(origin) = claims.origin {
            let own = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
            let same = own.is_some_and(|own| own.eq_ignore_ascii_case(host));
            if !same {
                return Err(Refusal::Origin);
            }
        }
        match claims.site {
            None | Some("same-origin" | "none") => Ok(()),
            Some(_) if claims.navigation => Ok(()),
            Some(_) => Err(Refusal::Site),
        }
    }

    fn is_ours(&self, name: &str) -> bool {
        let lower = name.to_ascii_lowercase();
        let bare = lower.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(&lower);
        bare.parse::<IpAddr>().is_ok()
            || lower == "localhost"
            || lower.ends_with(".localhost")
            || self.hosts.iter().any(|host| host.eq_ignore_ascii_case(&lower))
    }
}

/// The host of `host`, `host:port`, `[v6]`, `[v6]:port`; `None` when it is none of these.
fn name_of(authority: &str) -> Option<&str> {
    let (name, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let end = rest.find(']')? + 2;
            (&authority[..end], &authority[end..])
        }
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._[]:".contains(&b));
    let port_ok =
        port.is_empty() || port.strip_prefix(':').is_some_and(|digits| digits.parse::<u16>().is_ok());
    (plain && port_ok).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        Names { hosts: vec!["box.lan".to_owned()] }
    }

    fn judge(host: Option<&str>, origin: Option<&str>, site: Option<&str>) -> Result<(), Refusal> {
        names().admit(&Claims { host, origin, site, navigation: false })
    }

    #[test]
    fn hosts_that_are_ours() {
        for host in [
            "127.0.0.1",
            "127.0.0.1:7070",
            "[::1]:7070",
            "[::1]",
            "192.0.2.7:1",
            "localhost",
            "LOCALHOST:7070",
            "hello.localhost:7070",
            "box.lan:7070",
            "Box.Lan",
        ] {
            assert_eq!(judge(Some(host), None, None), Ok(()), "{host}");
        }
        for host in [
            "evil.test",
            "evil.test:7070",
            "localhost.evil.test",
            "evillocalhost",
            "127.0.0.1.evil.test",
            "box.lan.evil",
            "",
            ":7070",
            "a@127.0.0.1",
            "127.0.0.1:7070:80",
            "127.0.0.1:x",
            "[::1",
            "[::1]x",
            "box.lan/",
            "box.lan ",
        ] {
            assert_eq!(judge(Some(host), None, None), Err(Refusal::Host), "{host}");
        }
        assert_eq!(judge(None, None, None), Err(Refusal::NoHost));
    }

    #[test]
    fn origins_that_are_ours() {
        let host = Some("localhost:7070");
        for origin in ["http://localhost:7070", "https://localhost:7070"] {
            assert_eq!(judge(host, Some(origin), None), Ok(()), "{origin}");
        }
        for origin in [
            "null",
            "",
            "http://evil.test",
            "http://localhost",
            "http://localhost:80",
            "http://hello.localhost",
            "http://localhost:7070.evil.test",
            "http://localhost:7071",
            "file://",
            "localhost:7070",
        ] {
            assert_eq!(judge(host, Some(origin), None), Err(Refusal::Origin), "{origin}");
        }
    }

    #[test]
    fn other_sites_may_link_to_us_and_no_more() {
        let host = Some("localhost:7070");
        for site in ["cross-site", "same-site", "anything"] {
            assert_eq!(judge(host, None, Some(site)), Err(Refusal::Site), "{site}");
            let claims = Claims { host, site: Some(site), navigation: true, ..Claims::default() };
            assert_eq!(names().admit(&claims), Ok(()));
        }
        assert_eq!(judge(host, None, Some("same-origin")), Ok(()));
    }
}
