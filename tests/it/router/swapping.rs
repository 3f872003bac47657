//! Tables replaced under load, and the end of the node.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::routing::get;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::harness::{DEADLINE, Front, Upstream, compile, read_until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn swapping_tables_disturbs_nobody_and_confuses_nothing() {
    let upstream = |text: &'static str| {
        Upstream::serving(axum::Router::new().fallback(get(move || async move { text })))
    };
    let (stays, first, second) =
        (upstream("<stays>").await, upstream("<first>").await, upstream("<second>").await);
    let front = Front::start(vec![stays.site("stays"), first.site("moves")]).await;
    let address = front.address;
    let done = Arc::new(AtomicBool::new(false));
    let mut clients = JoinSet::new();
    for name in ["stays", "stays", "stays", "moves", "moves"] {
        let done = Arc::clone(&done);
        clients.spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let mut answers = 0;
            while !done.load(Ordering::Relaxed) {
                let request = format!("GET /{name}/ HTTP/1.1\r\nHost: localhost\r\n\r\n");
                stream.write_all(request.as_bytes()).await.unwrap();
                let reply = read_until(&mut stream, ">").await;
                assert!(reply.starts_with("HTTP/1.1 200"), "{name}: {reply}");
                let own =
                    if name == "stays" { reply.ends_with("<stays>") } else { !reply.ends_with("<stays>") };
                assert!(own, "{name} was answered by another: {reply}");
                answers += 1;
            }
            answers
        });
    }
    for round in 0..500 {
        let moves = if round % 2 == 0 { &second } else { &first };
        let mut sites = vec![stays.site("stays"), moves.site("moves")];
        sites.extend((0..round % 60).map(|number| stays.site(&format!("other-{number}"))));
        front.table.send_replace(Arc::new(compile(sites)));
        tokio::task::yield_now().await;
    }
    let counted = async {
        while front.metrics.read().requests < 500 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, counted).await.expect("the load goes on");
    done.store(true, Ordering::Relaxed);
    while let Some(answers) = clients.join_next().await {
        assert!(answers.unwrap() > 0);
    }
}

#[tokio::test]
async fn closing_lets_open_requests_end() {
    let (asked, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let slow = {
        let (asked, go_on) = (Arc::clone(&asked), Arc::clone(&go_on));
        move || async move {
            asked.notify_one();
            go_on.notified().await;
            "done"
        }
    };
    let upstream = Upstream::serving(axum::Router::new().route("/slow", get(slow))).await;
    let mut front = Front::start(vec![upstream.site("app")]).await;
    let mut stream = TcpStream::connect(front.address).await.unwrap();
    stream.write_all(b"GET /app/slow HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    asked.notified().await;
    front.token.cancel();
    go_on.notify_one();
    let reply = read_until(&mut stream, "done").await;
    assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
    front.ended().await;
    assert!(TcpStream::connect(front.address).await.is_err(), "the port is closed");
}
