//! The whole node as a process on the real engine: folders are dropped, URLs answer.

mod bad;
mod circle;
mod disk;
pub mod harness;
mod hostile;
mod kill;
mod kinds;
mod power;
mod restore;
mod run;
mod s3;
mod second_engine;
mod sync;
mod up;
