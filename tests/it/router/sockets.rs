//! WebSockets through the router.

use std::time::Duration;

use axum::extract::ws::{Message as AxumMessage, WebSocketUpgrade};
use axum::http::StatusCode;
use axum::routing::any;
use futures::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::harness::{DEADLINE, Front, Upstream, read_until};

async fn chat() -> Upstream {
    async fn echo(upgrade: WebSocketUpgrade) -> axum::response::Response {
        upgrade.protocols(["chat"]).on_upgrade(|mut socket| async move {
            while let Some(Ok(message)) = socket.recv().await {
                match message {
                    AxumMessage::Text(text) if text.as_str() == "bye" => break,
                    AxumMessage::Text(_) | AxumMessage::Binary(_) => socket.send(message).await.unwrap(),
                    _ => {}
                }
            }
        })
    }
    let app =
        axum::Router::new().route("/ws", any(echo)).route("/denied", any(|| async { StatusCode::FORBIDDEN }));
    Upstream::serving(app).await
}

async fn connect(
    front: &Front,
    path: &str,
    cookie: Option<&str>,
) -> Result<WebSocketStream<TcpStream>, Error> {
    let mut request = format!("ws://localhost{path}").into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", "chat".parse().unwrap());
    if let Some(cookie) = cookie {
        request.headers_mut().insert("cookie", cookie.parse().unwrap());
    }
    let stream = TcpStream::connect(front.address).await.unwrap();
    Ok(client_async(request, stream).await?.0)
}

async fn echoes(socket: &mut WebSocketStream<TcpStream>, message: Message) {
    socket.send(message.clone()).await.unwrap();
    let answer = timeout(DEADLINE, socket.next()).await.expect("an echo").unwrap().unwrap();
    assert_eq!(answer, message);
}

#[tokio::test]
async fn messages_go_both_ways() {
    let upstream = chat().await;
    let front = Front::start(vec![upstream.site("app")]).await;
    let mut socket = connect(&front, "/app/ws", None).await.unwrap();
    for number in 0..100 {
        echoes(&mut socket, Message::text(format!("message {number}"))).await;
    }
    echoes(&mut socket, Message::binary(vec![7; 1024 * 1024])).await;
    assert_eq!(front.metrics.read().tunnels, 1);
}

#[tokio::test]
async fn a_root_absolute_socket_follows_the_page_opened_last() {
    let upstream = chat().await;
    let front = Front::start(vec![upstream.site("app"), upstream.site("other")]).await;
    let mut socket = connect(&front, "/ws", Some("nexus_last=app")).await.unwrap();
    echoes(&mut socket, Message::text("hello")).await;
    let Err(Error::Http(answer)) = connect(&front, "/ws", None).await else { panic!("connected to nobody") };
    assert_eq!(answer.status(), 404);
}

#[tokio::test]
async fn opening_a_page_is_remembered() {
    let page = || async { axum::response::Html("<p>hello") };
    let upstream = Upstream::serving(axum::Router::new().route("/", any(page))).await;
    let front = Front::start(vec![upstream.site("app")]).await;
    let reply = front.get("/app/", "").await;
    assert_eq!(reply.all("set-cookie"), ["nexus_last=app; Path=/; HttpOnly; SameSite=Lax"]);
    assert!(front.get("/app/", "Cookie: nexus_last=app\r\n").await.all("set-cookie").is_empty());
    let own = front.ask("GET / HTTP/1.1\r\nHost: app.localhost\r\nConnection: close\r\n\r\n").await;
    assert!(own.all("set-cookie").is_empty());
}

#[tokio::test]
async fn no_tunnel_before_the_upstream_agrees() {
    let upstream = chat().await;
    let front = Front::start(vec![upstream.site("app")]).await;
    let Err(Error::Http(answer)) = connect(&front, "/app/denied", None).await else {
        panic!("a tunnel was made")
    };
    assert_eq!(answer.status(), 403);
    // Other protocols are asked for in vain: the request goes on as plain HTTP.
    let plain = Upstream::echo().await;
    let front = Front::start(vec![plain.site("app")]).await;
    let reply = front
        .get("/app/", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n")
        .await;
    assert_eq!(reply.status, 200);
    assert!(!reply.body.contains("upgrade") && !reply.body.contains("http2"), "{reply:?}");
    // Another protocol than the one asked for.
    let liar =
        Upstream::saying("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: tls\r\n\r\n")
            .await;
    let front = Front::start(vec![liar.site("app")]).await;
    let Err(Error::Http(answer)) = connect(&front, "/app/", None).await else { panic!("a tunnel was made") };
    assert_eq!(answer.status(), 502);
}

/// Sooner than a tunnel lingers: the end was passed on, not waited out.
const SOON: Duration = Duration::from_secs(3);

async fn no_tunnels(front: &Front) {
    let gone = async {
        while front.metrics.read().tunnels > 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, gone).await.expect("the tunnel is gone");
}

#[tokio::test]
async fn when_one_end_closes_so_does_the_other() {
    let upstream = chat().await;
    let front = Front::start(vec![upstream.site("app")]).await;
    let mut socket = connect(&front, "/app/ws", None).await.unwrap();
    socket.send(Message::text("bye")).await.unwrap();
    let end = async { while let Some(Ok(_)) = socket.next().await {} };
    timeout(SOON, end).await.expect("the client's half closes");
    drop(socket);
    no_tunnels(&front).await;

    let (sender, mut closed) = tokio::sync::mpsc::channel(1);
    let upstream = Upstream::raw(move |mut stream| {
        let sender = sender.clone();
        async move {
            use tokio::io::AsyncWriteExt as _;
            read_until(&mut stream, "\r\n\r\n").await;
            let agreed =
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
            stream.write_all(agreed).await.unwrap();
            assert_eq!(read_until(&mut stream, "never").await, "x");
            sender.send(()).await.unwrap();
        }
    })
    .await;
    let front = Front::start(vec![upstream.site("app")]).await;
    let mut stream = TcpStream::connect(front.address).await.unwrap();
    {
        use tokio::io::AsyncWriteExt as _;
        let head = "GET /app/ HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        assert!(read_until(&mut stream, "\r\n\r\n").await.contains("101"));
        stream.write_all(b"x").await.unwrap();
    }
    drop(stream);
    timeout(SOON, closed.recv()).await.expect("the upstream's half closes").unwrap();
    no_tunnels(&front).await;
}

#[tokio::test]
async fn closing_the_node_closes_its_tunnels() {
    let upstream = chat().await;
    let mut front = Front::start(vec![upstream.site("app")]).await;
    let mut socket = connect(&front, "/app/ws", None).await.unwrap();
    echoes(&mut socket, Message::text("hello")).await;
    front.token.cancel();
    front.ended().await;
    assert!(timeout(DEADLINE, socket.next()).await.unwrap().is_none_or(|message| message.is_err()));
}
