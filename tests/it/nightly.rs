//! How thorough a run is.

/// Whether this is the nightly run.
pub fn is_nightly() -> bool {
    std::env::var_os("NEXUS_NIGHTLY").is_some_and(|value| value == "1")
}

/// How often something is tried, or how much of it: in the nightly run as much as is promised, otherwise a little.
pub fn nightly_or<T>(nightly: T, else_: T) -> T {
    if is_nightly() { nightly } else { else_ }
}
