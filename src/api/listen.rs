//! Serves the router on the control port and on the local socket: bounded in connections, headers and time.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
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
use tokio_util::sync::CancellationToken;

use super::door::Peer;
use super::stall::Stall;
use crate::base::accept::Bounds;
use crate::base::accept::accept;

/// 500 followers of logs and room to work, on each listener.
const BOUNDS: Bounds = Bounds { name: "control", connections_max: 1024, drain: Duration::from_secs(5) };
/// For a request's headers, and for the next request on an idle connection.
const HEADERS_TIME: Duration = Duration::from_secs(15);
/// For a reader to take something of what is written to it.
const STALL_TIME: Duration = Duration::from_secs(60);
const BUFFER_BYTES: usize = 32 * 1024;

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
    accept(listener, BOUNDS, &token, |(stream, address)| {
        // Events are small: they leave at once. Not worth failing a connection for.
        let _nodelay = stream.set_nodelay(true);
        connection(stream, router.clone().layer(Extension(Peer::Tcp(address))), token.clone())
    })
    .await;
}

/// Serves the local socket until told, then lets requests under way end.
pub async fn serve_local(listener: UnixListener, router: Router, token: CancellationToken) {
    let router = router.layer(Extension(Peer::Local));
    accept(listener, BOUNDS, &token, |stream| connection(stream, router.clone(), token.clone())).await;
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
