//! Which API version to speak: the newest both sides know, or a refusal that names both.

use crate::engine::Error;

/// A version as `major.minor`.
type Version = (u16, u16);

/// The oldest API this node can work with: Docker 20.10, as Debian 12 has it.
const OLDEST: Version = (1, 41);
/// The newest API this node has been written against.
const NEWEST: Version = (1, 53);

/// The version to speak with an engine that offers `theirs_min` to `theirs_max`.
pub fn agree(theirs_min: &str, theirs_max: &str) -> Result<Version, Error> {
    let Some(max) = parse(theirs_max) else {
        return Err(Error::Garbled { message: format!("`{theirs_max}` is not an API version") });
    };
    let min = parse(theirs_min).unwrap_or((1, 0));
    if max < OLDEST {
        return Err(Error::TooOld { theirs: theirs_max.to_owned(), ours: show(OLDEST) });
    }
    if min > NEWEST {
        return Err(Error::TooNew { theirs: theirs_min.to_owned(), ours: show(NEWEST) });
    }
    Ok(max.min(NEWEST))
}

fn parse(text: &str) -> Option<Version> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn show((major, minor): Version) -> String {
    format!("{major}.{minor}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(min: &str, max: &str) -> String {
        match agree(min, max) {
            Ok(version) => show(version),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn the_newest_version_both_know_is_spoken_or_both_are_named() {
        assert_eq!(check("1.12", "1.41"), "1.41");
        assert_eq!(check("1.24", "1.45"), "1.45");
        assert_eq!(check("1.44", "1.52"), "1.52");
        assert_eq!(check("1.44", "1.60"), "1.53");
        assert_eq!(check("", "1.45"), "1.45");
        assert_eq!(
            check("1.12", "1.40"),
            "the engine speaks API 1.40 at most, this node needs 1.41 or newer"
        );
        assert_eq!(
            check("1.99", "1.120"),
            "the engine speaks API 1.99 at least, this node knows 1.53 at most"
        );
        assert_eq!(
            check("", "nonsense"),
            "the engine's answer cannot be read: `nonsense` is not an API version"
        );
    }
}
