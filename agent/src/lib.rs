//! What the node and the agent inside a container share: the wire between them, and the file tree they compare.
//!
//! Pure: [`path`], [`entry`], [`tree`], [`delta`], [`report`], [`command`](init::command). The wire is in [`wire`]. The rules of what
//! is not carried are in [`rules`]. What has to happen so that two folders agree is planned in [`reconcile`], stopped or
//! held in [`safety`] and decided where edits meet in [`resolve`]. What is different in a changed file is found in [`delta`].
//! What touches a disk is in [`disk`] (the engine's only door), [`log`], [`watch`] (where a folder changes), [`look`]
//! (from a disk to a tree), [`stamps`] (what a folder held), [`journal`] (what a session remembers), [`apply`] (makes a
//! plan true), [`versions`] (what that displaces), [`content`], [`replica`] (a side on its disk), [`keeper`] (a side at
//! work) and [`files`]. [`session`] decides what the two sides say and do, in the words of [`message`]; what people ask
//! of a side is in [`inquiry`]. What only the agent does is in [`serve`], [`received`], [`init`], [`listen`],
//! [`forward`], [`run`], [`site`] and [`endpoint`]. [`memory`] is what the allocator keeps.

mod accept;
pub mod apply;
pub mod content;
pub mod delta;
pub mod disk;
pub mod endpoint;
pub mod entry;
pub mod files;
pub mod forward;
pub mod init;
pub mod inquiry;
pub mod journal;
pub mod keeper;
pub mod listen;
pub mod log;
pub mod look;
pub mod memory;
pub mod message;
pub mod path;
pub mod received;
pub mod reconcile;
pub mod replica;
pub mod report;
pub mod resolve;
pub mod rules;
pub mod run;
pub mod safety;
#[cfg(test)]
mod sample;
pub mod serve;
pub mod session;
#[cfg(test)]
mod simulation;
pub mod site;
pub mod stamps;
pub mod tree;
pub mod versions;
pub mod watch;
pub mod wire;
