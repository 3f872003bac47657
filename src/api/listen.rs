//! Serves the router on the control port and on the local socket: bounded in connections, headers and time.

use std::future::Future;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::rt::TokioTimer;
use hyper_util::service::TowerToHyperService;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::net::TcpListener;
use tokio::net::UnixListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::door::Peer;
use super::stall::Stall;
use crate::base::tasks::TaskGroup;

/// Connections of one listener at a time: 500 followers of logs and room to work.
const CONNECTIONS_MAX: usize = 1024;
/// For a request's headers, and for the next request on an idle connection.
const HEADERS_TIME: Duration = Duration::from_secs(15);
/// For a reader to take something of what is written to it.
const STALL_TIME: Duration = Duration::from_secs(60);
const BUFFER_BYTES: usize = 32 * 1024;
/// For requests under way when the node closes.
const DRAIN_TIME: Duration = Duration::from_secs(5);

/// Opens the local socket for its owner alone; a socket left behind by a dead node is replaced.
///
/// # Errors
/// When the directory cannot be written. That no other node lives here is the home's lock to say.
pub fn bind_local(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // Bound under a private directory first: between bind and chmod a socket has the umask's mode.
    let private =
        tempfile::Builder::new().prefix(".sock").tempdir_in(path.parent().unwrap_or(Path::new("/")))?;
    let hidden = private.path().join("s");
    let listener = UnixListener::bind(&hidden)?;
    std::fs::set_permissions(&hidden, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(&hidden, path)?;
    Ok(listener)
}

/// The names this machine calls itself, for [`super::origin::Names`]: its host name, and that with `.local`.
pub fn machine_names() -> Vec<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" | "(none)" => vec![],
        name => vec![name.to_owned(), format!("{name}.local")],
    }
}

/// Serves the control port until told, then lets requests under way end.
pub async fn serve_control(listener: TcpListener, router: Router, token: CancellationToken) {
    let accept = || async {
        let (stream, address) = listener.accept().await?;
        stream.set_nodelay(true)?;
        Ok((stream, Peer::Tcp(address)))
    };
    serve(accept, router, token).await;
}

/// Serves the local socket until told, then lets requests under way end.
pub async fn serve_local(listener: UnixListener, router: Router, token: CancellationToken) {
    let accept = || async {
        let (stream, _) = listener.accept().await?;
        Ok((stream, Peer::Local))
    };
    serve(accept, router, token).await;
}

async fn serve<S, F>(accept: impl Fn() -> F, router: Router, token: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Future<Output = io::Result<(S, Peer)>>,
{
    let mut connections = TaskGroup::new("control", &token);
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        // Cancel-safe: a place is given back when its permit is dropped, and accept loses no connection.
        let accepted = tokio::select! {
            () = token.cancelled() => break,
            place = Arc::clone(&places).acquire_owned() => tokio::select! {
                () = token.cancelled() => break,
                accepted = accept() => accepted.map(|(stream, peer)| (stream, peer, place)),
            },
        };
        match accepted {
            Ok((stream, peer, place)) => {
                let router = router.clone().layer(Extension(peer));
                let token = connections.token();
                connections.spawn("connection", async move {
                    connection(stream, router, token).await;
                    drop(place);
                });
            }
            Err(error) => {
                // Out of file descriptors, or the peer has gone: neither ends the door.
                tracing::debug!(error = %error, "a connection was not accepted");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
    connections.close(DRAIN_TIME).await;
}

async fn connection<S>(stream: S, router: Router, token: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_TIME)
        .max_buf_size(BUFFER_BYTES)
        .serve_connection(TokioIo::new(Stall::new(stream, STALL_TIME)), TowerToHyperService::new(router))
        .with_upgrades();
    let mut served = std::pin::pin!(served);
    // Cancel-safe: the connection is polled on after it was asked to end.
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = token.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error = %error, "a connection ended early");
    }
}
