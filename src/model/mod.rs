//! The nouns that more than one room shares. Plain values: no IO, no clock.

pub mod datastore;
pub mod project;
pub mod workspace;
