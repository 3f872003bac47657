//! The router over real sockets: real upstreams on loopback, a raw client that sends what it is told.

mod forwarding;
mod framing;
pub(crate) mod harness;
mod limits;
mod pages;
mod sockets;
mod swapping;
