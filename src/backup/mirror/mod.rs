//! The mirror form: plain objects, one for each file, that any S3 client shows and copies.
//!
//! Each run writes what differs, keeps what it replaces or removes under its own moment, and last of all writes a
//! manifest of the folder: that is the snapshot. So a snapshot that is listed is whole, and one that is not whole is never
//! listed. Every point in time that has a manifest comes back from the files, what was replaced since, and the hashes.
//! It needs nothing of a server but reading, writing, copying, listing and removing.
//!
//! Objects carry the node's name: two nodes never write the same ones, and need no lock. There is no encryption: whoever
//! can read the destination reads the source.

pub mod check;
pub mod control;
pub mod manifest;
pub mod mirrors;
pub mod name;
pub mod plan;
pub mod read;
pub mod run;
pub mod thin;

#[cfg(test)]
mod tests;
