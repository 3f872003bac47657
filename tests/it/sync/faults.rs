//! Connections that are cut, stalled or changed on their way (SY-23), and an agent that is gone for a while (SY-24): the
//! real agent in this process, behind a wire that fails.

use std::collections::BTreeSet;
use std::fs;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;
use std::time::Instant;

use nexus::engine::memory::Program;
use nexus_agent::received::Received;
use nexus_agent::report::Report;
use nexus_agent::serve;
use nexus_agent::serve::Control;
use tempfile::TempDir;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::io::DuplexStream;
use tokio::net::UnixStream;
use tokio::task::AbortHandle;

use super::near::Near;
use super::near::picture;
use super::nightly_or;

/// What a wire does once so many bytes have passed.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    /// It ends.
    Cut,
    /// Nothing comes any more, and nothing says so.
    Stall,
    /// One byte is another.
    Flip,
    /// Somebody else's words come first.
    Banner,
}

/// The next connection's fault, and after how many bytes of the agent's it comes; those after it are good.
type Plan = Arc<Mutex<Option<(Fault, usize)>>>;

/// The real agent, in this process.
pub(super) struct Agent {
    pub(super) home: TempDir,
    plan: Plan,
    socket: String,
    served: AbortHandle,
    _report: tokio::sync::watch::Sender<Report>,
}

impl Agent {
    pub(super) fn new(name: &str) -> Self {
        let home = TempDir::new().unwrap();
        let (folder, state) = (home.path().join("workspace"), home.path().join("state"));
        fs::create_dir(&folder).unwrap();
        fs::create_dir(&state).unwrap();
        let socket = format!("nexus-test-{}-{name}", std::process::id());
        let listener = serve::bind(&socket).unwrap();
        let (_report, report) = tokio::sync::watch::channel(Report::default());
        let received = Received::open(&state, Vec::new());
        let control = Arc::new(Control::new(folder, state, received, report));
        let served = tokio::spawn(serve::serve(listener, control)).abort_handle();
        Self { home, plan: Arc::default(), socket, served, _report }
    }

    pub(super) fn at(&self, name: &str) -> PathBuf {
        self.home.path().join("workspace").join(name)
    }

    pub(super) fn program(&self) -> Program {
        let (socket, plan) = (self.socket.clone(), Arc::clone(&self.plan));
        Arc::new(move |_, _, io| {
            let (socket, fault) = (socket.clone(), plan.lock().unwrap().take());
            Box::pin(async move {
                let address = SocketAddr::from_abstract_name(socket).unwrap();
                let stream = std::os::unix::net::UnixStream::connect_addr(&address).unwrap();
                stream.set_nonblocking(true).unwrap();
                drop(carry(io, UnixStream::from_std(stream).unwrap(), fault).await);
                0
            })
        })
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.served.abort();
    }
}

/// Carries bytes both ways; the fault is on the agent's way to the node.
async fn carry(node: DuplexStream, agent: UnixStream, fault: Option<(Fault, usize)>) -> std::io::Result<()> {
    let (mut from_node, mut to_node) = tokio::io::split(node);
    let (mut from_agent, mut to_agent) = agent.into_split();
    let up = async { tokio::io::copy(&mut from_node, &mut to_agent).await.map(drop) };
    let down = async {
        let mut passed = 0;
        let mut buffer = vec![0; 4_096];
        let banner = fault.is_some_and(|(fault, _)| fault == Fault::Banner);
        if banner {
            to_node.write_all(b"Welcome to this container!\r\n").await?;
        }
        loop {
            let count = from_agent.read(&mut buffer).await?;
            if count == 0 {
                return Ok(());
            }
            if let Some((fault, at)) = fault
                && at < passed + count
            {
                let at = at.saturating_sub(passed);
                match fault {
                    Fault::Cut => return to_node.write_all(&buffer[..at]).await,
                    Fault::Stall => std::future::pending().await,
                    Fault::Flip => buffer[at] ^= 0x20,
                    Fault::Banner => {}
                }
                to_node.write_all(&buffer[..count]).await?;
                return tokio::io::copy(&mut from_agent, &mut to_node).await.map(drop);
            }
            passed += count;
            to_node.write_all(&buffer[..count]).await?;
        }
    };
    tokio::select! {
        ended = up => ended,
        ended = down => ended,
    }
}

fn names(directory: &Path) -> BTreeSet<PathBuf> {
    picture(directory).into_keys().collect()
}

/// SY-23: wherever in the agent's words a connection breaks, it is made again within ten seconds and both sides become
/// equal; a change is never made twice and nothing of ours stays behind.
#[tokio::test]
async fn a_connection_that_breaks_anywhere_is_made_again_and_goes_on() {
    let rounds: usize = nightly_or(1_000, 24);
    for fault in [Fault::Cut, Fault::Flip, Fault::Banner, Fault::Stall] {
        let agent = Agent::new(&format!("{fault:?}"));
        let mut near = Near::new(agent.program()).await;
        near.write("first", b"first");
        near.connect();
        near.flush().await;
        // A stall is found by silence, which takes five seconds.
        let rounds = if fault == Fault::Stall { rounds.div_ceil(12) } else { rounds };
        for round in 0..rounds {
            // From within the hello to within what is told of a thousand bytes of changes.
            *agent.plan.lock().unwrap() = Some((fault, round * 1_237 % 5_000));
            near.write(&format!("host/{round}"), &vec![b'h'; round * 997 % 70_000 + 1]);
            fs::create_dir_all(agent.at("inside")).unwrap();
            fs::write(agent.at(&format!("inside/{round}")), vec![b'c'; round * 499 % 40_000 + 1]).unwrap();
            if round % 3 == 2 {
                fs::remove_file(near.at(&format!("host/{}", round - 1))).unwrap();
            }
            let started = Instant::now();
            near.reconnect().await;
            near.flush().await;
            let took = started.elapsed();
            assert!(took < Duration::from_secs(15), "{fault:?} {round}: {took:?}");
            assert_eq!(picture(&near.at("")), picture(&agent.at("")), "{fault:?} {round}");
        }
        let left = names(&near.home.path().join("stage"));
        assert!(left.iter().all(|name| !name.to_string_lossy().contains("part")), "{left:?}");
    }
}
