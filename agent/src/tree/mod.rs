//! A folder as a value: cheap to copy, cheap to compare, cheap to change.
//!
//! A [`Directory`] is shared, never copied, and carries a digest of everything below it. So two trees are compared by
//! looking only where they differ, and a change copies only the directories above it: the cost is that of the change,
//! not of the folder.
//!
//! Invariant: every path in a tree can be said as a [`RelPath`](crate::path::RelPath), children are sorted by name and
//! no deeper than [`DEPTH_MAX`], so that whoever walks a tree needs no checks.

mod change;
mod item;
mod name;
mod wire;

pub use change::Change;
pub use change::Tree;
pub use change::TreeError;
pub use change::diff;
pub use item::DEPTH_MAX;
pub use item::Directory;
pub use item::File;
pub use item::Item;
pub use item::Keep;
pub use item::Stamp;
pub use item::Walk;
pub use item::problems;
pub use name::Name;
pub use wire::ENTRIES_MAX;

pub(crate) use change::paired;
pub(crate) use item::below_path;

#[cfg(test)]
mod tests;
