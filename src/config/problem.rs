//! What is wrong with the settings: everything at once, each with its place and what to do.

use std::fmt;

use super::stack::Origin;
use crate::base::fault;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What: ``unknown key `web.lisen` ``.
    pub message: String,
    /// Where.
    pub origin: Origin,
    /// What to do about it.
    pub hint: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.origin)?;
        match &self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

/// The settings cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Invalid {
    /// Everything that is wrong; never empty.
    pub problems: Vec<Problem>,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.problems.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl fault::Explain for Invalid {
    fn kind(&self) -> fault::Kind {
        fault::Kind::Invalid
    }
}

/// The word of `known` that was probably meant.
pub fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let last = |key: &str| key.rsplit('.').next().unwrap_or(key).to_owned();
    let ranked = known.map(|candidate| {
        // The right name in the wrong section is as near as one typing error.
        let distance = if last(candidate) == last(word) { 1 } else { distance(word, candidate) };
        (distance, candidate)
    });
    let (distance, candidate) = ranked.min_by_key(|(distance, _)| *distance)?;
    (distance <= 2.max(word.len() / 4)).then_some(candidate)
}

/// How many letters must be changed, added or dropped to make one word the other.
pub fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.chars().enumerate() {
        let mut corner = std::mem::replace(&mut row[0], i + 1);
        for (j, other) in b.iter().enumerate() {
            let changed = corner + usize::from(letter != *other);
            corner = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(corner + 1);
        }
    }
    row[b.len()]
}
