//! The engine room: one contract for every implementation, and sockets that misbehave.

mod contract;
mod fake;
mod faults;
mod hostile;
mod real;
