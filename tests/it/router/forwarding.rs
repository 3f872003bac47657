//! What reaches an upstream, and what comes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Body;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{any, get, post};
use futures::StreamExt as _;
use nexus::router::HostSent;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::harness::{DEADLINE, Front, Upstream, echoed, read_until};

#[tokio::test]
async fn a_site_sees_its_own_paths_and_who_asked() {
    let upstream = Upstream::echo().await;
    let front = Front::start(vec![upstream.site("app")]).await;
    let spoofed = "X-Forwarded-For: 1.2.3.4\r\nX_Forwarded_For: 1.2.3.4\r\nForwarded: for=1.2.3.4\r\nX-Real-IP: 1.2.3.4\r\n\
                   X-Forwarded-Prefix: /admin\r\nCookie: a=1; nexus_session=s\r\nAuthorization: Bearer t\r\n";
    let (line, headers) = echoed(&front.get("/app/x/y?q=%2F&r", spoofed).await);
    assert_eq!(line, "GET /x/y?q=%2F&r");
    let found = |name: &str| headers.get(name).map(String::as_str);
    assert_eq!(found("host"), Some("localhost"));
    assert_eq!(found("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(found("x-forwarded-host"), Some("localhost"));
    assert_eq!(found("x-forwarded-proto"), Some("http"));
    assert_eq!(found("x-forwarded-prefix"), Some("/app"));
    assert_eq!(found("cookie"), Some("a=1"));
    assert_eq!(found("authorization"), Some("Bearer t"));
    assert!(found("x-request-id").is_some());
    for gone in ["x_forwarded_for", "forwarded", "x-real-ip", "connection"] {
        assert_eq!(found(gone), None, "{gone}");
    }
}

#[tokio::test]
async fn a_site_is_an_origin_too() {
    let upstream = Upstream::echo().await;
    let front = Front::start(vec![upstream.site("app")]).await;
    for host in ["app.localhost", "APP.localhost:8080", "app.nexus.lan.", "app.127.0.0.1.sslip.io"] {
        let reply =
            front.ask(&format!("GET /app/x HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).await;
        let (line, headers) = echoed(&reply);
        assert_eq!(line, "GET /app/x");
        assert_eq!(headers["host"], host);
        assert!(!headers.contains_key("x-forwarded-prefix"));
    }
    let absolute = "GET http://app.localhost/x HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
    let (line, headers) = echoed(&front.ask(absolute).await);
    assert_eq!((line.as_str(), headers["host"].as_str()), ("GET /x", "app.localhost"));
}

#[tokio::test]
async fn a_development_server_is_told_that_it_is_local() {
    let upstream = Upstream::echo().await;
    let mut site = upstream.site("app");
    site.host_sent = HostSent::Local;
    let front = Front::start(vec![site]).await;
    let (_, headers) = echoed(&front.get("/app/", "Origin: http://localhost\r\n").await);
    let local = format!("localhost:{}", upstream.address.port());
    assert_eq!(headers["host"], local);
    assert_eq!(headers["origin"], format!("http://{local}"));
}

#[tokio::test]
async fn prefixes_get_their_slash_and_escaped_links_their_prefix() {
    let upstream = Upstream::echo().await;
    let front = Front::start(vec![upstream.site("app")]).await;
    let reply = front.get("/app?x=1", "").await;
    assert_eq!((reply.status, reply.header("location")), (308, Some("/app/?x=1")));
    let (line, _) = echoed(
        &front.ask("POST /app HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await,
    );
    assert_eq!(line, "POST /");

    let reply = front.get("/style.css?v=2", "Referer: http://localhost/app/page\r\n").await;
    assert_eq!((reply.status, reply.header("location")), (307, Some("/app/style.css?v=2")));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    assert_eq!(front.metrics.read().escapes, 1);
    assert_eq!(front.get("/style.css", "Referer: http://evil.example/app/page\r\n").await.status, 404);
    assert_eq!(front.get("/monitor", "").await.header("location"), Some("http://localhost:7070/"));
}

#[tokio::test]
async fn home_answers_what_belongs_to_nobody() {
    let (app, home) = (Upstream::echo().await, Upstream::echo().await);
    let front = Front::start(vec![app.site("app"), home.site("www")]).await;
    let (line, headers) = echoed(&front.get("/about", "").await);
    assert_eq!(line, "GET /about");
    assert!(!headers.contains_key("x-forwarded-prefix"));
    let (_, headers) = echoed(&front.get("/app/about", "").await);
    assert_eq!(headers["x-forwarded-prefix"], "/app");
    assert_eq!(front.get("/", "").await.status, 200);
}

#[tokio::test]
async fn redirects_and_cookies_stay_below_the_prefix() {
    async fn login() -> Response {
        let headers = [
            ("location", "/home?x=/"),
            ("set-cookie", "sid=1; Path=/; Domain=localhost; HttpOnly"),
            ("strict-transport-security", "max-age=1"),
        ];
        (StatusCode::SEE_OTHER, headers).into_response()
    }
    let upstream = Upstream::serving(axum::Router::new().route("/login", any(login))).await;
    let front = Front::start(vec![upstream.site("app")]).await;
    let reply = front.get("/app/login", "").await;
    assert_eq!((reply.status, reply.header("location")), (303, Some("/app/home?x=/")));
    assert_eq!(reply.all("set-cookie"), ["sid=1; Path=/app; HttpOnly"]);
    assert_eq!(reply.header("strict-transport-security"), None);
}

#[tokio::test]
async fn events_arrive_when_they_are_sent() {
    let (sender, receiver) = mpsc::channel::<&'static str>(1);
    let receiver = Arc::new(tokio::sync::Mutex::new(Some(receiver)));
    let events = move || {
        let receiver = Arc::clone(&receiver);
        async move {
            let receiver = receiver.lock().await.take().unwrap();
            let frames = futures::stream::unfold(receiver, |mut receiver| async move {
                let event = receiver.recv().await?;
                Some((Ok::<_, std::io::Error>(format!("data: {event}\n\n")), receiver))
            });
            ([("content-type", "text/event-stream")], Body::from_stream(frames))
        }
    };
    let upstream = Upstream::serving(axum::Router::new().route("/events", get(events))).await;
    let front = Front::start(vec![upstream.site("app")]).await;
    let mut stream = TcpStream::connect(front.address).await.unwrap();
    stream.write_all(b"GET /app/events HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    // The second event is sent only once the first has arrived: a buffer anywhere would hang here.
    for event in ["one", "two", "three"] {
        sender.send(event).await.unwrap();
        assert!(read_until(&mut stream, &format!("data: {event}\n\n")).await.contains(event));
    }
    drop(sender);
    read_until(&mut stream, "0\r\n\r\n").await;
}

#[tokio::test]
async fn uploads_stream_and_keep_every_byte() {
    let (sender, mut arrived) = mpsc::channel::<usize>(64);
    let count = move |body: Body| {
        let sender = sender.clone();
        async move {
            let mut total = 0;
            let mut frames = body.into_data_stream();
            while let Some(frame) = frames.next().await {
                total += frame.unwrap().len();
                let _full = sender.try_send(total);
            }
            total.to_string()
        }
    };
    let app = axum::Router::new().route("/up", post(count)).layer(axum::extract::DefaultBodyLimit::disable());
    let upstream = Upstream::serving(app).await;
    let front = Front::start(vec![upstream.site("app")]).await;
    let mut stream = TcpStream::connect(front.address).await.unwrap();
    let head =
        "POST /app/up HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    // Each chunk is sent only once the one before has arrived.
    for expected in [5, 10, 15] {
        stream.write_all(b"5\r\nhello\r\n").await.unwrap();
        assert_eq!(timeout(DEADLINE, arrived.recv()).await.unwrap(), Some(expected));
    }
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    assert!(read_until(&mut stream, "15").await.starts_with("HTTP/1.1 200"));

    let mut stream = TcpStream::connect(front.address).await.unwrap();
    let (length, chunk) = (32 * 1024 * 1024, vec![b'x'; 1024 * 1024]);
    let head = format!(
        "POST /app/up HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    for _ in 0..32 {
        stream.write_all(&chunk).await.unwrap();
    }
    assert!(read_until(&mut stream, &length.to_string()).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_get_keeps_its_chunked_body() {
    let upstream = Upstream::echo().await;
    let front = Front::start(vec![upstream.site("app")]).await;
    let raw = "GET /app/_search HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n2\r\n{}\r\n0\r\n\r\n";
    let reply = front.ask(raw).await;
    assert!(reply.body.contains("\n\n{}"), "{reply:?}");
}

#[tokio::test]
async fn answers_without_bodies_stay_so() {
    let app = axum::Router::new()
        .route("/page", get(|| async { "hello" }))
        .route("/none", get(|| async { StatusCode::NO_CONTENT }))
        .route("/same", get(|| async { (StatusCode::NOT_MODIFIED, [("etag", "\"x\"")]) }));
    let upstream = Upstream::serving(app).await;
    let front = Front::start(vec![upstream.site("app")]).await;
    let head = front.ask("HEAD /app/page HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert_eq!((head.status, head.header("content-length"), head.body.as_str()), (200, Some("5"), ""));
    let none = front.get("/app/none", "").await;
    assert_eq!((none.status, none.body.as_str()), (204, ""));
    let same = front.get("/app/same", "").await;
    assert_eq!((same.status, same.header("etag"), same.body.as_str()), (304, Some("\"x\""), ""));

    let early =
        "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let upstream = Upstream::saying(early).await;
    let front = Front::start(vec![upstream.site("app")]).await;
    let reply = front.get("/app/", "").await;
    assert_eq!((reply.status, reply.body.as_str()), (200, "ok"));
}

#[tokio::test]
async fn connections_are_used_again() {
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    let upstream = Upstream::raw(move |mut stream| {
        counted.fetch_add(1, Ordering::Relaxed);
        async move {
            while !read_until(&mut stream, "\r\n\r\n").await.is_empty() {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
            }
        }
    })
    .await;
    let front = Front::start(vec![upstream.site("app")]).await;
    let mut stream = TcpStream::connect(front.address).await.unwrap();
    for _ in 0..50 {
        stream.write_all(b"GET /app/ HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        assert!(read_until(&mut stream, "\r\n\r\nok").await.contains("200 OK"));
    }
    assert!(connections.load(Ordering::Relaxed) <= 3, "{connections:?}");
}

/// Answers the first request of each connection, then reads the second and closes without a word.
async fn tired_upstream(seen: Arc<AtomicUsize>) -> Upstream {
    Upstream::raw(move |mut stream| {
        let seen = Arc::clone(&seen);
        async move {
            read_until(&mut stream, "\r\n\r\n").await;
            seen.fetch_add(1, Ordering::Relaxed);
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
            if !read_until(&mut stream, "\r\n\r\n").await.is_empty() {
                seen.fetch_add(1, Ordering::Relaxed);
            }
        }
    })
    .await
}

#[tokio::test]
async fn only_what_may_be_sent_twice_is() {
    let seen = Arc::new(AtomicUsize::new(0));
    let upstream = tired_upstream(Arc::clone(&seen)).await;
    let front = Front::start(vec![upstream.site("app")]).await;
    let mut stream = TcpStream::connect(front.address).await.unwrap();
    for _ in 0..100 {
        stream.write_all(b"GET /app/ HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        assert!(read_until(&mut stream, "\r\n\r\nok").await.contains("200 OK"));
    }
    // Every other GET met a connection that closed on it, and was sent again.
    assert!(seen.load(Ordering::Relaxed) > 100, "{seen:?}");

    let seen = Arc::new(AtomicUsize::new(0));
    let upstream = tired_upstream(Arc::clone(&seen)).await;
    let front = Front::start(vec![upstream.site("app")]).await;
    let post = "POST /app/ HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let mut statuses = Vec::new();
    for _ in 0..10 {
        statuses.push(front.ask(post).await.status);
    }
    assert!(statuses.iter().all(|status| [200, 502].contains(status)), "{statuses:?}");
    assert!(statuses.contains(&502), "{statuses:?}");
    assert_eq!(seen.load(Ordering::Relaxed), 10, "a POST reached the upstream twice");
}

#[tokio::test]
async fn a_body_that_breaks_off_is_not_passed_on_as_whole() {
    let upstream =
        Upstream::saying("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n").await;
    let front = Front::start(vec![upstream.site("app")]).await;
    let reply = front.get("/app/", "").await;
    assert!(!reply.body.ends_with("0\r\n\r\n"), "{reply:?}");
    let upstream = Upstream::saying("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello").await;
    let front = Front::start(vec![upstream.site("app")]).await;
    let mut stream = TcpStream::connect(front.address).await.unwrap();
    stream.write_all(b"GET /app/ HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _reset = timeout(DEADLINE, stream.read_to_end(&mut answer)).await.expect("the connection is closed");
    assert!(String::from_utf8_lossy(&answer).ends_with("hello"));
}
