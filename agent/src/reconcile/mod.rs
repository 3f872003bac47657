//! What has to happen so that two folders agree: three trees in, a plan out.
//!
//! `alpha` is the host's folder, `beta` the container's copy, and the *ancestor* what both last agreed on. At every path,
//! from the top down:
//!
//! 1. either side cannot be read: nothing happens, the ancestor stays. Unknown is not absent;
//! 2. nothing carried on either side: the ancestor forgets the path;
//! 3. the same on both: the ancestor takes it over, and directories are entered;
//! 4. otherwise the [`Mode`] decides about the whole subtree: it goes one way or the other, or it is a [`Conflict`].
//!
//! In the two-way modes an edit beats a deletion. Content that is not carried (ignored, unreadable) is never overwritten
//! or removed: where it stands in the way there is a conflict, in every mode. Disposable content goes with its directory.
//!
//! Invariant: no path is written on both sides, nothing at or below a conflict is written at all, and nothing outside a
//! subtree has a say in what happens in it. Subtrees in which all three agree are not entered: a plan costs what changed.

mod decide;
mod plan;

pub use decide::reconcile;
pub use plan::Conflict;
pub use plan::Mode;
pub use plan::Plan;
pub use plan::Side;
pub use plan::Transition;
pub use plan::UnknownMode;

pub(crate) use decide::is_blocked;
pub(crate) use decide::only_removes;
pub(crate) use decide::same;

#[cfg(test)]
pub(crate) mod tests;
