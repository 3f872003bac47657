//! Chance that can be played again.

/// A small generator (xorshift64*, Vigna 2016) whose seed a failure shows: `NEXUS_SEED` plays it again.
pub struct Chance(u64);

impl Chance {
    pub fn new() -> Self {
        #[expect(clippy::disallowed_methods, reason = "a test's main is not ours")]
        let seed = std::env::var("NEXUS_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed: u64 = seed.unwrap_or_else(|| u64::from(std::process::id()) ^ clock());
        eprintln!("NEXUS_SEED={seed}");
        Self(seed.max(1))
    }

    /// From `low` on and below `high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        low + self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % (high - low)
    }
}

fn clock() -> u64 {
    nexus::base::clock::now().as_microsecond().unsigned_abs()
}
