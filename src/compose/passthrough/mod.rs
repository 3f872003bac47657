//! The user's own compose file: read, judged, adapted, and only then shown to Compose.
//!
//! ```text
//! texts -> parse -> interpolate -> shape (one form per thing) -> load (override, extends, profiles)
//!       -> service (policy, mounts, build, ports, limits, networks: each key of each service is kept, changed or refused)
//!       -> web (who answers) -> rewrite (our names, networks, labels, limits) -> one file
//! ```
//! The invariant: what reaches Compose is built from values that were looked at one by one. A key nobody here knows is
//! refused, and nothing is left for Compose to resolve: no variables, no includes, no relative paths.

mod build;
mod dotenv;
mod input;
mod interpolate;
mod limits;
mod load;
mod mounts;
mod networks;
mod parse;
mod paths;
mod place;
mod policy;
mod ports;
mod rewrite;
mod scope;
mod service;
mod shape;
mod web;

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(in crate::compose) use tests::hostile::PAYLOADS;

pub use input::Entry;
pub use input::Files;
pub use input::PassInput;
pub use input::Text;
pub use load::FILES;
pub use paths::View;
pub use rewrite::passthrough;
