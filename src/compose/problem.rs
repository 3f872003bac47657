//! Why a stack cannot be written: where, what, and what to do about it.

use std::error::Error;
use std::fmt;

use crate::base::fault::Explain;
use crate::base::fault::Kind;
use crate::base::printable::line;

/// One reason why a stack cannot be written. Problems are collected, so that one run shows all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file it is about, relative to the project; empty when it is about a setting of the node.
    pub file: String,
    /// 1-based line and column, where they are known.
    pub place: Option<(usize, usize)>,
    /// The key path: `services.web.privileged`; empty when it is about the file as a whole.
    pub key: String,
    /// What is wrong, lower case, no full stop.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
    /// The entry of `allow:` in `.nexus/config.yaml` that would permit it, when it was refused by policy.
    pub allow: Option<String>,
}

impl Problem {
    /// A problem with a value of the project's settings or of the node.
    pub(super) fn setting(key: &str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            file: String::new(),
            place: None,
            key: key.to_owned(),
            message: message.into(),
            hint: Some(hint.into()),
            allow: None,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.key.is_empty() {
            write!(f, "`{}`: ", line(&self.key))?;
        }
        f.write_str(&line(&self.message))?;
        match (self.file.as_str(), self.place) {
            ("", _) => Ok(()),
            (file, None) => write!(f, " ({file})"),
            (file, Some((row, column))) => write!(f, " ({file}:{row}:{column})"),
        }
    }
}

impl Error for Problem {}

impl Explain for Problem {
    fn kind(&self) -> Kind {
        if self.allow.is_some() { Kind::Denied } else { Kind::Invalid }
    }

    fn hint(&self) -> Option<String> {
        let allow = self.allow.as_ref();
        self.hint.clone().or_else(|| {
            allow.map(|entry| format!("to permit it, write `allow: [{entry:?}]` in .nexus/config.yaml"))
        })
    }
}
