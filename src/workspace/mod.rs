//! Workspaces: one folder each, and the stack that runs it.
//!
//! Tasks: one *supervisor* reads the folders the project room sees and the rows the store holds, and keeps one *worker*
//! per workspace. A worker is a level-triggered loop: observe (folder, row, containers, sync) -> plan (pure) -> apply one
//! step -> publish a view -> wait for a hint or a deadline. Nothing runs a fixed script of steps, so killing the node
//! at any point and starting it again converges. [`Workspaces`] is the handle the doors hold: it changes what is wanted,
//! nudges, and reads the views.

mod apply;
mod attach;
mod context;
mod control;
mod files;
mod folders;
mod image;
mod plan;
mod prepare;
mod routes;
mod run;
pub mod settle;
pub mod status;
mod supervisor;
pub mod sync;
mod terms;
mod view;
mod worker;

pub use context::Context;
pub use context::Settings;
pub use control::Error;
pub use control::Views;
pub use control::Workspaces;
pub use routes::compile as compile_routes;
pub use run::Ended;
pub use run::Piece;
pub use run::Run;
pub use run::RunOutcome;
pub use status::View;
pub use supervisor::run;
