//! Heads that two readers could read differently: refused, or passed on with one meaning.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use nexus::router::Limits;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::harness::{DEADLINE, Front, Upstream, echoed};

/// An upstream that notes every byte it gets and answers once per connection.
async fn recorder() -> (Upstream, Arc<Mutex<String>>) {
    let record = Arc::new(Mutex::new(String::new()));
    let noted = Arc::clone(&record);
    let upstream = Upstream::raw(move |mut stream| {
        let noted = Arc::clone(&noted);
        async move {
            let mut buffer = [0; 4096];
            let mut answered = false;
            while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                noted.lock().unwrap().push_str(&text);
                let ended = noted.lock().unwrap().ends_with("\r\n\r\n");
                if ended && !answered {
                    answered = true;
                    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
                }
            }
        }
    })
    .await;
    (upstream, record)
}

#[tokio::test]
async fn ambiguous_heads_reach_nobody() {
    let (upstream, record) = recorder().await;
    let front = Front::start(vec![upstream.site("app")]).await;
    for (raw, status) in [
        ("GET /app/ HTTP/1.1\r\n\r\n", 400),
        ("GET /app/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        ("GET /app/ HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        ("GET /app/ HTTP/1.1\r\nHost: \r\n\r\n", 400),
        ("GET /app/ HTTP/1.1\r\nHost: user@a\r\n\r\n", 400),
        ("GET /app/ HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
        ("GET /app/ HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        ("GET foo HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET ftp://a/app/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", 501),
        ("TRACE /app/ HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        ("POST /app/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400),
        ("POST /app/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400),
        ("POST /app/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n", 400),
        ("POST /app/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
        ("POST /app/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400),
        ("POST /app/ HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        ("POST /app/ HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx", 400),
        ("POST /app/ HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\nx", 400),
        ("POST /app/ HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\nx", 400),
        ("GET /app/ HTTP/1.1\r\nHost: a\r\nX: 1\r\n folded\r\n\r\n", 400),
        ("GET /app/ HTTP/1.1\r\nHost: a\r\nExpect: magic\r\n\r\n", 417),
        ("GET /app/../admin HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /app/%2e%2e/admin HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /app/..%2fadmin HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /app%2fadmin HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /app/..;/admin HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /app\\admin HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /app/%00 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET //app/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /application/ HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        ("GET /app./ HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        ("GET /app/ HTTP/1.1\r\nHost: evil.example\r\n\r\n", 421),
    ] {
        let closing = raw.replacen("\r\n", "\r\nConnection: close\r\n", 1);
        let reply = front.ask(&closing).await;
        assert_eq!(reply.status, status, "{raw:?}: {reply:?}");
    }
    assert_eq!(*record.lock().unwrap(), "", "something reached the upstream");
}

#[tokio::test]
async fn two_lengths_have_one_meaning_and_end_the_connection() {
    for lengths in
        ["Content-Length: 5\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nContent-Length: 5"]
    {
        let (upstream, record) = recorder().await;
        let front = Front::start(vec![upstream.site("app")]).await;
        let smuggled = "GET /app/admin HTTP/1.1\r\nHost: a\r\n\r\n";
        // By its length the request ends within the chunks; what follows would be a second one.
        let reply = front
            .ask(&format!("POST /app/x HTTP/1.1\r\nHost: a\r\n{lengths}\r\n\r\n0\r\n\r\n{smuggled}"))
            .await;
        assert_eq!((reply.status, reply.header("connection")), (200, Some("close")), "{reply:?}");
        assert!(!reply.body.contains("HTTP/1.1"), "a second answer: {reply:?}");
        let record = record.lock().unwrap().clone();
        assert!(record.starts_with("POST /x HTTP/1.1\r\n"), "{record}");
        assert!(!record.contains("admin"), "{record}");
        assert!(!record.to_lowercase().contains("content-length"), "{record}");
    }
}

#[tokio::test]
async fn an_upstream_cannot_cut_its_own_body_short() {
    let both =
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let upstream = Upstream::saying(both).await;
    let front = Front::start(vec![upstream.site("app")]).await;
    let reply = front.get("/app/", "").await;
    assert!(reply.body.contains("hello") && reply.header("content-length").is_none(), "{reply:?}");
    for bad in [
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nhe",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        "SSH-2.0-OpenSSH_9.2\r\n\r\n",
    ] {
        let upstream = Upstream::saying(bad).await;
        let front = Front::start(vec![upstream.site("app")]).await;
        assert_eq!(front.get("/app/", "").await.status, 502, "{bad:?}");
    }
}

#[tokio::test]
async fn connection_headers_cannot_remove_ours() {
    let upstream = Upstream::echo().await;
    let front = Front::start(vec![upstream.site("app")]).await;
    let listed = "Connection: X-Forwarded-For, X-Forwarded-Prefix, Authorization, X-Secret\r\nX-Secret: 1\r\nAuthorization: Bearer t\r\n";
    let (_, headers) = echoed(&front.get("/app/", listed).await);
    assert_eq!(headers["x-forwarded-for"], "127.0.0.1");
    assert_eq!(headers["x-forwarded-prefix"], "/app");
    assert_eq!(headers["authorization"], "Bearer t");
    assert!(!headers.contains_key("x-secret"));
}

#[tokio::test]
async fn a_slow_head_is_cut_off_and_others_are_served() {
    let upstream = Upstream::echo().await;
    let limits = Limits { head: Duration::from_millis(200), ..Limits::default() };
    let front = Front::with_limits(vec![upstream.site("app")], limits).await;
    let mut slow = Vec::new();
    for _ in 0..50 {
        let mut stream = TcpStream::connect(front.address).await.unwrap();
        stream.write_all(b"GET /app/ HTTP/1.1\r\nHost: a\r\nX-Slow: ").await.unwrap();
        slow.push(stream);
    }
    assert_eq!(front.get("/app/", "").await.status, 200);
    for mut stream in slow {
        let mut rest = Vec::new();
        let _end =
            timeout(DEADLINE, stream.read_to_end(&mut rest)).await.expect("the slow client is cut off");
        assert!(!String::from_utf8_lossy(&rest).contains("200 OK"));
    }
}

#[tokio::test]
async fn a_huge_head_is_refused() {
    let upstream = Upstream::echo().await;
    let front = Front::start(vec![upstream.site("app")]).await;
    assert_eq!(front.get("/app/", &format!("X-Big: {}\r\n", "x".repeat(32 * 1024))).await.status, 200);
    let reply = front.get("/app/", &format!("X-Big: {}\r\n", "x".repeat(200 * 1024))).await;
    assert!([431, 0].contains(&reply.status), "{}", reply.status);
    let many: String = (0..200).map(|number| format!("X-{number}: 1\r\n")).collect();
    assert_eq!(front.get("/app/", &many).await.status, 431);
}
