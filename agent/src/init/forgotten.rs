//! Notices that the engine has forgotten this container while it still runs.
//!
//! An engine that is killed between starting a container and noting that it runs counts it as ended when it is back.
//! What runs goes on unseen: beside the container's next life, on the same volumes, even after the container was
//! removed. And each fresh start makes the engine end the one before and take that end for the new one's, so that it
//! restarts for ever (moby#48912). Nothing can reach a forgotten init, but it can see what it is: the engine takes a
//! container's network away once it counts it as ended, and never before. So an init that had a network and has none
//! ends, and the engine's next start finds nothing in its way.

use std::fs::File;
use std::io::Read as _;
use std::time::Duration;

use tokio::time::Instant;

/// How often it is looked at: reading one short file.
const PERIOD: Duration = Duration::from_millis(500);
/// How long there may be no network. Less than the pause the engine has come to after a few restarts, for it is only
/// in a pause that the network is away; long enough for a change of networks.
const PATIENCE: Duration = Duration::from_secs(1);

/// What was seen so far.
#[derive(Debug, Default)]
struct Network {
    had: bool,
    away_since: Option<Instant>,
}

impl Network {
    /// Takes in whether there is a network; tells whether it has been taken away. Without one from the beginning, there
    /// is none to miss.
    fn observe(&mut self, connected: bool, now: Instant) -> bool {
        self.had |= connected;
        if connected || !self.had {
            self.away_since = None;
            return false;
        }
        now.duration_since(*self.away_since.get_or_insert(now)) >= PATIENCE
    }
}

/// Resolves once the network that was there has been taken away. Never where we are not the first process: that
/// network is somebody else's.
pub async fn forgotten() {
    if !rustix::process::getpid().is_init() {
        std::future::pending::<()>().await;
    }
    let mut network = Network::default();
    loop {
        // What cannot be read is not known to be away.
        let connected = read().map_or(true, |table| is_connected(&table));
        if network.observe(connected, Instant::now()) {
            return;
        }
        tokio::time::sleep(PERIOD).await;
    }
}

/// The kernel's table of interfaces, in one piece where it is as short as it usually is.
fn read() -> std::io::Result<String> {
    let mut table = String::with_capacity(4096);
    File::open("/proc/net/dev")?.read_to_string(&mut table)?;
    Ok(table)
}

/// Whether an interface other than the loopback has ever carried a byte: the kernel puts tunnels that nobody uses into
/// every namespace.
fn is_connected(table: &str) -> bool {
    table.lines().filter_map(|line| line.split_once(':')).any(|(name, counters)| {
        let mut counters = counters.split_ascii_whitespace();
        // Bytes received, seven more of that side, bytes sent.
        let carried = [counters.next(), counters.nth(7)];
        name.trim() != "lo" && carried.into_iter().flatten().any(|bytes| bytes != "0")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "Inter-|   Receive                                                |  Transmit\n face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n";

    #[test]
    fn an_interface_counts_once_it_has_carried_something() {
        let connected = |rows: &str| is_connected(&format!("{HEAD}{rows}"));
        let lo = "    lo:     736       8    0    0    0     0          0         0      736       8    0    0    0     0       0          0\n";
        let tunnel = " tunl0:       0       0    0    0    0     0          0         0        0       0    0    0    0     0       0          0\n";
        let sent = "  eth0:       0       0    0    0    0     0          0         0       42       1    0    0    0     0       0          0\n";
        let received = "  eth0:      42       1    0    0    0     0          0         0        0       0    0    0    0     0       0          0\n";
        assert!(!connected(""));
        assert!(!connected(&format!("{lo}{tunnel}")));
        assert!(connected(&format!("{lo}{tunnel}{sent}")));
        assert!(connected(&format!("{lo}{received}")));
    }

    #[test]
    fn a_network_is_missed_once_it_was_there_and_has_been_away_for_a_while() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut network = Network::default();
        assert!(!network.observe(false, at(0)) && !network.observe(false, at(9_000)), "it never had one");
        assert!(!network.observe(true, at(10_000)));
        assert!(!network.observe(false, at(10_500)) && !network.observe(false, at(11_000)));
        assert!(!network.observe(true, at(11_200)), "another one took its place");
        assert!(!network.observe(false, at(11_500)) && !network.observe(false, at(12_400)));
        assert!(network.observe(false, at(12_500)));
    }
}
