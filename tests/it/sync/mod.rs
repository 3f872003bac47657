//! The sync engine against what the world does to it: hostile agents, bad connections, crashes, editors.
//!
//! `near` has the agent in this process, behind an engine in memory whose connections can be made to fail; what needs a
//! container has one of the real engine.

mod hostile;
mod near;
