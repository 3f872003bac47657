//! Serves the web port: one task per connection, limits on all of them, a drain at the end.
//!
//! Task `router`: reads the [`Table`] from a `watch`, publishes nothing. Its connections end with it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::exchange::{Client, Exchange};
use super::forward::Pool;
use super::metrics::Metrics;
use super::table::Table;
use crate::base::accept::Bounds;
use crate::base::accept::accept;
use crate::base::fault::chain;

/// Limits of the web port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Connections served at once; more wait in the kernel's queue.
    pub connections_max: usize,
    /// How long a client may take to send a head; also how long a connection may be idle.
    pub head: Duration,
    /// How long an upstream may take to accept a connection.
    pub connect: Duration,
    /// How long an upstream may be silent before its answer begins.
    pub silence: Duration,
    /// How long open requests may go on once the node closes.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 4096,
            head: Duration::from_secs(20),
            connect: Duration::from_secs(3),
            silence: Duration::from_secs(120),
            drain: Duration::from_secs(10),
        }
    }
}

/// Serves the web port until the token is cancelled, then drains. A table swapped in counts from the next request on and
/// touches no open one.
pub async fn serve(
    listener: TcpListener,
    table: watch::Receiver<Arc<Table>>,
    limits: Limits,
    metrics: Arc<Metrics>,
    token: CancellationToken,
) {
    // Upstreams outlive the token: open requests still need them while they drain.
    let upstreams = CancellationToken::new();
    let pool = Pool::new(&upstreams, limits.connect, limits.silence);
    let exchange = Arc::new(Exchange::new(table, pool, Arc::clone(&metrics)));
    let bounds = Bounds { name: "web", connections_max: limits.connections_max, drain: limits.drain };
    accept(listener, bounds, &token, |(stream, peer)| {
        let span = tracing::debug_span!("http.connection", peer = %peer);
        connection(stream, peer, Arc::clone(&exchange), limits.head, token.clone()).instrument(span)
    })
    .await;
    upstreams.cancel();
}

/// Serves one connection; when it was upgraded, the same task becomes the tunnel.
async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    exchange: Arc<Exchange>,
    head: Duration,
    token: CancellationToken,
) {
    tune(&stream);
    let local = stream.local_addr().unwrap_or(peer);
    let _open = exchange.metrics().connection();
    let client = Arc::new(Client::new(peer, local));
    let service = service_fn(|request| {
        let (exchange, client) = (Arc::clone(&exchange), Arc::clone(&client));
        async move { Ok::<_, std::convert::Infallible>(exchange.answer(&client, request).await) }
    });
    let mut builder = Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(head).max_buf_size(HEAD_BYTES_MAX);
    let mut served = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service).with_upgrades());
    // Cancel-safe: the connection is polled on after the token fired.
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = token.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error = %chain(&error), "a client connection ended with an error");
    }
    if let Some(tunnel) = client.take_tunnel() {
        let _open = exchange.metrics().tunnel();
        tunnel.run(&token).await;
    }
}

/// Applications that keep much in cookies send 32 KiB of head; twice that is somebody else's mistake.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Small writes leave at once, and a peer that vanished is noticed. Neither is worth failing a connection for.
pub(crate) fn tune(stream: &TcpStream) {
    let _nodelay = stream.set_nodelay(true);
    let _keepalive = rustix::net::sockopt::set_socket_keepalive(stream, true);
}
