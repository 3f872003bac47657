//! Whole-node tests: one binary, so that linking is paid for once.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by stopping")]
#![expect(
    clippy::disallowed_methods,
    reason = "a test root reads its environment and starts what its test ends"
)]

mod agent;
mod api;
mod appliance;
mod backup;
mod browser;
mod chance;
mod cli;
mod compose;
mod detect;
mod engine;
mod lifecycle;
mod nightly;
mod router;
mod sync;
mod tidy;
