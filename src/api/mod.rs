//! The doors: REST on the control port and on the local socket, and the page that gives the first token.
//!
//! Tasks: each listener accepts until told, one task per connection. Reads: the views of all workspaces, the node's
//! facts. Publishes nothing; changes what is wanted through [`crate::workspace::Workspaces`].
//!
//! A handler extracts, calls one room function, converts.

pub mod auth;
pub mod door;
pub mod input;
pub mod listen;
pub mod openapi;
pub mod origin;
pub mod page;
pub mod problem;
pub mod rate;
pub mod rest;
pub mod show;
mod show_backup;
mod show_sync;
pub mod stall;
pub mod token;
pub mod wire;

mod context;

pub use context::Api;
pub use context::Facts;
pub use context::Parts;
pub use context::Settings;
