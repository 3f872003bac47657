//! Projects: folders in the watched directory, before anything runs.
//!
//! `observe` reads a folder into a [`Listing`] (the only IO here); `detect`, `identify` and `overrides` decide from the
//! listing alone, so a detection can be replayed from what was seen. Project code is never executed.

mod detect;
mod fingerprint;
mod identity;
mod listing;
mod observe;
mod overrides;
pub mod watch;

pub use detect::detect;
pub use detect::served_directory;
pub use identity::identify;
pub use listing::Content;
pub use listing::Entry;
pub use listing::EntryKind;
pub use listing::Listing;
pub use listing::decode;
pub use observe::Limits;
pub use observe::ObserveError;
pub use observe::observe;
pub use overrides::overrides;
