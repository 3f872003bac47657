//! The accept loop: so many connections at a time, a task each, until dropped.

use std::io;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::net::UnixListener;
use tokio::net::UnixStream;
use tokio::task::JoinSet;

/// Pause after a connection that was not accepted: out of descriptors, which come back when connections end.
const BREATH: Duration = Duration::from_millis(50);

/// Whatever hands out connections.
pub(crate) trait Accept {
    /// What it hands out.
    type Stream;

    /// Waits for the next one. Cancel-safe: no connection is lost.
    fn accept(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

impl Accept for TcpListener {
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<TcpStream> {
        self.accept().await.map(|(stream, _)| stream)
    }
}

impl Accept for UnixListener {
    type Stream = UnixStream;

    async fn accept(&self) -> io::Result<UnixStream> {
        self.accept().await.map(|(stream, _)| stream)
    }
}

/// Serves up to `most` connections at a time; more wait in the kernel's queue. Those under way end with the loop.
pub(crate) async fn accept<L, F>(listener: L, most: usize, serve: impl Fn(L::Stream) -> F)
where
    L: Accept,
    F: Future<Output = ()> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < most => match accepted {
                Ok(stream) => drop(connections.spawn(serve(stream))),
                Err(_) => tokio::time::sleep(BREATH).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}
