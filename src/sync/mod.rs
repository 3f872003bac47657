//! Carries a folder's files into a container and brings back what the agent there has to say.
//!
//! One session pairs one folder with one container's copy of it and keeps the two equal, in the directions its mode
//! says. What it decides is the agent library's; here are the link to the agent, the host's side, and what people see.
//! A folder that cannot be read, is gone, was emptied or replaced removes nothing: unknown is not absent.
//!
//! Tasks: one per session ([`spawn`]) and a thread for it; publishes [`Status`].

mod settings;
mod status;

mod install;

mod link;

mod bases;
mod bounds;
mod merge;

mod controller;
mod driver;

pub use controller::Handle;
pub use controller::SessionError;
pub use controller::SessionSpec;
pub use controller::Traced;
pub use controller::Wishes;
pub use controller::spawn;
pub use install::Agent;
pub use install::InstallError;
pub use merge::TEXT_MAX;
pub use merge::merge;
pub use settings::ENTRIES_MAX;
pub use settings::Settings;
pub use status::Ended;
pub use status::Failure;
pub use status::Link;
pub use status::Listener;
pub use status::Phase;
pub use status::Report;
pub use status::Skipped;
pub use status::Status;
pub use status::Step;
