//! What the engine's refusals mean: its status codes and words become [`Error`].

use std::time::Duration;

use bollard::errors::Error as Vendor;

use super::socket::TooLong;
use crate::engine::Error;

/// What a call is about; names the object in an error.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    object: &'static str,
    name: &'a str,
}

impl<'a> Subject<'a> {
    /// The engine itself.
    pub const ENGINE: Subject<'static> = Subject { object: "engine", name: "" };

    /// A container by name or id.
    pub fn container(name: &'a str) -> Self {
        Self { object: "container", name }
    }

    /// A network by name or id.
    pub fn network(name: &'a str) -> Self {
        Self { object: "network", name }
    }

    /// A volume by name.
    pub fn volume(name: &'a str) -> Self {
        Self { object: "volume", name }
    }

    /// An image by reference or id.
    pub fn image(name: &'a str) -> Self {
        Self { object: "image", name }
    }

    /// A program inside a container, by the id the engine gave it.
    pub fn exec(id: &'a str) -> Self {
        Self { object: "exec", name: id }
    }

    /// Refuses names that no object can have, so that none changes which address of the engine is called.
    pub fn check(&self) -> Result<(), Error> {
        let extra: &[u8] = if self.object == "image" { b"_.-/:@" } else { b"_.-" };
        let lawful = self.name.bytes().all(|byte| byte.is_ascii_alphanumeric() || extra.contains(&byte));
        let first = self.name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        if self.object == "engine" || (lawful && first && !self.name.contains("..")) {
            return Ok(());
        }
        Err(self.absent())
    }

    fn absent(&self) -> Error {
        Error::NotFound { object: self.object, name: self.name.to_owned() }
    }
}

/// Nothing answered at `address` within `limit`.
pub fn unreachable(
    address: &str,
    limit: Duration,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> Error {
    Error::Unreachable {
        socket: address.to_owned(),
        seconds: limit.as_secs().max(1),
        source: Some(source.into()),
    }
}

/// The answer is not what it should be.
pub fn garbled(error: impl std::fmt::Display) -> Error {
    Error::Garbled { message: error.to_string() }
}

/// The engine's words in the body of a refusal.
pub fn message(body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Refusal {
        message: String,
    }
    match serde_json::from_slice::<Refusal>(body) {
        Ok(refusal) => refusal.message,
        Err(_) => String::from_utf8_lossy(body).chars().take(500).collect(),
    }
}

/// A vendor error as ours.
pub fn translate(address: &str, limit: Duration, subject: Subject<'_>, error: Vendor) -> Error {
    match error {
        Vendor::DockerResponseServerError { status_code, message } => refusal(subject, status_code, &message),
        Vendor::DockerStreamError { error } => refusal(subject, 500, &error),
        Vendor::JsonDataError { message, .. } => garbled(message),
        Vendor::JsonSerdeError { err } => garbled(err),
        error if caused_by(&error, is_too_long) => garbled(TooLong),
        error if caused_by(&error, is_no_http) => garbled("it does not speak HTTP"),
        error => match deepest_io(&error) {
            // The layers above it say only that something failed.
            Some(cause) => unreachable(address, limit, cause),
            None => unreachable(address, limit, error),
        },
    }
}

/// What the system said, where that is what went wrong.
fn deepest_io(error: &(dyn std::error::Error + 'static)) -> Option<std::io::Error> {
    let layers = std::iter::successors(Some(error), |layer| layer.source());
    let code = layers.filter_map(|layer| layer.downcast_ref::<std::io::Error>()?.raw_os_error()).last()?;
    Some(std::io::Error::from_raw_os_error(code))
}

/// A refusal with its status and words.
pub fn refusal(subject: Subject<'_>, status: u16, message: &str) -> Error {
    let message = message.trim().to_owned();
    if let Some(error) = by_words(&message) {
        return error;
    }
    match status {
        // A container that is there may still name a network or an image that is not.
        404 if subject.object == "container" && !message.to_lowercase().contains("container") => {
            Error::Refused { message }
        }
        404 => subject.absent(),
        409 => Error::Conflict { message },
        _ if message.is_empty() => Error::Refused { message: format!("status {status}") },
        _ => Error::Refused { message },
    }
}

/// What only the words tell: the engine answers 500 for these.
pub fn by_words(message: &str) -> Option<Error> {
    const FULL: [&str; 3] = ["no space left on device", "disk quota exceeded", "ENOSPC"];
    const TAKEN: [&str; 3] =
        ["port is already allocated", "address already in use", "non-overlapping IPv4 address pool"];
    const OVERLAPS: [&str; 2] =
        ["Pool overlaps with other one on this address space", "networks have overlapping IPv4"];
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    let message = message.to_owned();
    if says(&FULL) {
        Some(Error::DiskFull { message })
    } else if says(&TAKEN) {
        Some(Error::Conflict { message })
    } else if says(&OVERLAPS) {
        Some(Error::Overlap { message })
    } else {
        None
    }
}

/// Whether an error or one of its causes is of that kind.
fn caused_by(error: &Vendor, is: impl Fn(&(dyn std::error::Error + 'static)) -> bool) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if is(error) {
            return true;
        }
        cause = error.source();
    }
    false
}

fn is_too_long(error: &(dyn std::error::Error + 'static)) -> bool {
    let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    inner.is_some_and(|inner| inner.is::<TooLong>())
}

fn is_no_http(error: &(dyn std::error::Error + 'static)) -> bool {
    error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: u16, message: &str) -> String {
        format!("{:?}", refusal(Subject::container("shop"), status, message))
    }

    #[test]
    fn words_and_status_tell_the_cause() {
        let full = "mkdir /var/lib/docker/overlay2/x: no space left on device";
        assert_eq!(check(500, full), format!("DiskFull {{ message: {full:?} }}"));
        assert!(check(500, "Bind for 0.0.0.0:80 failed: port is already allocated").starts_with("Conflict"));
        let hidden =
            "cannot create network a (br-a): conflicts with network b (br-b): networks have overlapping IPv4";
        assert!(check(500, hidden).starts_with("Overlap"));
        assert!(check(409, "name is in use").starts_with("Conflict"));
        assert_eq!(
            check(404, "No such container: shop"),
            r#"NotFound { object: "container", name: "shop" }"#
        );
        assert_eq!(check(500, ""), r#"Refused { message: "status 500" }"#);
    }

    #[test]
    fn a_name_cannot_change_the_address_called() {
        for bad in ["", "../images/x", "a/b", "a?force=1", "a#", ".hidden", "a..b", "ä", "a b"] {
            assert!(Subject::container(bad).check().is_err(), "{bad}");
        }
        for good in ["nexus-abc-app-1", "3f2a", "a_b.c"] {
            assert!(Subject::container(good).check().is_ok(), "{good}");
        }
        assert!(Subject::image("registry.example/a/b:1@sha256:ff").check().is_ok());
        assert!(Subject::image("a/../b").check().is_err());
    }
}
