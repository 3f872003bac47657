//! Carries a folder's files into a container and brings back what the agent there has to say.
//!
//! One session pairs one folder with one container. Today it is one-way: the folder is the truth, and nothing is ever
//! removed from the container that did not come from the folder.

mod status;

pub use status::Ended;
pub use status::Failure;
pub use status::Link;
pub use status::Listener;
pub use status::Phase;
pub use status::Report;
pub use status::Skipped;
pub use status::Status;
pub use status::Step;
