//! The whole node as a process on the real engine: folders are dropped, URLs answer.

mod harness;
mod kinds;
mod up;
