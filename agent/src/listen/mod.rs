//! Which TCP ports are listened on in this network namespace.
//!
//! The kernel is asked for the listeners alone. Its tables in `/proc` tell of every socket, and to print one it goes
//! through all of the machine's hash table of connections: milliseconds on a machine with much memory, in every
//! container. They are read where it does not answer.

mod diag;
mod procfs;

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

/// Every listener there is, but for the engine's.
pub fn observe() -> BTreeSet<Listener> {
    let sockets = diag::listening().unwrap_or_else(|_| procfs::listening());
    sockets.into_iter().filter(|socket| socket.ip() != ENGINE_DNS).map(Listener::from).collect()
}

impl From<SocketAddr> for Listener {
    fn from(socket: SocketAddr) -> Self {
        Self { port: socket.port(), address: socket.ip(), loopback: socket.ip().is_loopback() }
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

    fn listener(address: &str, port: u16) -> Listener {
        Listener::from(SocketAddr::new(address.parse().unwrap(), port))
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

    #[tokio::test]
    async fn both_ways_to_ask_the_kernel_agree() {
        let mut sockets = Vec::new();
        for address in ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0", "[::ffff:127.0.0.1]:0"] {
            sockets.push(tokio::net::TcpListener::bind(address).await.unwrap());
        }
        let connection = tokio::net::TcpStream::connect(sockets[0].local_addr().unwrap()).await.unwrap();
        let (asked, read) = (diag::listening().unwrap(), procfs::listening());
        for socket in &sockets {
            let address = socket.local_addr().unwrap();
            let canonical = SocketAddr::new(address.ip().to_canonical(), address.port());
            assert!(asked.contains(&canonical), "{canonical} in {asked:?}");
            assert!(read.contains(&canonical), "{canonical} in {read:?}");
        }
        let connected = connection.local_addr().unwrap();
        assert!(!asked.contains(&connected) && !read.contains(&connected), "it does not listen");
    }
}
