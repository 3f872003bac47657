//! Finds out what a destination really does, before anything counts on it.
//!
//! Servers answer 200 to what they have ignored: a condition, a version's id, a checksum. So each ability is tried where
//! its absence would show, and what is not proved is not used. `finding` says what the answers mean (pure), `ask` asks,
//! `kept` remembers, `control` is the handle.

pub mod ask;
pub mod control;
pub mod finding;
pub mod kept;

#[cfg(test)]
mod tests;
