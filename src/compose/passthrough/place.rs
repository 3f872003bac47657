//! Finds where a key path stands in the text of a compose file.
//!
//! The YAML reader keeps no places, but its errors have one: the text is read again along the path, and what stands at
//! its end is called an error. So every way of writing a mapping is understood, and nothing else is unfolded.

use std::cell::Cell;
use std::fmt;

use serde::de::DeserializeSeed;
use serde::de::IgnoredAny;
use serde::de::MapAccess;
use serde::de::SeqAccess;
use serde::de::Visitor;

/// What was found of a key path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    /// How many bytes of the path stand in the text; the rest is not written out there.
    pub(super) bytes: usize,
    /// 1-based line and column of the last part that does.
    pub(super) place: (usize, usize),
}

/// Where `key` (`services.web.volumes[0]`) stands in `text`, which has been read before: it, or the closest key above.
pub(super) fn find(text: &str, key: &str) -> Option<Found> {
    if key.starts_with("${") {
        return variable(text, key);
    }
    let reached = Cell::new(0);
    let walk = Walk { key, at: 0, stop: None, reached: &reached, end: false };
    walk.deserialize(serde_yaml::Deserializer::from_str(text)).ok()?;
    let bytes = reached.get();
    let walk = Walk { stop: Some(bytes).filter(|bytes| *bytes > 0), ..walk };
    let stopped = walk.deserialize(serde_yaml::Deserializer::from_str(text)).err()?;
    stopped.location().map(|place| Found { bytes, place: (place.line(), place.column()) })
}

/// Where the variable `${NAME}` is first used.
fn variable(text: &str, key: &str) -> Option<Found> {
    let start = key.strip_suffix('}')?;
    let (row, line) = text.lines().enumerate().find(|(_, line)| line.contains(start))?;
    let column = line[..line.find(start)?].chars().count();
    Some(Found { bytes: key.len(), place: (row + 1, column + 1) })
}

/// Reads a value that the first `at` bytes of the path have led to.
#[derive(Clone, Copy)]
struct Walk<'a> {
    key: &'a str,
    at: usize,
    /// Where to stop.
    stop: Option<usize>,
    /// The farthest that was come.
    reached: &'a Cell<usize>,
    /// Whether this value is where to stop.
    end: bool,
}

impl Walk<'_> {
    /// How far the path has come after `part`, if it is the next one.
    fn after(&self, part: &str) -> Option<usize> {
        let rest = self.key.get(self.at..)?.strip_prefix(part)?;
        (!part.is_empty() && (rest.is_empty() || rest.starts_with(['.', '['])))
            .then_some(self.at + part.len())
    }

    fn reach(&self, end: usize) {
        self.reached.set(self.reached.get().max(end));
    }

    fn stops_at(&self, end: usize) -> bool {
        self.stop == Some(end)
    }

    /// The walk through the value behind a part that ended at `end`.
    fn below(self, end: usize) -> Self {
        let dot = usize::from(self.key[end..].starts_with('.'));
        Self { at: end + dot, ..self }
    }

    fn scalar<E: serde::de::Error>(self) -> Result<(), E> {
        if self.end { Err(E::custom("here")) } else { Ok(()) }
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value without a tag")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        self.scalar()
    }

    fn visit_bool<E: serde::de::Error>(self, _: bool) -> Result<(), E> {
        self.scalar()
    }

    fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<(), E> {
        self.scalar()
    }

    fn visit_u64<E: serde::de::Error>(self, _: u64) -> Result<(), E> {
        self.scalar()
    }

    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<(), E> {
        self.scalar()
    }

    fn visit_str<E: serde::de::Error>(self, _: &str) -> Result<(), E> {
        self.scalar()
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<(), A::Error> {
        self.scalar()?;
        for index in 0_usize.. {
            let end = self.after(&format!("[{index}]"));
            let more = match end {
                Some(end) => {
                    let element = Self { end: self.stops_at(end), ..self.below(end) };
                    access.next_element_seed(element)?.map(|()| self.reach(end))
                }
                None => access.next_element::<IgnoredAny>()?.map(drop),
            };
            if more.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<(), A::Error> {
        self.scalar()?;
        while let Some(end) = access.next_key_seed(Key(self))? {
            match end {
                Some(end) => access.next_value_seed(self.below(end))?,
                None => drop(access.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

/// Reads a key of the mapping that a walk has come to: how far the path has come with it.
struct Key<'a>(Walk<'a>);

impl Key<'_> {
    fn is<E: serde::de::Error>(self, part: &str) -> Result<Option<usize>, E> {
        match self.0.after(part) {
            Some(end) if self.0.stops_at(end) => Err(E::custom("here")),
            end => {
                end.into_iter().for_each(|end| self.0.reach(end));
                Ok(end)
            }
        }
    }
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = Option<usize>;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Key<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text or a number")
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Self::Value, E> {
        self.is(&value.to_string())
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Self::Value, E> {
        self.is(&value.to_string())
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Self::Value, E> {
        self.is(&value.to_string())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Self::Value, E> {
        self.is(&format!("{value:?}"))
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Self::Value, E> {
        self.is(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_however_they_are_written() {
        let text = "\
# services: {web: {privileged: true}}
x-base: &base {image: a, pid: host}
services:
  web.1: {image: a}
  web:
    <<: *base
    'privileged': true
    volumes:
      - ./a:/a
      - source: /etc
        target: /e
    ulimits: {nofile: {soft: 1, \"hard\": x}}
    80: b
  db: {image: x,
       labels: ['a=b'], networks: [one, two]}
";
        for (key, found, place) in [
            ("services", "services", (3, 1)),
            ("services.web", "services.web", (5, 3)),
            ("services.web.privileged", "services.web.privileged", (7, 5)),
            ("services.web.volumes[0]", "services.web.volumes[0]", (9, 9)),
            ("services.web.volumes[1]", "services.web.volumes[1]", (10, 9)),
            ("services.web.volumes[1].target", "services.web.volumes[1].target", (11, 9)),
            ("services.web.volumes[0].bind.propagation", "services.web.volumes[0]", (9, 9)),
            ("services.web.volumes[2]", "services.web.volumes", (8, 5)),
            ("services.web.ulimits.nofile.hard", "services.web.ulimits.nofile.hard", (12, 33)),
            ("services.web.80", "services.web.80", (13, 5)),
            ("services.web.1.image", "services.web.1.image", (4, 11)),
            ("services.web.pid", "services.web", (5, 3)),
            ("services.db.labels.a", "services.db.labels", (15, 8)),
            ("services.db.networks[1]", "services.db.networks[1]", (15, 41)),
        ] {
            assert_eq!(find(text, key), Some(Found { bytes: found.len(), place }), "{key}");
        }
        let used = "a: b\nimage: nginx:${TAG:?which}\n";
        assert_eq!(find(used, "${TAG}").map(|found| found.place), Some((2, 14)));
        assert_eq!(find(text, "volumes.x"), None);
        assert_eq!(find(text, ""), None);
    }
}
