//! What an agent may say. Whatever runs in a container may have taken its agent over, so what comes from there is held
//! against the session's own limits before it is believed. Pure.
//!
//! What cannot be said by its type (paths that leave the folder, frames without end) never gets here. An honest agent
//! leaves out what is too long or too much by itself, since it goes by the same [`Settings`]; so more than that ends the
//! connection.

use nexus_agent::message::CHUNK;
use nexus_agent::message::FromSide;
use nexus_agent::message::Problem;
use nexus_agent::tree::File;
use nexus_agent::tree::Item;

use super::settings::Settings;

/// How much longer than its limit a folder may be said to be: what the node itself is just bringing comes on top of
/// what the agent has let pass.
const SLACK: u64 = 2;
/// So much of a sentence of the agent's is shown to people, in characters.
const SENTENCE_MAX: usize = 300;

/// See the module.
#[derive(Debug)]
pub(super) struct Bounds {
    entries: u64,
    file_size: u64,
    /// Entries the agent's tree has at most: as many as there were, and all it told of since.
    perhaps: u64,
}

/// What an agent said that no honest one does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Excess {
    #[error("the agent tells of a file of {size} bytes; the session carries none longer than {limit}")]
    Long { size: u64, limit: u64 },
    #[error("the agent tells of {entries} files and directories; the session carries at most {limit}")]
    Many { entries: u64, limit: u64 },
    #[error("the agent sends {bytes} bytes of content at once; it is asked for {CHUNK} at most")]
    Content { bytes: u64 },
}

impl Bounds {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            entries: settings.entries_max.saturating_mul(SLACK),
            file_size: settings.file_size_max,
            perhaps: 0,
        }
    }

    /// Looks at what is said. Says whether the agent's tree has to be [counted](Self::counted) once it is heard.
    ///
    /// # Errors
    /// See [`Excess`].
    pub(super) fn check(&mut self, said: &FromSide) -> Result<bool, Excess> {
        match said {
            FromSide::Changes { changes, .. } => {
                changes.iter().try_for_each(|change| self.item(change.item.as_ref()))?;
            }
            FromSide::Applied { outcomes, .. } => {
                outcomes.iter().try_for_each(|outcome| self.item(outcome.now.as_ref()))?;
            }
            FromSide::Content { piece, .. } if piece.weight() as u64 > CHUNK => {
                return Err(Excess::Content { bytes: piece.weight() as u64 });
            }
            FromSide::Signed { signature, .. } if signature.len() as u64 > CHUNK => {
                return Err(Excess::Content { bytes: signature.len() as u64 });
            }
            _ => {}
        }
        Ok(self.perhaps > self.entries)
    }

    /// The agent's tree has so many entries.
    ///
    /// # Errors
    /// See [`Excess`].
    pub(super) fn counted(&mut self, entries: u64) -> Result<(), Excess> {
        self.perhaps = entries;
        if entries > self.entries { Err(Excess::Many { entries, limit: self.entries }) } else { Ok(()) }
    }

    fn item(&mut self, item: Option<&Item>) -> Result<(), Excess> {
        let Some(item) = item else { return Ok(()) };
        if item.count() > self.entries {
            return Err(Excess::Many { entries: item.count(), limit: self.entries });
        }
        self.perhaps = self.perhaps.saturating_add(item.count());
        // Only a directory that holds more than a file may is looked through.
        if item.bytes() > self.file_size {
            let long = item.walk(None).find_map(|(_, item)| match item {
                Item::File(File { size, .. }) if *size > self.file_size => Some(*size),
                _ => None,
            });
            if let Some(size) = long {
                return Err(Excess::Long { size, limit: self.file_size });
            }
        }
        Ok(())
    }
}

/// A sentence of the agent's as it may be shown: of bounded length, and nothing in it that moves a terminal's cursor.
pub(super) fn sentence(said: &str) -> String {
    said.chars().filter(|c| !c.is_control()).take(SENTENCE_MAX).collect()
}

/// The same for every sentence in what a side says.
pub(super) fn in_sentences(said: FromSide) -> FromSide {
    match said {
        FromSide::Unavailable { reason } => FromSide::Unavailable { reason: sentence(&reason) },
        FromSide::Stored { digest, bytes, whole, problem } => {
            FromSide::Stored { digest, bytes, whole, problem: problem.map(shown) }
        }
        FromSide::Applied { batch, mut outcomes } => {
            for outcome in &mut outcomes {
                outcome.problem = outcome.problem.take().map(shown);
            }
            FromSide::Applied { batch, outcomes }
        }
        other => other,
    }
}

fn shown(problem: Problem) -> Problem {
    match problem {
        Problem::Full => Problem::Full,
        Problem::Other(said) => Problem::Other(sentence(&said)),
    }
}

#[cfg(test)]
mod tests {
    use nexus_agent::entry::Digest;
    use nexus_agent::message::Piece;
    use nexus_agent::path::RelPath;
    use nexus_agent::tree::Change;
    use nexus_agent::tree::Directory;

    use super::*;

    fn changes(items: Vec<Item>) -> FromSide {
        let change = |(number, item)| Change {
            path: Some(RelPath::parse(format!("n{number}").as_bytes()).unwrap()),
            item: Some(item),
        };
        FromSide::Changes { changes: items.into_iter().enumerate().map(change).collect(), more: false }
    }

    fn file(size: u64) -> Item {
        Item::File(File::new(size, false, Digest([1; 32])))
    }

    #[test]
    fn what_an_honest_agent_says_passes_and_more_does_not() {
        let settings = Settings { entries_max: 4, file_size_max: 100, ..Settings::default() };
        let mut bounds = Bounds::new(&settings);
        assert_eq!(bounds.check(&changes(vec![file(100), file(100), file(100)])), Ok(false));
        let folder = Directory::from_children(vec![(b"x"[..].into(), file(101))]);
        let long = bounds.check(&changes(vec![Item::Directory(folder)]));
        assert_eq!(long, Err(Excess::Long { size: 101, limit: 100 }));
        let parts =
            FromSide::Content { digest: Digest([1; 32]), offset: 0, piece: Piece::Whole(vec![0; 1 << 19]) };
        assert_eq!(bounds.check(&parts), Err(Excess::Content { bytes: 1 << 19 }));
        // What was told often is counted; the tree itself decides.
        let mut bounds = Bounds::new(&settings);
        assert_eq!(bounds.check(&changes(vec![file(1); 8])), Ok(false));
        assert_eq!(bounds.check(&changes(vec![file(1)])), Ok(true));
        assert_eq!(bounds.counted(8), Ok(()));
        assert_eq!(bounds.check(&changes(vec![file(1)])), Ok(true));
        assert_eq!(bounds.counted(9), Err(Excess::Many { entries: 9, limit: 8 }));
    }

    #[test]
    fn sentences_are_short_and_say_nothing_to_a_terminal() {
        let said = FromSide::Unavailable { reason: format!("\u{1b}[2Jgone{}", "!".repeat(1_000_000)) };
        let FromSide::Unavailable { reason } = in_sentences(said) else { panic!() };
        assert!(reason.starts_with("[2Jgone!"));
        assert_eq!(reason.chars().count(), SENTENCE_MAX);
    }
}
