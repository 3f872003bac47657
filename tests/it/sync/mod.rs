//! The sync engine against what the world does to it: hostile agents, bad connections, crashes, editors.
//!
//! `near` has the agent in this process, behind an engine in memory whose connections can be made to fail; what needs a
//! container has one of the real engine, and what has to be stopped or limited by the kernel is a process of its own.

mod editors;
mod faults;
mod full;
mod hostile;
mod kills;
mod limits;
mod near;
mod process;
mod races;
mod rows;
mod writers;
