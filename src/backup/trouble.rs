//! What goes wrong at a destination, told apart by what a person has to do about it. Pure.

use std::error::Error as _;
use std::fmt;

use crate::base::fault;
use crate::base::fault::Explain;
use crate::base::printable;

/// Longest detail that is passed on: servers answer whole pages.
const DETAIL_MAX: usize = 300;

/// What is the matter with a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// Nothing answers there.
    Unreachable,
    /// It did not answer in time.
    TimedOut,
    /// The connection ended before the answer did.
    CutOff,
    /// It asks for fewer requests.
    Busy,
    /// It fails by itself.
    Broken,
    /// It does not know who we are.
    Unknown,
    /// What it knew us by is no longer valid.
    Expired,
    /// It knows us and does not let us.
    Denied,
    /// The bucket does not exist.
    NoBucket,
    /// The bucket is in another region.
    Region,
    /// Its clock and ours differ.
    Clock,
    /// There is no space left.
    Full,
    /// What was asked for is not there.
    Missing,
    /// What is there is not what was written.
    Damaged,
    /// What is there is of another kind, or of a newer version.
    Foreign,
    /// The recovery password does not open it.
    WrongKey,
    /// Someone else works on it and wants to be alone.
    Locked,
    /// We were asked to stop.
    Stopped,
    /// Anything else.
    Other,
}

/// A failure at a destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// What is the matter.
    pub cause: Cause,
    /// What was being done.
    pub doing: String,
    /// What the other side said.
    pub detail: String,
}

impl Cause {
    /// Whether it may have passed in a moment.
    pub fn passes(self) -> bool {
        matches!(self, Self::Unreachable | Self::TimedOut | Self::CutOff | Self::Busy | Self::Broken)
    }

    /// The word of the API for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::TimedOut => "timed_out",
            Self::CutOff => "cut_off",
            Self::Busy => "busy",
            Self::Broken => "broken",
            Self::Unknown => "unknown_credentials",
            Self::Expired => "expired_credentials",
            Self::Denied => "denied",
            Self::NoBucket => "no_bucket",
            Self::Region => "wrong_region",
            Self::Clock => "clock",
            Self::Full => "full",
            Self::Missing => "missing",
            Self::Damaged => "damaged",
            Self::Foreign => "foreign",
            Self::WrongKey => "wrong_key",
            Self::Locked => "locked",
            Self::Stopped => "stopped",
            Self::Other => "other",
        }
    }

    fn sentence(self) -> &'static str {
        match self {
            Self::Unreachable => "nothing answers there",
            Self::TimedOut => "it did not answer in time",
            Self::CutOff => "the connection was cut off",
            Self::Busy => "it asks for fewer requests",
            Self::Broken => "the server fails by itself",
            Self::Unknown => "it does not know these credentials",
            Self::Expired => "the credentials have expired",
            Self::Denied => "it does not allow this",
            Self::NoBucket => "the bucket does not exist",
            Self::Region => "the bucket is in another region",
            Self::Clock => "its clock and this machine's differ",
            Self::Full => "there is no space left",
            Self::Missing => "something is missing there",
            Self::Damaged => "what is there is not what was written",
            Self::Foreign => "what is there cannot be used by this version",
            Self::WrongKey => "the recovery password or key does not open it",
            Self::Locked => "someone else is working on it alone",
            Self::Stopped => "it was stopped",
            Self::Other => "it failed",
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}: {}", self.doing, self.cause.sentence())?;
        if self.detail.is_empty() { Ok(()) } else { write!(f, " ({})", printable::line(&self.detail)) }
    }
}

impl std::error::Error for Trouble {}

impl Explain for Trouble {
    fn kind(&self) -> fault::Kind {
        match self.cause {
            Cause::Unreachable
            | Cause::TimedOut
            | Cause::CutOff
            | Cause::Broken
            | Cause::Full
            | Cause::Clock
            | Cause::Stopped
            | Cause::Other => fault::Kind::Unavailable,
            Cause::Busy | Cause::Locked => fault::Kind::Busy,
            Cause::Unknown | Cause::Expired | Cause::Denied | Cause::WrongKey => fault::Kind::Denied,
            Cause::NoBucket | Cause::Missing => fault::Kind::NotFound,
            Cause::Region | Cause::Damaged | Cause::Foreign => fault::Kind::Conflict,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self.cause {
            Cause::Unreachable => {
                "check `endpoint`, the network and whether the server runs; it is tried again by itself"
            }
            Cause::TimedOut | Cause::CutOff | Cause::Busy | Cause::Broken => {
                "it is tried again by itself; if it stays so, see the server"
            }
            Cause::Unknown => {
                "check the access key and its secret: see `backup.destinations` in config/defaults.yaml"
            }
            Cause::Expired => "renew the credentials and restart the node",
            Cause::Denied => "give the access key the right to list, read and write in the bucket",
            Cause::NoBucket => "create the bucket, or correct `url`",
            Cause::Region => "set `region` to the bucket's",
            Cause::Clock => "set this machine's clock: servers refuse requests that are 15 minutes off",
            Cause::Full => "make room at the destination",
            Cause::Missing | Cause::Damaged => {
                "run `nexus backup verify` to see what is affected; a damaged index is made again by `nexus backup repair`"
            }
            Cause::Foreign => "use another folder or prefix, or the version of nexus that wrote it",
            Cause::WrongKey => "give the recovery password of this destination to `nexus backup adopt`",
            Cause::Locked => "wait until it is done; a lock older than 30 minutes is passed over",
            Cause::Stopped | Cause::Other => return None,
        };
        Some(hint.to_owned())
    }
}

impl Trouble {
    /// A failure we found ourselves.
    pub fn new(cause: Cause, doing: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { cause, doing: doing.into(), detail: detail.into() }
    }

    /// From what a store says.
    pub fn of(error: &object_store::Error, doing: impl Into<String>) -> Self {
        let mut text = error.to_string();
        let mut inner = error.source();
        let mut cause = None;
        while let Some(error) = inner {
            if let Some(io) = error.downcast_ref::<std::io::Error>() {
                cause = cause.or(of_io(io));
            }
            if !text.contains(&error.to_string()) {
                text.push_str(": ");
                text.push_str(&error.to_string());
            }
            inner = error.source();
        }
        let cause = of_text(&text).or(cause).unwrap_or(match error {
            object_store::Error::NotFound { .. } => Cause::Missing,
            object_store::Error::PermissionDenied { .. } => Cause::Denied,
            object_store::Error::Unauthenticated { .. } => Cause::Unknown,
            _ => Cause::Other,
        });
        Self { cause, doing: doing.into(), detail: detail(&text) }
    }
}

fn of_io(error: &std::io::Error) -> Option<Cause> {
    use std::io::ErrorKind;
    Some(match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Cause::Full,
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => Cause::Denied,
        ErrorKind::TimedOut => Cause::TimedOut,
        ErrorKind::ConnectionRefused | ErrorKind::HostUnreachable => Cause::Unreachable,
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::UnexpectedEof => Cause::CutOff,
        _ => return None,
    })
}

/// The codes of S3 servers, and the words of the client. The first that fits counts.
const WORDS: [(&str, Cause); 40] = [
    ("RequestTimeTooSkewed", Cause::Clock),
    ("NoSuchBucket", Cause::NoBucket),
    ("ExpiredToken", Cause::Expired),
    ("TokenRefreshRequired", Cause::Expired),
    ("InvalidToken", Cause::Expired),
    ("InvalidAccessKeyId", Cause::Unknown),
    ("SignatureDoesNotMatch", Cause::Unknown),
    ("AuthorizationHeaderMalformed", Cause::Region),
    ("PermanentRedirect", Cause::Region),
    ("IllegalLocationConstraint", Cause::Region),
    ("incorrectly configured region", Cause::Region),
    ("AccessDenied", Cause::Denied),
    ("AllAccessDisabled", Cause::Denied),
    ("AccountProblem", Cause::Denied),
    ("SlowDown", Cause::Busy),
    ("TooManyRequests", Cause::Busy),
    ("429 Too Many", Cause::Busy),
    ("XMinioStorageFull", Cause::Full),
    ("InsufficientStorage", Cause::Full),
    ("QuotaExceeded", Cause::Full),
    ("507 ", Cause::Full),
    ("BadDigest", Cause::Damaged),
    ("XAmzContentSHA256Mismatch", Cause::Damaged),
    ("XAmzContentChecksumMismatch", Cause::Damaged),
    ("RequestTimeout", Cause::TimedOut),
    ("operation timed out", Cause::TimedOut),
    ("timed out", Cause::TimedOut),
    ("503 Service", Cause::Busy),
    ("InternalError", Cause::Broken),
    ("500 Internal", Cause::Broken),
    ("502 Bad", Cause::Broken),
    ("invalid list response", Cause::Broken),
    ("missing from response", Cause::Broken),
    ("connection closed before message completed", Cause::CutOff),
    ("error decoding response body", Cause::CutOff),
    ("request or response body error", Cause::CutOff),
    ("Connection reset by peer", Cause::CutOff),
    ("dns error", Cause::Unreachable),
    ("error sending request", Cause::Unreachable),
    ("client error (Connect)", Cause::Unreachable),
];

fn of_text(text: &str) -> Option<Cause> {
    WORDS.iter().find(|(word, _)| text.contains(word)).map(|(_, cause)| *cause)
}

/// The code and message of a server's answer where there is one, else the beginning of the text.
fn detail(text: &str) -> String {
    let element = |name: &str| {
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        let (value, _) = rest.split_once(&format!("</{name}>"))?;
        Some(value)
    };
    let said = match (element("Code"), element("Message")) {
        // The one answer whose message says less than what comes with it.
        (Some(code), Some(message)) => match (element("RequestTime"), element("ServerTime")) {
            (Some(ours), Some(theirs)) => format!("{code}: {message} Ours: {ours}, theirs: {theirs}"),
            _ => format!("{code}: {message}"),
        },
        (Some(code), None) => code.to_owned(),
        _ => text.split_whitespace().collect::<Vec<_>>().join(" "),
    };
    said.chars().take(DETAIL_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generic(text: &str) -> object_store::Error {
        object_store::Error::Generic { store: "S3", source: text.to_owned().into() }
    }

    #[test]
    fn what_servers_say_becomes_what_to_do() {
        let cases = [
            ("<Error><Code>RequestTimeTooSkewed</Code><Message>late</Message></Error>", Cause::Clock),
            (
                "Server returned non-2xx status code: 503 Service Unavailable: <Code>SlowDown</Code>",
                Cause::Busy,
            ),
            ("Server returned non-2xx status code: 500 Internal Server Error: ", Cause::Broken),
            ("Server returned error response: <Error><Code>InternalError</Code></Error>", Cause::Broken),
            ("Error performing PUT: HTTP error: error sending request", Cause::Unreachable),
            (
                "Received redirect without LOCATION, this normally indicates an incorrectly configured region",
                Cause::Region,
            ),
            ("whatever", Cause::Other),
        ];
        for (text, cause) in cases {
            assert_eq!(Trouble::of(&generic(text), "write").cause, cause, "{text}");
        }
    }

    #[test]
    fn a_full_disk_is_known_by_its_number() {
        let source = std::io::Error::from_raw_os_error(28);
        let error = object_store::Error::Generic { store: "LocalFileSystem", source: source.into() };
        assert_eq!(Trouble::of(&error, "write").cause, Cause::Full);
    }

    #[test]
    fn a_trouble_is_one_short_line() {
        let body =
            "<Error><Code>AccessDenied</Code><Message>no\nway \u{1b}[31m</Message><Key>k</Key></Error>";
        let trouble = Trouble::of(&generic(body), "list `s3://b`");
        assert_eq!(
            trouble.to_string(),
            "cannot list `s3://b`: it does not allow this (AccessDenied: no\\nway \\u{1b}[31m)"
        );
        assert!(Trouble::of(&generic(&"x".repeat(5000)), "w").detail.len() <= DETAIL_MAX);
    }
}
