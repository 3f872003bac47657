//! Requests that mean no good: foreign pages, wrong tokens, bodies of any size and shape.

use std::fmt::Write as _;

use nexus::api::Settings;
use nexus::compose::Subnet;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::harness::DEADLINE;
use super::harness::TestApi;
use super::harness::request;

#[tokio::test]
async fn foreign_hosts_and_origins_are_refused_before_the_token_is_looked_at() {
    let node = TestApi::start().await;
    let token = node.token("admin").await;
    let ours = node.address;
    let port = ours.port();
    let other = port ^ 1;
    let refused = [
        "Host: evil.test\r\n".to_owned(),
        format!("Host: evil.test:{port}\r\n"),
        format!("Host: {ours}\r\nHost: evil.test\r\n"),
        format!("Host: {ours}\r\nOrigin: http://evil.test\r\n"),
        format!("Host: {ours}\r\nOrigin: null\r\n"),
        format!("Host: {ours}\r\nOrigin: http://127.0.0.1:{other}\r\n"),
        format!("Host: {ours}\r\nOrigin: http://hello.localhost\r\n"),
        format!("Host: {ours}\r\nSec-Fetch-Site: cross-site\r\n"),
        format!("Host: {ours}\r\nSec-Fetch-Site: same-site\r\nSec-Fetch-Mode: cors\r\n"),
    ];
    for headers in &refused {
        let headers = format!("{headers}Authorization: Bearer {token}\r\n");
        let answer = node.raw(&request("GET", "/api/v1/tokens", &headers, None)).await;
        assert!(matches!(answer.status, 400 | 403), "{headers}{answer:?}");
        assert!(!answer.head.to_lowercase().contains("access-control"), "{answer:?}");
    }
    let own = format!(
        "Host: {ours}\r\nOrigin: http://{ours}\r\nSec-Fetch-Site: same-origin\r\nAuthorization: bearer {token}\r\n"
    );
    assert_eq!(node.raw(&request("GET", "/api/v1/tokens", &own, None)).await.status, 200);
    let absolute = format!("Host: {ours}\r\nAuthorization: Bearer {token}\r\n");
    let answer = node.raw(&request("GET", "http://evil.test/api/v1/tokens", &absolute, None)).await;
    assert!(matches!(answer.status, 400 | 403), "{answer:?}");
    let preflight =
        format!("Host: {ours}\r\nOrigin: http://evil.test\r\nAccess-Control-Request-Method: DELETE\r\n");
    assert_eq!(node.raw(&request("OPTIONS", "/api/v1/tokens", &preflight, None)).await.status, 403);
    node.close().await;
}

#[tokio::test]
async fn a_workspace_may_not_drive_the_control_port() {
    let settings = Settings { refuse: vec![Subnet::parse("127.0.0.0/8").unwrap()], ..Settings::default() };
    let node = TestApi::with(settings).await;
    let token = node.token("admin").await;
    for path in ["/", "/health", "/api/v1/status", "/nowhere"] {
        assert_eq!(node.send("GET", path, Some(&token), None).await.code(), "PERMISSION_DENIED", "{path}");
    }
    assert_eq!(
        node.send_local("GET", "/api/v1/status", None).await.status,
        200,
        "the local socket is not the network"
    );
    node.close().await;
}

#[tokio::test]
async fn odd_tokens_are_wrong_tokens() {
    let node = TestApi::start().await;
    let token = node.token("read").await;
    let host = format!("Host: {}\r\n", node.address);
    let cut = &token[..token.len() - 1];
    let odd = [
        format!("Authorization: Bearer {cut}\r\n"),
        format!("Authorization: Bearer {token}x\r\n"),
        format!("Authorization: Basic {token}\r\n"),
        format!("Authorization: Bearer\u{e9} {token}\r\n"),
        format!("Authorization: Bearer {token}\r\nAuthorization: Bearer {token}\r\n"),
        format!("Cookie: token={token}\r\n"),
        "Authorization: Bearer \r\n".to_owned(),
    ];
    for header in odd {
        let answer = node.raw(&request("GET", "/api/v1/status", &format!("{host}{header}"), None)).await;
        assert!(matches!(answer.status, 400 | 401), "{header} {answer:?}");
    }
    let answer = node.raw(&request("GET", &format!("/api/v1/status?token={token}"), &host, None)).await;
    assert_eq!(answer.status, 401, "a token in a URL is no token");
    assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    let huge = format!("{host}Authorization: Bearer {}\r\n", "x".repeat(1 << 20));
    let answer = node.raw(&request("GET", "/api/v1/status", &huge, None)).await;
    assert!(matches!(answer.status, 0 | 431), "{answer:?}");
    node.close().await;
}

#[tokio::test]
async fn guessing_is_slowed_and_the_owner_is_not() {
    let node = TestApi::start().await;
    let token = node.token("read").await;
    let mut statuses = Vec::new();
    for _ in 0..20 {
        statuses.push(node.send("GET", "/api/v1/status", Some("nxs_guess"), None).await.status);
    }
    assert_eq!(statuses.iter().filter(|status| **status == 401).count(), 10);
    assert_eq!(statuses.iter().filter(|status| **status == 429).count(), 10);
    let answer = node.send("GET", "/api/v1/status", Some("nxs_guess"), None).await;
    assert!(answer.header("retry-after").is_some());
    assert_eq!(node.send("GET", "/api/v1/status", Some(&token), None).await.status, 200);
    assert_eq!(node.send("GET", "/claim/guess", None, None).await.status, 429, "claim codes count too");
    node.close().await;
}

#[tokio::test]
async fn bodies_are_bounded_in_size_depth_and_kind() {
    let node = TestApi::start().await;
    let token = node.token("admin").await;
    let path = "/api/v1/workspaces";
    let post = |body: String| {
        let (node, token) = (&node, &token);
        async move { node.send("POST", path, Some(token), Some(&body)).await }
    };
    assert_eq!(post(format!("{{\"name\":\"{}\"}}", "x".repeat(1 << 20))).await.status, 413);
    assert_eq!(post("[".repeat(100_000)).await.status, 400);
    let mut keys = String::from("{");
    for i in 0..60_000 {
        let _ = write!(keys, "\"k{i}\":0,");
    }
    assert_eq!(post(keys + "\"name\":\"x\"}").await.status, 400);
    assert_eq!(post(r#"{"name":"x","nmae":"y"}"#.to_owned()).await.status, 400);
    assert_eq!(post("{\"name\":\"\\u0000\"}".to_owned()).await.status, 400);
    assert_eq!(post(String::new()).await.status, 400);
    let host = format!("Host: {}\r\nAuthorization: Bearer {token}\r\n", node.address);
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/jsonx",
    ] {
        let headers = format!("{host}Content-Type: {kind}\r\n");
        let answer = node.raw(&request("POST", path, &headers, Some(r#"{"name":"x"}"#))).await;
        assert_eq!(answer.status, 415, "{kind}");
    }
    let zipped = format!("{host}Content-Encoding: gzip\r\n");
    assert_eq!(node.raw(&request("POST", path, &zipped, Some("{}"))).await.status, 415);
    assert_eq!(std::fs::read_dir(&node.directory).unwrap().count(), 0, "nothing was made");
    node.close().await;
}

#[tokio::test]
async fn a_body_that_claims_to_be_endless_is_refused_at_once() {
    let node = TestApi::start().await;
    let token = node.token("admin").await;
    let head = format!(
        "POST /api/v1/workspaces HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\nContent-Length: 1073741824\r\n\r\n",
        node.address
    );
    let mut stream = TcpStream::connect(node.address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let piece = vec![b' '; 64 * 1024];
    for _ in 0..64 {
        if stream.write_all(&piece).await.is_err() {
            break;
        }
    }
    let mut start = [0_u8; 12];
    tokio::time::timeout(DEADLINE, stream.read_exact(&mut start)).await.unwrap().unwrap();
    assert_eq!(&start, b"HTTP/1.1 413");
    node.close().await;
}

#[tokio::test]
async fn revoking_ends_an_open_stream() {
    let node = TestApi::start().await;
    let (secret, row) = node.api.tokens().create("watcher", "read", None).await.unwrap();
    let mut stream = TcpStream::connect(node.address).await.unwrap();
    let head = format!("Host: {}\r\nAuthorization: Bearer {}\r\n", node.address, secret.reveal());
    stream.write_all(request("GET", "/api/v1/events", &head, None).as_bytes()).await.unwrap();
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains("event: workspaces") {
        let mut piece = [0_u8; 1024];
        let count = tokio::time::timeout(DEADLINE, stream.read(&mut piece)).await.unwrap().unwrap();
        assert!(count > 0, "{}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&piece[..count]);
    }
    node.api.tokens().revoke(&row.id).await.unwrap();
    let ended = tokio::time::timeout(std::time::Duration::from_secs(1), stream.read_to_end(&mut seen)).await;
    assert!(ended.is_ok(), "the stream outlived its token by a second");
    node.close().await;
}

#[tokio::test]
async fn every_answer_carries_the_same_guards_and_every_failure_the_same_shape() {
    let node = TestApi::start().await;
    for (method, path) in [
        ("GET", "/"),
        ("GET", "/nowhere"),
        ("GET", "/api/v1/status"),
        ("PUT", "/health"),
        ("GET", "/claim/x"),
    ] {
        let answer = node.send(method, path, None, None).await;
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("cache-control", "no-store"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{method} {path}");
        }
        assert!(
            answer
                .header("content-security-policy")
                .is_some_and(|policy| policy.contains("default-src 'none'") && !policy.contains("unsafe"))
        );
        let id = answer.header("x-request-id").unwrap().to_owned();
        if answer.status >= 400 && !path.starts_with("/claim") {
            assert_eq!(answer.json()["error"]["request_id"], id.as_str());
            assert!(!answer.code().is_empty());
        }
    }
    node.close().await;
}
