//! Carries a folder's files into a container and brings back what the agent there has to say.
//!
//! One session pairs one folder with one container. Today it is one-way: the folder is the truth, and nothing is ever
//! removed from the container that did not come from the folder. A folder that cannot be read, is gone, was emptied or
//! replaced removes nothing either: unknown is not absent.
//!
//! Tasks: one per session ([`spawn`]); reads the folder, publishes [`Status`].

mod status;

mod install;

mod link;
mod push;
mod watch;

mod controller;

pub use controller::FlushError;
pub use controller::Handle;
pub use controller::LIMIT;
pub use controller::SessionSpec;
pub use controller::spawn;
pub use install::Agent;
pub use install::InstallError;
pub use status::Ended;
pub use status::Failure;
pub use status::Link;
pub use status::Listener;
pub use status::Phase;
pub use status::Report;
pub use status::Skipped;
pub use status::Status;
pub use status::Step;
