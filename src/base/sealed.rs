//! A value that must never be printed: no Debug, no Display, no Serialize shows it.

use std::fmt;

/// Holds a secret. Reading it is a word one can search for.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed<T>(T);

impl<T> Sealed<T> {
    /// Seals a value.
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// The value, for the one who uses it.
    pub fn reveal(&self) -> &T {
        &self.0
    }
}

impl<T> fmt::Debug for Sealed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(sealed)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_shows_what_is_sealed() {
        let sealed = Sealed::new("hunter2".to_owned());
        assert_eq!(format!("{sealed:?} {:?}", Some(&sealed)), "(sealed) Some((sealed))");
        assert_eq!(sealed.reveal(), "hunter2");
    }
}
