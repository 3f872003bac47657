//! One component of a path.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::Hash;
use std::hash::Hasher;
use std::ops::Deref;
use std::sync::Arc;

/// A name this long is held in place. Most are shorter: a folder of a hundred thousand files costs no allocation for
/// them, and no look elsewhere to compare two.
const SHORT: usize = 22;

/// One component of a path: bytes, since Linux allows any. Cheap to copy, whatever its length.
#[derive(Clone)]
pub struct Name(Form);

#[derive(Clone)]
enum Form {
    Short { length: u8, bytes: [u8; SHORT] },
    Long(Arc<[u8]>),
}

impl Deref for Name {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Form::Short { length, bytes } => &bytes[..usize::from(*length)],
            Form::Long(bytes) => bytes,
        }
    }
}

impl From<&[u8]> for Name {
    fn from(name: &[u8]) -> Self {
        let mut bytes = [0; SHORT];
        match (bytes.get_mut(..name.len()), u8::try_from(name.len())) {
            (Some(place), Ok(length)) => {
                place.copy_from_slice(name);
                Self(Form::Short { length, bytes })
            }
            _ => Self(Form::Long(name.into())),
        }
    }
}

impl From<Vec<u8>> for Name {
    fn from(name: Vec<u8>) -> Self {
        Self::from(name.as_slice())
    }
}

impl Borrow<[u8]> for Name {
    fn borrow(&self) -> &[u8] {
        self
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Name {}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Name {
    fn cmp(&self, other: &Self) -> Ordering {
        (**self).cmp(&**other)
    }
}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_any_length_is_what_was_given_and_orders_like_its_bytes() {
        let names: Vec<_> = (0..=60).map(|length| vec![b'a' + (length % 3) as u8; length]).collect();
        for one in &names {
            assert_eq!(*Name::from(one.as_slice()), **one);
            for other in &names {
                let (short, long) = (Name::from(one.clone()), Name::from(other.as_slice()));
                assert_eq!(short.cmp(&long), one.cmp(other));
                assert_eq!(short == long, one == other);
            }
        }
        assert_eq!(size_of::<Name>(), 24);
    }
}
