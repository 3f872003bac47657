//! Why a command failed, and the exit code that says so to a script.

use std::io;
use std::io::Write as _;
use std::process::ExitCode;

use crate::base::fault;
use crate::base::fault::Explain;
use crate::base::fault::Kind;
use crate::base::printable;

/// A failure on its way to the screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Which kind; `None` when there is nothing to say, as when the reader of our output has gone.
    kind: Option<Kind>,
    message: String,
    hint: Option<String>,
    /// Replaces the exit code of the kind.
    code: Option<u8>,
}

/// The exit code of a kind of fault. 2 is also what a wrong command line gives.
pub fn exit_code(kind: Kind) -> u8 {
    match kind {
        Kind::Internal => 1,
        Kind::Invalid => 2,
        Kind::NotFound => 3,
        Kind::Conflict => 4,
        Kind::Busy => 5,
        Kind::Denied => 6,
        Kind::Unavailable => 7,
    }
}

impl Failure {
    /// A failure without a cause.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind: Some(kind), message: message.into(), hint: None, code: None }
    }

    /// The same with what to do next.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// From an error that knows its kind.
    pub fn of(error: &impl Explain) -> Self {
        let failure = Self::new(error.kind(), fault::chain(error).to_string());
        match error.hint() {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }

    /// The same with another exit code.
    pub fn code(mut self, code: u8) -> Self {
        self.code = Some(code);
        self
    }

    /// Which kind of failure, if it is one.
    pub fn kind(&self) -> Option<Kind> {
        self.kind
    }

    /// What went wrong.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Prints `error:` and `hint:` and says how to exit.
    pub fn report(&self) -> ExitCode {
        let Some(kind) = self.kind else { return ExitCode::SUCCESS };
        let mut text = format!("error: {}\n", printable::block(&self.message));
        if let Some(hint) = &self.hint {
            text += &format!("hint: {}\n", printable::block(hint));
        }
        // Nobody is left to tell when this fails too.
        let _told = io::stderr().write_all(text.as_bytes());
        ExitCode::from(self.code.unwrap_or_else(|| exit_code(kind)))
    }
}

impl From<io::Error> for Failure {
    /// From writing our output: a reader that has gone (`| head`) is no failure.
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self { kind: None, message: String::new(), hint: None, code: None };
        }
        Self::new(Kind::Unavailable, format!("cannot write: {error}"))
    }
}
