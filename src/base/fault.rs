//! What kind of failure an error is, and what a person can do about it.
//!
//! Errors are `thiserror` enums beside the function that returns them. Each implements [`Explain`], so that the API
//! can map the kind to a status and the command line to an exit code, and nobody else has to.

use std::error::Error;
use std::fmt;

/// The kinds of failure a caller may treat differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The thing named does not exist.
    NotFound,
    /// The input is wrong; the same call will fail again.
    Invalid,
    /// The input is right but clashes with what is there.
    Conflict,
    /// Not now: a limit is reached or the same work is under way.
    Busy,
    /// Not allowed.
    Denied,
    /// Something this node needs (engine, disk, network) does not answer.
    Unavailable,
    /// A bug of ours.
    Internal,
}

/// An error that can say its kind and what to do next.
pub trait Explain: Error {
    /// Which kind of failure this is.
    fn kind(&self) -> Kind;

    /// What the reader can do next: one imperative sentence, without a full stop.
    fn hint(&self) -> Option<String> {
        None
    }
}

/// Shows an error and its causes on one line: `cannot start: port is taken: address in use`.
pub struct Chain<'a>(&'a dyn Error);

/// Wraps an error so that Display prints it with all of its causes.
pub fn chain(error: &dyn Error) -> Chain<'_> {
    Chain(error)
}

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
