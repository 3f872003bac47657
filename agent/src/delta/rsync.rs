//! What is different in a stretch of a file, as rsync finds it. What comes from another side is held against the one form
//! we write before the library sees it: with a block of no bytes it would look for ever.

use std::io;
use std::io::Write;

use fast_rsync::Signature;
use fast_rsync::SignatureOptions;

/// The bytes one hash of a signature speaks of.
const BLOCK: u32 = 2048;
/// The bytes of MD4 in it. What they say is only where to look.
const HASH: u32 = 8;
/// `magic | block | hash`, four bytes each; a block is a weak hash of four bytes and a strong one.
const HEADER: usize = 12;
const MAGIC: u32 = 0x7273_0136;

/// What came is no signature of ours, or no difference that leads where it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("what is said of a difference makes no sense")]
pub struct Malformed;

/// What can be told of a stretch so that somebody else finds what is different in theirs.
pub fn sign(old: &[u8]) -> Vec<u8> {
    let options = SignatureOptions { block_size: BLOCK, crypto_hash_size: HASH };
    Signature::calculate(old, options).into_serialized()
}

/// How long a signature of so many bytes is.
pub fn signature_length(old: usize) -> usize {
    HEADER + old.div_ceil(BLOCK as usize) * (4 + HASH as usize)
}

/// What turns the stretch that was signed into `new`; `None` when that is hardly shorter than `new` itself.
///
/// # Errors
/// When the signature is not of the form that [`sign`] makes.
pub fn diff(signature: &[u8], new: &[u8]) -> Result<Option<Vec<u8>>, Malformed> {
    let word = |at: usize| signature.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes);
    let form = [word(0), word(4), word(8)] == [Some(MAGIC), Some(BLOCK), Some(HASH)];
    if !form || signature.len() > signature_length(crate::delta::SPAN_MAX as usize) {
        return Err(Malformed);
    }
    let signature = Signature::deserialize(signature.to_vec()).map_err(|_| Malformed)?;
    let mut delta = Bounded { bytes: Vec::new(), room: new.len() / 4 * 3 };
    // It ends early only because it got too long.
    Ok(fast_rsync::diff(&signature.index(), new, &mut delta).is_ok().then_some(delta.bytes))
}

/// Makes the `size` bytes that differ by `delta` from the stretch `old`.
///
/// # Errors
/// When they are more, or fewer, or the difference speaks of what is not there.
pub fn patch(old: &[u8], delta: &[u8], size: usize) -> Result<Vec<u8>, Malformed> {
    let mut new = Vec::with_capacity(size);
    fast_rsync::apply_limited(old, delta, &mut new, size).map_err(|_| Malformed)?;
    if new.len() == size { Ok(new) } else { Err(Malformed) }
}

/// Takes no more than there is room for.
struct Bounded {
    bytes: Vec<u8>,
    room: usize,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > self.room {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
