//! The doors, over real sockets, with no engine behind them.

pub mod harness;
mod hostile;
mod matrix;
mod rest;
