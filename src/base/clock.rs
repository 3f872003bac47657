//! The one place that asks what time it is. Pure code takes `now` as an argument.

pub use jiff::Timestamp;

/// The wall clock now. For display and retention only: no decision about which version of a file wins rests on it.
#[expect(clippy::disallowed_methods, reason = "the lawful home of the clock")]
pub fn now() -> Timestamp {
    Timestamp::now()
}
