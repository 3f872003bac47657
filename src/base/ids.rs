//! Random names for things that must never be confused with each other.

use std::fmt;

/// Crockford's base 32 in lower case: no `i l o u`, safe in container, volume, network and host names.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// A fresh random string of `length` characters, 5 bits each.
pub fn random(length: usize) -> String {
    let mut bytes = vec![0_u8; length];
    getrandom::fill(&mut bytes).expect("the kernel gives random bytes");
    bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte & 31)])).collect()
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $length:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(String);

        impl $name {
            /// A new random id.
            pub fn random() -> Self {
                Self(random($length))
            }

            /// Takes a string back from a database row or a label; `None` when it is not of this form.
            pub fn parse(text: &str) -> Option<Self> {
                (text.len() == $length && text.bytes().all(|byte| ALPHABET.contains(&byte))).then(|| Self(text.to_owned()))
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id!(
    /// Names one node for ever; every container, network and volume it makes carries it as the label `nexus.node`.
    NodeId,
    10
);
id!(
    /// Names one workspace for ever, whatever its folder is called.
    WorkspaceId,
    10
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_a_round_trip_and_nothing_else_parses() {
        let id = WorkspaceId::random();
        assert_eq!(WorkspaceId::parse(id.as_str()), Some(id));
        for bad in ["", "short", "UPPERCASE0", "with/slash", "aaaaaaaaaaa"] {
            assert_eq!(WorkspaceId::parse(bad), None, "{bad}");
        }
    }
}
