//! Counts wrong tokens per address: bounded in work, in log lines and in memory.
//!
//! A right token is served whatever its address did before: 260 bits keep guessing out, and blocking an address would
//! let one neighbour behind the same router lock everybody else out.

use std::collections::HashMap;
use std::net::IpAddr;
use std::net::Ipv6Addr;
use std::time::Duration;
use std::time::Instant;

/// Wrong tokens one address may send in a window.
const FAILURES_MAX: u32 = 10;
const WINDOW: Duration = Duration::from_secs(60);
/// Addresses remembered: about 200 KiB. When full, the oldest half is forgotten.
const ADDRESSES_MAX: usize = 4096;

/// What became of one more failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Within the limit.
    Counted,
    /// The first one over it: worth a line in the log.
    Tripped(Duration),
    /// Over it; how long until the window ends.
    Limited(Duration),
}

/// Failures by address.
#[derive(Debug, Default)]
pub struct Failures {
    windows: HashMap<IpAddr, Window>,
}

#[derive(Debug, Clone, Copy)]
struct Window {
    started: Instant,
    count: u32,
}

impl Failures {
    /// Counts one more failure of `address`.
    pub fn count(&mut self, address: IpAddr, now: Instant) -> Verdict {
        let address = group(address);
        if self.windows.len() >= ADDRESSES_MAX && !self.windows.contains_key(&address) {
            self.forget(now);
        }
        let window = self.windows.entry(address).or_insert(Window { started: now, count: 0 });
        if now.duration_since(window.started) >= WINDOW {
            *window = Window { started: now, count: 0 };
        }
        window.count = window.count.saturating_add(1);
        let left = WINDOW - now.duration_since(window.started);
        match window.count {
            0..=FAILURES_MAX => Verdict::Counted,
            count if count == FAILURES_MAX + 1 => Verdict::Tripped(left),
            _ => Verdict::Limited(left),
        }
    }

    fn forget(&mut self, now: Instant) {
        self.windows.retain(|_, window| now.duration_since(window.started) < WINDOW);
        if self.windows.len() >= ADDRESSES_MAX {
            let mut starts: Vec<Instant> = self.windows.values().map(|window| window.started).collect();
            let middle = starts.len() / 2;
            let (_, median, _) = starts.select_nth_unstable(middle);
            let median = *median;
            self.windows.retain(|_, window| window.started > median);
        }
    }
}

/// One subscriber of IPv6 has a whole /64, so that is what is counted.
fn group(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_a_minute_and_then_no_more_until_the_minute_is_over() {
        let start = Instant::now();
        let mut failures = Failures::default();
        let address: IpAddr = "192.0.2.1".parse().unwrap();
        for _ in 0..10 {
            assert_eq!(failures.count(address, start), Verdict::Counted);
        }
        let later = start + Duration::from_secs(20);
        assert_eq!(failures.count(address, later), Verdict::Tripped(Duration::from_secs(40)));
        assert_eq!(failures.count(address, later), Verdict::Limited(Duration::from_secs(40)));
        assert_eq!(failures.count("192.0.2.2".parse().unwrap(), later), Verdict::Counted);
        assert_eq!(failures.count(address, start + Duration::from_secs(61)), Verdict::Counted);
    }

    #[test]
    fn memory_is_bounded_whatever_the_number_of_addresses() {
        let start = Instant::now();
        let mut failures = Failures::default();
        for i in 0..100_000_u32 {
            failures.count(IpAddr::V4(i.into()), start + Duration::from_micros(u64::from(i)));
            assert!(failures.windows.len() <= ADDRESSES_MAX);
        }
    }

    #[test]
    fn one_ipv6_subscriber_is_one_address() {
        let mut failures = Failures::default();
        let now = Instant::now();
        for i in 0..11_u128 {
            failures.count(IpAddr::V6(Ipv6Addr::from_bits((0x2001_0db8_u128 << 96) + i)), now);
        }
        assert_eq!(failures.windows.len(), 1);
    }
}
