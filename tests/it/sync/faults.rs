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
use crate::nightly::nightly_or;

/// What a wire does once so many bytes have passed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Fault {
    /// It ends.
    Cut,
    /// Nothing comes any more, and nothing says so.
    Stall,
    /// One byte is another.
    Flip,
    /// Somebody else's words come first.
    Banner,
    /// Nothing comes for so long, and then it goes on.
    Pause(Duration),
    /// So many bytes come in a second, and no more.
    Slow(usize),
}

/// The next connection's fault, and after how many bytes of the agent's it comes; those after it are good.
pub(super) type Plan = Arc<Mutex<Option<(Fault, usize)>>>;

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
        to_socket(self.socket.clone(), Arc::clone(&self.plan))
    }
}

/// What an engine runs to reach an agent that listens on this socket.
pub(super) fn to_socket(socket: String, plan: Plan) -> Program {
    Arc::new(move |_, _, io| {
        let (socket, fault) = (socket.clone(), plan.lock().unwrap().take());
        Box::pin(async move {
            let address = SocketAddr::from_abstract_name(socket).unwrap();
            // Nobody is there when it was killed: as when an engine cannot run anything in a container.
            let Ok(stream) = std::os::unix::net::UnixStream::connect_addr(&address) else { return 1 };
            stream.set_nonblocking(true).unwrap();
            drop(carry(io, UnixStream::from_std(stream).unwrap(), fault).await);
            0
        })
    })
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
                    Fault::Pause(lasting) => tokio::time::sleep(lasting).await,
                    Fault::Slow(bytes) => {
                        let pace = |count: usize| Duration::from_secs_f64(count as f64 / bytes as f64);
                        let mut count = count;
                        while count > 0 {
                            to_node.write_all(&buffer[..count]).await?;
                            tokio::time::sleep(pace(count)).await;
                            count = from_agent.read(&mut buffer).await?;
                        }
                        return Ok(());
                    }
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
async fn sy23_a_connection_that_breaks_anywhere_is_made_again_and_goes_on() {
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

/// SY-24: the agent's words stop for a while, one way only, and come again: what they had to say arrives, over the same
/// connection if it was short and over another one if it was not. Whoever wants something meanwhile is answered.
#[tokio::test]
async fn sy24_a_line_that_pauses_loses_nothing() {
    let pauses = [1, 8, 30, 600].map(Duration::from_secs);
    for pause in pauses.into_iter().take(nightly_or(4, 2)) {
        let agent = Agent::new(&format!("sy24-{}", pause.as_secs()));
        *agent.plan.lock().unwrap() = Some((Fault::Pause(pause), 2_000));
        let mut near = Near::new(agent.program()).await;
        near.write("host", &[b'h'; 100_000]);
        fs::write(agent.at("inside"), [b'c'; 100_000]).unwrap();
        let started = Instant::now();
        near.connect();
        let wishes = near.wishes();
        let answered = tokio::time::timeout(Duration::from_secs(5), wishes.pause(true)).await;
        answered.expect("it answers").unwrap();
        wishes.pause(false).await.unwrap();
        while picture(&near.at("")) != picture(&agent.at("")) {
            assert!(started.elapsed() < Duration::from_secs(20), "{pause:?}: {:?}", started.elapsed());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        println!("{pause:?}: equal after {:?}", started.elapsed());
    }
}

/// SY-24: on a slow line a message takes longer than anybody may be silent, and arrives.
#[tokio::test]
async fn sy24_a_slow_line_is_no_silent_one() {
    let agent = Agent::new("sy24-slow");
    *agent.plan.lock().unwrap() = Some((Fault::Slow(30_000), 0));
    let mut near = Near::new(agent.program()).await;
    let content: Vec<u8> = (0..300_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    fs::write(agent.at("inside"), &content).unwrap();
    near.connect();
    let started = Instant::now();
    while fs::read(near.at("inside")).ok().as_ref() != Some(&content) {
        assert!(started.elapsed() < Duration::from_secs(60), "it never arrives");
        let status = near.until("a status", |_| true).await;
        assert!(!matches!(status.link, nexus::sync::Link::Lost { .. }), "{:?}", status.link);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
