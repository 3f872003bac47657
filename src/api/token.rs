//! What a token looks like: `nxs_` + id (10) + secret (52) + checksum (6), in base 32 without look-alikes.
//!
//! The prefix and the checksum let scanners find a leaked token and let us refuse a mistyped one without asking the
//! database. The id is public and selects the row; only the SHA-256 of the whole is kept, and compared in constant time.

use sha2::Digest as _;
use sha2::Sha256;

use crate::base::ids;
use crate::store::token::Digest;

const PREFIX: &str = "nxs_";
const ID: usize = 10;
/// 52 characters of 5 bits: 260 bits.
const SECRET: usize = 52;
const CHECKSUM: usize = 6;

/// A token or claim code as text. Has no Debug, so that it cannot be logged by accident.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// A new token.
    pub fn token() -> Self {
        let body = format!("{PREFIX}{}{}", ids::random(ID), ids::random(SECRET));
        let checksum = checksum(&body);
        Self(body + &checksum)
    }

    /// A new claim code.
    pub fn code() -> Self {
        Self(ids::random(SECRET))
    }

    /// Takes a token; `None` when it is mistyped or none at all.
    pub fn parse_token(text: &str) -> Option<Self> {
        let right_form = text.len() == PREFIX.len() + ID + SECRET + CHECKSUM
            && text.starts_with(PREFIX)
            && text.bytes().skip(PREFIX.len()).all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        let (body, sum) = right_form.then(|| text.split_at(text.len() - CHECKSUM))?;
        (checksum(body) == sum).then(|| Self(text.to_owned()))
    }

    /// Takes a claim code; `None` when it cannot be one.
    pub fn parse_code(text: &str) -> Option<Self> {
        let right_form = text.len() == SECRET
            && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        right_form.then(|| Self(text.to_owned()))
    }

    /// A token's public half.
    pub fn id(&self) -> &str {
        &self.0[PREFIX.len()..PREFIX.len() + ID]
    }

    /// What is kept of it.
    pub fn digest(&self) -> Digest {
        Sha256::digest(self.0.as_bytes()).into()
    }

    /// The text itself: to show once.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

/// Compares two digests in a time that does not tell where they differ.
pub fn same(left: &Digest, right: &Digest) -> bool {
    constant_time_eq::constant_time_eq_32(left, right)
}

/// 30 bits of SHA-256, in the same alphabet as the rest.
fn checksum(body: &str) -> String {
    const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    let digest = Sha256::digest(body.as_bytes());
    digest.iter().take(CHECKSUM).map(|byte| char::from(ALPHABET[usize::from(byte & 31)])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_taken_back_and_every_typo_is_not() {
        let token = Secret::token();
        let text = token.reveal().to_owned();
        assert!(Secret::parse_token(&text).is_some_and(|back| back == token && back.id().len() == ID));
        for at in 0..text.len() {
            let mut typo = text.clone().into_bytes();
            typo[at] = if typo[at] == b'x' { b'y' } else { b'x' };
            let typo = String::from_utf8(typo).unwrap();
            assert!(Secret::parse_token(&typo).is_none(), "{at}");
        }
        for bad in [
            "",
            "nxs_",
            &text[1..],
            &format!("{text}0"),
            &text.to_uppercase(),
            &"n".repeat(1 << 20),
            "nxs_\0",
        ] {
            assert!(Secret::parse_token(bad).is_none());
        }
    }

    #[test]
    fn a_multi_byte_text_of_the_right_length_is_refused() {
        let length = Secret::token().reveal().len();
        let text = format!("nxs_{}", "\u{e9}".repeat((length - 4) / 2));
        assert!(text.len() == length && Secret::parse_token(&text).is_none());
        assert!(Secret::parse_code(&"\u{e9}".repeat(SECRET / 2)).is_none());
    }
}
