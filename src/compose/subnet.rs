//! Which small subnet a workspace's network gets.
//!
//! The engine's own pools run out at about thirty networks; a /26 of our own range gives a thousand workspaces 61
//! addresses each.

use std::fmt;
use std::net::IpAddr;
use std::net::Ipv4Addr;

use crate::base::fault;

/// A range of IPv4 addresses in CIDR form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subnet {
    base: u32,
    prefix: u8,
}

/// The size of a workspace's network.
const PREFIX: u8 = 26;

/// Where to look when the configured range has no room or collides with the host's own network.
const FALLBACK: [&str; 2] = ["172.30.0.0/16", "172.29.0.0/16"];

impl Subnet {
    /// Takes `a.b.c.d/n`; bits after the prefix are dropped. `None` for anything else, IPv6 included.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/')?;
        let prefix: u8 = prefix.parse().ok().filter(|prefix| *prefix <= 32)?;
        let address: Ipv4Addr = address.parse().ok()?;
        Some(Self { base: u32::from(address) & Self::mask(prefix), prefix })
    }

    /// Whether any address is in both.
    pub fn overlaps(self, other: Self) -> bool {
        let mask = Self::mask(self.prefix.min(other.prefix));
        self.base & mask == other.base & mask
    }

    /// Whether an address is in it. An IPv4 address that came in over an IPv6 socket counts as IPv4.
    pub fn contains(self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(address) => u32::from(address) & Self::mask(self.prefix) == self.base,
            IpAddr::V6(_) => false,
        }
    }

    /// The first address a host can have; the engine gives it to the gateway.
    pub fn gateway(self) -> Ipv4Addr {
        Ipv4Addr::from(self.base + 1)
    }

    /// `count` equal parts of it, of at least `size` addresses each; none when there is not that much room.
    pub fn split(self, count: usize, size: usize) -> Vec<Self> {
        let bits = count.next_power_of_two().trailing_zeros();
        let prefix = u32::from(self.prefix) + bits;
        if prefix > 30 || 1_usize << (32 - prefix) < size {
            return Vec::new();
        }
        let step = 1_u32 << (32 - prefix);
        let part = |at: usize| {
            Some(Self {
                base: self.base + u32::try_from(at).ok()? * step,
                prefix: u8::try_from(prefix).ok()?,
            })
        };
        (0..count).filter_map(part).collect()
    }

    fn mask(prefix: u8) -> u32 {
        u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
    }

    /// How many addresses it has.
    fn size(self) -> u64 {
        1_u64 << (32 - u32::from(self.prefix))
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from(self.base), self.prefix)
    }
}

/// Every range workspaces' networks may come from: `range`, and the fallbacks of [`choose`].
pub fn ranges(range: Subnet) -> Vec<Subnet> {
    std::iter::once(range).chain(FALLBACK.iter().filter_map(|text| Subnet::parse(text))).collect()
}

/// No subnet is left.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no free /26 is left in {range} nor in the fallback ranges")]
pub struct Exhausted {
    /// The configured range.
    pub range: Subnet,
}

impl fault::Explain for Exhausted {
    fn kind(&self) -> fault::Kind {
        fault::Kind::Unavailable
    }

    fn hint(&self) -> Option<String> {
        Some("remove workspaces that are no longer needed, or configure another `network.range`".to_owned())
    }
}

/// The first /26 of `range`, else of the fallback ranges, that overlaps nothing in `used`.
///
/// `used` is the subnets of the engine's networks and the host's routes; IPv6 and the default route are skipped. Two
/// callers with the same `used` get the same answer: choose and create under one lock.
///
/// # Errors
/// When everything is taken.
pub fn choose(range: Subnet, used: &[String]) -> Result<Subnet, Exhausted> {
    let used: Vec<Subnet> =
        used.iter().filter_map(|text| Subnet::parse(text)).filter(|subnet| subnet.prefix > 0).collect();
    ranges(range).into_iter().find_map(|range| first_free(range, &used)).ok_or(Exhausted { range })
}

fn first_free(range: Subnet, used: &[Subnet]) -> Option<Subnet> {
    let end = u64::from(range.base) + range.size();
    let mut base = u64::from(range.base);
    let step = 1_u64 << (32 - u32::from(PREFIX));
    while base + step <= end {
        let candidate = Subnet { base: u32::try_from(base).ok()?, prefix: PREFIX };
        match used.iter().filter(|other| other.overlaps(candidate)).max_by_key(|other| other.size()) {
            None => return Some(candidate),
            // Behind the whole obstacle: a used /8 costs one step, not a quarter of a million.
            Some(obstacle) => {
                base = (u64::from(obstacle.base) + obstacle.size()).max(base + step).next_multiple_of(step)
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn subnet(text: &str) -> Subnet {
        Subnet::parse(text).unwrap()
    }

    #[test]
    fn cidr_text_round_trips_and_nonsense_is_none() {
        assert_eq!(subnet("10.213.7.9/16").to_string(), "10.213.0.0/16");
        assert_eq!(subnet("10.213.0.64/26").gateway().to_string(), "10.213.0.65");
        for bad in ["", "10.0.0.0", "10.0.0.0/33", "fd00::/64", "10.0.0/8", "10.0.0.0/-1", "010.0.0.0/8"] {
            assert_eq!(Subnet::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_address_is_in_its_range_whatever_socket_it_came_by() {
        let range = subnet("172.30.0.0/16");
        let holds = |range: Subnet, address: &str| range.contains(address.parse().unwrap());
        assert!(holds(range, "172.30.4.9") && holds(range, "::ffff:172.30.4.9"));
        assert!(!holds(range, "172.31.0.1") && !holds(range, "fd00::1"));
        assert!(holds(subnet("0.0.0.0/0"), "192.0.2.1") && !holds(subnet("10.1.2.3/32"), "10.1.2.2"));
    }

    #[test]
    fn parts_are_equal_and_large_enough_or_there_are_none() {
        let parts = |count, size| {
            subnet("10.0.0.64/26").split(count, size).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(parts(1, 60), ["10.0.0.64/26"]);
        assert_eq!(parts(3, 10), ["10.0.0.64/28", "10.0.0.80/28", "10.0.0.96/28"]);
        assert_eq!(parts(4, 17), [""; 0]);
        assert_eq!(parts(0, 5), [""; 0]);
        assert_eq!(parts(1000, 1), [""; 0]);
    }

    #[test]
    fn the_first_gap_is_taken_then_the_fallback() {
        let range = subnet("10.213.0.0/24");
        let used = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let pick = |texts: &[&str]| choose(range, &used(texts)).map(|subnet| subnet.to_string());
        assert_eq!(pick(&[]).unwrap(), "10.213.0.0/26");
        assert_eq!(
            pick(&["10.213.0.0/26", "10.213.0.128/26", "fd00::/64", "0.0.0.0/0"]).unwrap(),
            "10.213.0.64/26"
        );
        assert_eq!(pick(&["10.0.0.0/8"]).unwrap(), "172.30.0.0/26");
        assert_eq!(pick(&["10.0.0.0/8", "172.30.0.0/16"]).unwrap(), "172.29.0.0/26");
        assert!(pick(&["10.0.0.0/8", "172.16.0.0/12"]).is_err());
        assert_eq!(
            choose(subnet("255.255.255.0/24"), &used(&["255.255.255.0/24"])).unwrap().to_string(),
            "172.30.0.0/26"
        );
        assert_eq!(choose(subnet("10.1.2.0/27"), &[]).unwrap().to_string(), "172.30.0.0/26");
    }

    proptest! {
        #[test]
        fn a_chosen_subnet_overlaps_nothing_and_lies_in_a_range(
            base in any::<u32>(), prefix in 8_u8..=26, used in prop::collection::vec((any::<u32>(), 1_u8..=32), 0..40),
            near in prop::collection::vec((0_u32..4096, 20_u8..=30), 0..40),
        ) {
            let range = Subnet { base: base & Subnet::mask(prefix), prefix };
            let mut texts: Vec<String> = used.iter().map(|(base, prefix)| format!("{}/{prefix}", Ipv4Addr::from(*base))).collect();
            texts.extend(near.iter().map(|(offset, prefix)| format!("{}/{prefix}", Ipv4Addr::from(range.base.wrapping_add(offset * 16)))));
            if let Ok(chosen) = choose(range, &texts) {
                prop_assert_eq!(chosen.prefix, PREFIX);
                for text in &texts {
                    prop_assert!(!chosen.overlaps(subnet(text)), "{} overlaps {}", chosen, text);
                }
                prop_assert!(std::iter::once(range).chain(FALLBACK.map(subnet)).any(|range| range.overlaps(chosen)));
            }
        }
    }
}
