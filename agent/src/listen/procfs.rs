//! Read from `/proc/net/tcp` and `/proc/net/tcp6`.

use std::net::IpAddr;
use std::net::Ipv6Addr;
use std::net::SocketAddr;

/// The kernel's number for a socket that listens.
const LISTEN: &str = "0A";

/// Every socket that listens.
pub(super) fn listening() -> Vec<SocketAddr> {
    let mut found = Vec::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        // A namespace without IPv6 has no second table.
        let text = std::fs::read_to_string(table).unwrap_or_default();
        found.extend(parse(&text));
    }
    found
}

/// Reads one table.
fn parse(text: &str) -> impl Iterator<Item = SocketAddr> {
    text.lines().skip(1).filter_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (local, _, state) = (fields.next()?, fields.next()?, fields.next()?);
        if state != LISTEN {
            return None;
        }
        let (address, port) = local.split_once(':')?;
        let port = u16::from_str_radix(port, 16).ok()?;
        Some(SocketAddr::new(parse_address(address)?, port))
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

    #[test]
    fn listeners_are_read_and_nothing_else() {
        let read = |text| parse(text).map(|socket| socket.to_string()).collect::<Vec<_>>();
        assert_eq!(read(TCP), ["127.0.0.11:41649", "127.0.0.1:3000", "0.0.0.0:8080"]);
        assert_eq!(read(TCP6), ["[::]:5173", "[::1]:4000", "127.0.0.1:4001"]);
        for junk in ["", "head\n", "head\n 0: x:y z 0A\n", "head\n 0: 00000000 00000000:0000 0A\n"] {
            assert_eq!(parse(junk).count(), 0);
        }
    }
}
