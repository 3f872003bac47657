//! A workspace: one folder and the stack that runs it.

use std::fmt;

/// Words a workspace cannot be called, because the node answers there itself.
const RESERVED: [&str; 8] = ["api", "static", "monitor", "nexus", "health", "metrics", "mcp", "favicon.ico"];

/// A workspace's name: its folder's name, its path segment and its host label at once.
///
/// 1 to 63 characters of `a-z 0-9 -`, starting and ending with a letter or digit (RFC 1123 section 2.1), so that it is
/// a URL segment, a DNS label and an engine name without any quoting.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(String);

/// Why a folder's name cannot be a workspace's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Empty or longer than 63 characters.
    #[error("the name `{name}` has {length} characters, a workspace name has 1 to 63")]
    Length {
        /// The name as given.
        name: String,
        /// Its length in characters.
        length: usize,
    },
    /// A character outside `a-z 0-9 -`, or a dash at either end.
    #[error("the name `{name}` is not a workspace name: {why}")]
    Character {
        /// The name as given.
        name: String,
        /// Which rule it breaks.
        why: String,
    },
    /// The node answers there itself.
    #[error("the name `{name}` is reserved: the node answers there itself")]
    Reserved {
        /// The name as given.
        name: String,
    },
}

impl NameError {
    /// A name close to the one given that would do.
    pub fn suggestion(&self) -> Option<String> {
        let (Self::Length { name, .. } | Self::Character { name, .. } | Self::Reserved { name }) = self;
        let mut slug = String::new();
        for character in name.to_lowercase().chars() {
            if character.is_ascii_alphanumeric() {
                slug.push(character);
            } else if !slug.is_empty() && !slug.ends_with('-') {
                slug.push('-');
            }
        }
        slug.truncate(59);
        let slug = slug.trim_matches('-');
        let slug = if RESERVED.contains(&slug) { format!("{slug}-app") } else { slug.to_owned() };
        (!slug.is_empty()).then_some(slug)
    }
}

impl Name {
    /// Takes a folder's name.
    ///
    /// # Errors
    /// Says which rule the name breaks; [`NameError::suggestion`] offers one that would do.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let name = text.to_owned();
        let length = text.chars().count();
        if length == 0 || length > 63 {
            return Err(NameError::Length { name, length });
        }
        let bad = text.chars().find(|c| !(c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '-'));
        if let Some(bad) = bad {
            let why = format!("`{}` is not one of a-z, 0-9 and -", bad.escape_debug());
            return Err(NameError::Character { name, why });
        }
        if text.starts_with('-') || text.ends_with('-') {
            return Err(NameError::Character { name, why: "it starts or ends with a dash".to_owned() });
        }
        if RESERVED.contains(&text) {
            return Err(NameError::Reserved { name });
        }
        Ok(Self(name))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The life of a workspace, as its owner sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Being created or brought up.
    Pending,
    /// Exists, does not run.
    Stopped,
    /// Runs (or has finished, for a program that ends with code 0).
    Running,
    /// Suspended.
    Paused,
    /// Failed; the message says why and what to do.
    Error,
    /// Being removed.
    Destroying,
    /// Removed; its data is in the trash.
    Destroyed,
}

impl State {
    /// The word used in JSON and on the screen.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Stopped => "stopped",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Error => "error",
            Self::Destroying => "destroying",
            Self::Destroyed => "destroyed",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is going on inside a workspace, finer than [`State`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// Waiting for the folder to settle, for an image, or for a free place.
    Waiting,
    /// The stack is being created (images, network, containers).
    Creating,
    /// The source is on its way into the container.
    Syncing,
    /// Dependencies are being installed.
    Installing,
    /// The project is being built.
    Building,
    /// The program runs and does not listen yet.
    Starting,
    /// The program listens.
    Ready,
    /// The program ended with code 0.
    Finished,
    /// The program, its installation or its build failed.
    Failed,
}

impl Phase {
    /// The word used in JSON and on the screen.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Creating => "creating",
            Self::Syncing => "syncing",
            Self::Installing => "installing",
            Self::Building => "building",
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Finished => "finished",
            Self::Failed => "failed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_url_segments_and_host_labels() {
        for good in ["a", "hello", "my-app-2", &"x".repeat(63)] {
            assert!(Name::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "Hello",
            "my app",
            "caf\u{e9}",
            "-a",
            "a-",
            "_x",
            "a.b",
            "..",
            "api",
            "static",
            "$(x)",
            &"x".repeat(64),
        ] {
            assert!(Name::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_refused_name_suggests_one_that_is_taken() {
        for bad in ["My Project", "api", "_x", "caf\u{e9} 2", &"X".repeat(200)] {
            let error = Name::parse(bad).unwrap_err();
            let suggestion = error.suggestion().unwrap();
            assert!(Name::parse(&suggestion).is_ok(), "{bad} -> {suggestion}");
        }
        assert_eq!(Name::parse("\u{65e5}\u{672c}").unwrap_err().suggestion(), None);
    }
}
