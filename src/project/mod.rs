//! Projects: the folders people drop, before anything runs.

mod fingerprint;
pub mod watch;
