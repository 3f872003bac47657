//! WebSockets: a connection that became a tunnel.
//!
//! A tunnel exists only after the upstream has answered 101 with the protocol that was asked for; until then both ends
//! speak HTTP. An idle tunnel lives on; when one end is done, the other gets a moment and both close.

use std::time::Duration;

use hyper::header;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper::{HeaderMap, Method, Version};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio_util::sync::CancellationToken;

use super::rewrite;

/// How long the second half may stay open after the first was closed.
const LINGER: Duration = Duration::from_secs(5);
/// Per direction; twice this is what an idle tunnel costs.
const BUFFER_BYTES: usize = 8 * 1024;

/// Both ends of a tunnel to be, known when the answer 101 has been sent.
pub(crate) struct Tunnel {
    pub(crate) client: OnUpgrade,
    pub(crate) upstream: OnUpgrade,
}

/// Whether a request's head asks for a WebSocket. Other upgrades (`h2c`) are not passed on.
pub(crate) fn is_websocket(method: &Method, version: Version, headers: &HeaderMap) -> bool {
    *method == Method::GET
        && version == Version::HTTP_11
        && rewrite::lists(headers, &header::CONNECTION, "upgrade")
        && names_websocket(headers)
}

/// Whether `Upgrade` names the one protocol that is tunnelled.
pub(crate) fn names_websocket(headers: &HeaderMap) -> bool {
    headers.get(header::UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

impl Tunnel {
    /// Moves bytes until both ends are done, or until cancelled.
    pub(crate) async fn run(self, token: &CancellationToken) {
        let (client, upstream) = match tokio::try_join!(self.client, self.upstream) {
            Ok(ends) => ends,
            Err(error) => {
                tracing::debug!(error = %error, "an upgrade was not completed");
                return;
            }
        };
        let (client_read, client_write) = tokio::io::split(TokioIo::new(client));
        let (upstream_read, upstream_write) = tokio::io::split(TokioIo::new(upstream));
        let mut up = std::pin::pin!(carry(client_read, upstream_write));
        let mut down = std::pin::pin!(carry(upstream_read, client_write));
        // Cancel-safe: what is dropped here closes both sockets, which is what is wanted.
        tokio::select! {
            () = up.as_mut() => { let _late = tokio::time::timeout(LINGER, down).await; }
            () = down.as_mut() => { let _late = tokio::time::timeout(LINGER, up).await; }
            () = token.cancelled() => {}
        }
    }
}

/// Carries one direction to its end and closes it there.
async fn carry(mut from: ReadHalf<TokioIo<Upgraded>>, mut to: WriteHalf<TokioIo<Upgraded>>) {
    let mut buffer = vec![0; BUFFER_BYTES];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if to.write_all(&buffer[..length]).await.is_err() {
            break;
        }
    }
    // The other end may be gone already.
    let _closed = to.shutdown().await;
}
