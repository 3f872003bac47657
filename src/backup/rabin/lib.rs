//! Rabin fingerprints over a sliding window: where rustic cuts large files into chunks.
//!
//! Stands for the crate `rustic_cdc`, of which it has what rustic uses. rustic makes a fingerprint's tables anew for each
//! file, also for one too small to be cut. The crate works each of the 512 entries out by long division, 64 of them for
//! half of the entries, which takes a quarter of a millisecond: for a folder of small files more than reading, compressing
//! and encrypting them. Entries are sums of those of single bits, so here eight are worked out and the others added up.
//! The values are the same, and so are the places where files are cut.

/// A polynomial over the field of two elements: each bit is a coefficient.
pub type Polynom64 = u64;

/// What division needs of polynomials.
pub trait Polynom {
    /// The highest power in it; -1 when there is none.
    fn degree(&self) -> i32;

    /// What is left when it is divided.
    #[must_use]
    fn modulo(&self, divisor: &Self) -> Self;
}

impl Polynom for Polynom64 {
    fn degree(&self) -> i32 {
        63 - self.leading_zeros().cast_signed()
    }

    fn modulo(&self, divisor: &Self) -> Self {
        let mut left = *self;
        while left.degree() >= divisor.degree() {
            left ^= divisor << (left.degree() - divisor.degree());
        }
        left
    }
}

/// A fingerprint that moves along.
pub trait RollingHash64 {
    /// Begins anew, with all but one byte of a window; returns how many there were.
    fn reset_and_prefill_window<I: Iterator<Item = u8>>(&mut self, bytes: &mut I) -> usize;

    /// Takes in one byte and lets go of the one that was taken in a window ago.
    fn slide(&mut self, byte: u8);
}

/// The fingerprint of the bytes in a window.
#[derive(Debug, Clone)]
pub struct Rabin64 {
    /// What a byte has come to when it leaves the window.
    leaving: [Polynom64; 256],
    /// What makes up for the bits that a shift pushes above the degree.
    above: [Polynom64; 256],
    shift: u32,
    window: Vec<u8>,
    next: usize,
    /// The fingerprint.
    pub hash: Polynom64,
}

impl Rabin64 {
    /// Over a window of two to the power of `window_bits` bytes, modulo an irreducible polynomial.
    #[must_use]
    pub fn new_with_polynom(window_bits: u32, divisor: &Polynom64) -> Self {
        let window = vec![0; 1 << window_bits];
        let first = (1..window.len()).fold(1_u64.modulo(divisor), |power, _| (power << 8).modulo(divisor));
        let degree = divisor.degree().unsigned_abs();
        let over = |bit: u32| 1_u64 << (degree + bit);
        Self {
            leaving: sums(std::array::from_fn(|bit| (first << bit).modulo(divisor))),
            above: sums([0, 1, 2, 3, 4, 5, 6, 7].map(|bit| over(bit) | over(bit).modulo(divisor))),
            shift: degree - 8,
            window,
            next: 0,
            hash: 0,
        }
    }

    fn take(&mut self, byte: u8) {
        let pushed = usize::from((self.hash >> self.shift).to_le_bytes()[0]);
        self.hash = ((self.hash << 8) | Polynom64::from(byte)) ^ self.above[pushed];
    }

    fn remember(&mut self, byte: u8) {
        self.window[self.next] = byte;
        self.next = (self.next + 1) % self.window.len();
    }
}

/// The sums of all choices of eight.
fn sums(bits: [Polynom64; 8]) -> [Polynom64; 256] {
    let mut all = [0; 256];
    for (bit, value) in bits.into_iter().enumerate() {
        let (known, new) = all.split_at_mut(1 << bit);
        for (new, known) in new.iter_mut().zip(known) {
            *new = *known ^ value;
        }
    }
    all
}

impl RollingHash64 for Rabin64 {
    fn reset_and_prefill_window<I: Iterator<Item = u8>>(&mut self, bytes: &mut I) -> usize {
        self.hash = 0;
        let mut taken = 0;
        for byte in bytes.take(self.window.len() - 1) {
            self.take(byte);
            self.remember(byte);
            taken += 1;
        }
        // The one that leaves next has not been taken in.
        self.window[self.next] = 0;
        taken
    }

    #[inline]
    fn slide(&mut self, byte: u8) {
        self.hash ^= self.leaving[usize::from(self.window[self.next])];
        self.take(byte);
        self.remember(byte);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DIVISOR: Polynom64 = 0x003D_A335_8B4D_C173;
    const WINDOW: usize = 64;

    /// As it is defined: the bytes as one long polynomial, divided.
    fn divided(bytes: &[u8]) -> Polynom64 {
        bytes.iter().fold(0, |left, byte| ((left << 8) | Polynom64::from(*byte)).modulo(&DIVISOR))
    }

    #[test]
    fn a_table_is_what_division_says() {
        let rabin = Rabin64::new_with_polynom(6, &DIVISOR);
        for byte in 0..=255_u8 {
            let mut leaving = [0; WINDOW];
            leaving[0] = byte;
            assert_eq!(rabin.leaving[usize::from(byte)], divided(&leaving), "{byte}");
            let pushed = Polynom64::from(byte) << DIVISOR.degree();
            assert_eq!(rabin.above[usize::from(byte)], pushed | pushed.modulo(&DIVISOR), "{byte}");
        }
        assert_eq!((0_u64.degree(), 1_u64.degree(), 0x80_u64.degree()), (-1, 0, 7));
        assert_eq!((7_u64.modulo(&3), 19_u64.modulo(&8)), (1, 3));
    }

    proptest! {
        #[test]
        fn the_fingerprint_is_that_of_the_last_window(bytes in prop::collection::vec(any::<u8>(), 64..400)) {
            let mut rabin = Rabin64::new_with_polynom(6, &DIVISOR);
            for _ in 0..2 {
                prop_assert_eq!(rabin.reset_and_prefill_window(&mut bytes[..WINDOW].iter().copied()), 63);
                prop_assert_eq!(rabin.hash, divided(&bytes[..63]));
                for end in 64..=bytes.len() {
                    rabin.slide(bytes[end - 1]);
                    prop_assert_eq!(rabin.hash, divided(&bytes[end - WINDOW..end]));
                }
            }
        }
    }
}
