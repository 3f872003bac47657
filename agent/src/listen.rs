//! Which TCP ports are listened on in this network namespace, read from `/proc/net/tcp` and `/proc/net/tcp6`.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;

use crate::report::Listener;

/// The engine's own name server, in every container on a network of its own.
const ENGINE_DNS: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 11));
/// The kernel's number for a socket that listens.
const LISTEN: &str = "0A";

/// Every listener there is, but for the engine's.
pub fn observe() -> BTreeSet<Listener> {
    let mut found = BTreeSet::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        // A namespace without IPv6 has no second table.
        let text = std::fs::read_to_string(table).unwrap_or_default();
        found.extend(parse(&text));
    }
    found
}

/// Reads one table.
pub fn parse(text: &str) -> impl Iterator<Item = Listener> {
    text.lines().skip(1).filter_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (local, _, state) = (fields.next()?, fields.next()?, fields.next()?);
        if state != LISTEN {
            return None;
        }
        let (address, port) = local.split_once(':')?;
        let address = parse_address(address)?;
        let port = u16::from_str_radix(port, 16).ok()?;
        (address != ENGINE_DNS).then(|| Listener { port, address, loopback: address.is_loopback() })
    })
}

/// The kernel prints 32-bit words in the machine's own byte order.
fn parse_address(text: &str) -> Option<IpAddr> {
    let word = |at: usize| u32::from_str_radix(text.get(at..at + 8)?, 16).ok().map(u32::to_ne_bytes);
    match text.len() {
        8 => Some(IpAddr::V4(word(0)?.into())),
        32 => {
            let mut bytes = [0; 16];
            for part in 0..4 {
                bytes[part * 4..part * 4 + 4].copy_from_slice(&word(part * 8)?);
            }
            Some(Ipv6Addr::from(bytes).to_canonical())
        }
        _ => None,
    }
}

/// The IPv4 addresses of this namespace that others reach, from `/proc/net/fib_trie`.
pub fn own_addresses() -> BTreeSet<Ipv4Addr> {
    parse_own(&std::fs::read_to_string("/proc/net/fib_trie").unwrap_or_default())
}

fn parse_own(text: &str) -> BTreeSet<Ipv4Addr> {
    let mut last = None;
    let mut found = BTreeSet::new();
    for line in text.lines() {
        let line = line.trim();
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address.parse::<Ipv4Addr>().ok();
        } else if line == "/32 host LOCAL" {
            found.extend(last.filter(|address| !address.is_loopback()));
        }
    }
    found
}

/// The ports in the order they are tried: the one that was asked for, the one expected, then the lowest.
pub fn candidates(listeners: &BTreeSet<Listener>, asked: u16, hint: Option<u16>) -> Vec<Listener> {
    let rank = |listener: &Listener| {
        let wish = match listener.port {
            port if port == asked => 0,
            port if Some(port) == hint => 1,
            _ => 2,
        };
        (wish, listener.port, listener.loopback)
    };
    let mut sorted: Vec<_> = listeners.iter().copied().collect();
    sorted.sort_by_key(rank);
    sorted
}

/// Where to connect to reach a listener from inside.
pub fn dial_address(listener: &Listener) -> SocketAddr {
    let address = match listener.address {
        IpAddr::V4(address) if address.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(address) if address.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        address => address,
    };
    SocketAddr::new(address, listener.port)
}

/// Whether a listener accepts a connection.
pub async fn accepts(listener: &Listener) -> bool {
    let connect = TcpStream::connect(dial_address(listener));
    matches!(tokio::time::timeout(Duration::from_secs(1), connect).await, Ok(Ok(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TCP: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0B00007F:A2B1 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 100 1 0
   1: 0100007F:0BB8 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 101 1 0
   2: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 102 1 0
   3: 020012AC:1F90 010012AC:D2A4 01 00000000:00000000 00:00000000 00000000  1000        0 103 1 0
";
    const TCP6: &str = "\
  sl  local_address                         remote_address                        st
   0: 00000000000000000000000000000000:1435 00000000000000000000000000000000:0000 0A 0 0
   1: 00000000000000000000000001000000:0FA0 00000000000000000000000000000000:0000 0A 0 0
   2: 0000000000000000FFFF00000100007F:0FA1 00000000000000000000000000000000:0000 0A 0 0
";

    fn listener(address: &str, port: u16) -> Listener {
        let address: IpAddr = address.parse().unwrap();
        Listener { port, address, loopback: address.is_loopback() }
    }

    #[test]
    fn listeners_are_read_and_the_engines_own_left_out() {
        let found: Vec<_> = parse(TCP).collect();
        assert_eq!(found, [listener("127.0.0.1", 3000), listener("0.0.0.0", 8080)]);
        let found: Vec<_> = parse(TCP6).collect();
        assert_eq!(found, [listener("::", 5173), listener("::1", 4000), listener("127.0.0.1", 4001)]);
        for junk in ["", "head\n", "head\n 0: x:y z 0A\n", "head\n 0: 00000000 00000000:0000 0A\n"] {
            assert_eq!(parse(junk).count(), 0);
        }
    }

    #[test]
    fn the_port_asked_for_comes_first_then_the_hint_then_the_lowest() {
        let found: BTreeSet<_> =
            [("0.0.0.0", 9229), ("127.0.0.1", 9000), ("0.0.0.0", 5000)].map(|(a, p)| listener(a, p)).into();
        let ports = |asked, hint| -> Vec<u16> {
            candidates(&found, asked, hint).iter().map(|listener| listener.port).collect()
        };
        assert_eq!(ports(3000, None), [5000, 9000, 9229]);
        assert_eq!(ports(3000, Some(9000)), [9000, 5000, 9229]);
        assert_eq!(ports(9229, Some(9000)), [9229, 9000, 5000]);
    }

    #[test]
    fn own_addresses_are_the_local_ones_others_reach() {
        let text = "\
Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 127.0.0.0/8 2 0 2
           |-- 127.0.0.1
              /32 host LOCAL
     +-- 172.18.0.0/16 2 0 2
           |-- 172.18.0.0
              /16 link UNICAST
           |-- 172.18.0.2
              /32 host LOCAL
           |-- 172.18.255.255
              /32 link BROADCAST
";
        assert_eq!(parse_own(text).into_iter().collect::<Vec<_>>(), [Ipv4Addr::new(172, 18, 0, 2)]);
    }

    #[tokio::test]
    async fn a_listener_of_our_own_is_seen_and_accepts() {
        let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = socket.local_addr().unwrap().port();
        let found = observe().into_iter().find(|listener| listener.port == port).unwrap();
        assert!(found.loopback);
        assert!(accepts(&found).await);
    }
}
