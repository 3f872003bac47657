//! The agent that runs inside every container.

fn main() {}
