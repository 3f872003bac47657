//! What happens at the limits: places, descriptors, promises to send more.

use std::time::Duration;

use nexus::router::Limits;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::harness::{DEADLINE, Front, Upstream, read_until};

const ASK: &[u8] = b"GET /app/ HTTP/1.1\r\nHost: localhost\r\n\r\n";

#[tokio::test]
async fn connections_above_the_limit_wait_for_a_place() {
    let upstream = Upstream::echo().await;
    let front =
        Front::with_limits(vec![upstream.site("app")], Limits { connections_max: 2, ..Limits::default() })
            .await;
    let mut served = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(front.address).await.unwrap();
        stream.write_all(ASK).await.unwrap();
        assert!(read_until(&mut stream, "\n\n").await.contains("200 OK"));
        served.push(stream);
    }
    let mut waiting = TcpStream::connect(front.address).await.unwrap();
    waiting.write_all(ASK).await.unwrap();
    let early = timeout(Duration::from_millis(300), waiting.readable()).await;
    assert!(early.is_err(), "a third connection was served");
    assert_eq!(front.metrics.read().connections, 2);
    drop(served);
    assert!(read_until(&mut waiting, "\n\n").await.contains("200 OK"));
}

/// Tests run in processes of their own, so that the descriptors are this test's alone.
#[tokio::test]
async fn running_out_of_descriptors_is_survived() {
    let upstream = Upstream::echo().await;
    let front = Front::start(vec![upstream.site("app")]).await;
    assert_eq!(front.get("/app/", "").await.status, 200);
    let open = std::fs::read_dir("/proc/self/fd").unwrap().count() as u64;
    let before = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(open + 24), maximum: before.maximum }).unwrap();
    // Clients take descriptors of this process too: at some point either side runs out.
    let mut held = Vec::new();
    while let Ok(stream) = TcpStream::connect(front.address).await {
        held.push(stream);
    }
    assert!(held.len() < 24, "{}", held.len());
    let accepted = front.metrics.read().connections;
    assert!(accepted < held.len() as u64, "the router ran out as well: {accepted} of {}", held.len());
    held.clear();
    let served = async { while front.get("/app/", "").await.status != 200 {} };
    timeout(DEADLINE, served).await.expect("the router recovers");
    setrlimit(Resource::Nofile, before).unwrap();
}

#[tokio::test]
async fn a_client_that_asks_first_is_told_to_go_on() {
    let upstream = Upstream::echo().await;
    let front = Front::start(vec![upstream.site("app")]).await;
    let mut stream = TcpStream::connect(front.address).await.unwrap();
    let head = "POST /app/ HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    assert!(read_until(&mut stream, "\r\n\r\n").await.starts_with("HTTP/1.1 100"));
    stream.write_all(b"hello").await.unwrap();
    let reply = read_until(&mut stream, "hello").await;
    assert!(reply.starts_with("HTTP/1.1 200") && !reply.contains("expect:"), "{reply}");
}
