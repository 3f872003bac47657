//! The accept loop of every listener: so many connections at a time, a task each, a drain at the end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::net::UnixListener;
use tokio::net::UnixStream;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::fault::chain;
use super::tasks::TaskGroup;

/// Pause after running out of descriptors: short enough to go unnoticed, long enough not to spin.
const BREATH: Duration = Duration::from_millis(100);

/// Whatever hands out connections.
pub trait Accept {
    /// What it hands out.
    type Connection;

    /// Waits for the next one. Cancel-safe: no connection is lost.
    fn accept(&self) -> impl Future<Output = io::Result<Self::Connection>> + Send;
}

impl Accept for TcpListener {
    type Connection = (TcpStream, SocketAddr);

    fn accept(&self) -> impl Future<Output = io::Result<Self::Connection>> + Send {
        self.accept()
    }
}

impl Accept for UnixListener {
    type Connection = UnixStream;

    async fn accept(&self) -> io::Result<UnixStream> {
        self.accept().await.map(|(stream, _)| stream)
    }
}

/// What the connections of a listener are bound to.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// What it is called in the log.
    pub name: &'static str,
    /// Connections served at once; more wait in the kernel's queue.
    pub connections_max: usize,
    /// How long connections may go on once the node closes.
    pub drain: Duration,
}

/// Serves each connection until told, then stops listening and waits for those under way.
pub async fn accept<L, F>(
    listener: L,
    bounds: Bounds,
    token: &CancellationToken,
    mut serve: impl FnMut(L::Connection) -> F,
) where
    L: Accept,
    F: Future<Output = ()> + Send + 'static,
{
    let mut connections = TaskGroup::new(bounds.name, token);
    let places = Arc::new(Semaphore::new(bounds.connections_max));
    let mut complaint = Complaint::default();
    while let Some(place) = until(token, Arc::clone(&places).acquire_owned()).await {
        match until(token, listener.accept()).await {
            None => break,
            Some(Ok(connection)) => {
                let served = serve(connection);
                connections.spawn("connection", async move {
                    served.await;
                    drop(place);
                });
            }
            Some(Err(error)) => {
                complaint.accept_failed(bounds.name, &error);
                // Out of descriptors: they come back when connections end. Anything else is over at once.
                if is_exhausted(&error) && until(token, tokio::time::sleep(BREATH)).await.is_none() {
                    break;
                }
            }
        }
    }
    drop(listener);
    connections.close(bounds.drain).await;
}

/// The future's result, or `None` once cancelled. Cancel-safe for accepting, waiting for a place, and sleeping.
async fn until<T>(token: &CancellationToken, future: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        () = token.cancelled() => None,
        result = future => Some(result),
    }
}

/// EMFILE, ENFILE, ENOBUFS, ENOMEM.
fn is_exhausted(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(24 | 23 | 105 | 12))
}

/// Says that accepting fails, at most every ten seconds.
#[derive(Default)]
struct Complaint {
    last: Option<Instant>,
}

impl Complaint {
    fn accept_failed(&mut self, listener: &'static str, error: &io::Error) {
        if self.last.is_none_or(|last| last.elapsed() >= Duration::from_secs(10)) {
            self.last = Some(Instant::now());
            tracing::warn!(listener, error = %chain(error), "connections cannot be accepted");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::sync::mpsc;

    use super::*;

    /// Hands out what a test puts in: connections, errors.
    struct Script(tokio::sync::Mutex<mpsc::Receiver<io::Result<u8>>>);

    impl Accept for Script {
        type Connection = u8;

        async fn accept(&self) -> io::Result<u8> {
            match self.0.lock().await.recv().await {
                Some(next) => next,
                None => std::future::pending().await,
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn errors_end_nothing_and_places_are_given_back() {
        let (script, listener) = mpsc::channel(8);
        for next in [Ok(1), Err(io::Error::from_raw_os_error(24)), Ok(2), Ok(3)] {
            script.send(next).await.unwrap();
        }
        let bounds = Bounds { name: "test", connections_max: 1, drain: Duration::from_secs(1) };
        let (token, served) = (CancellationToken::new(), Arc::new(Mutex::new(Vec::new())));
        let listener = Script(tokio::sync::Mutex::new(listener));
        accept(listener, bounds, &token, |connection| {
            let (served, token) = (Arc::clone(&served), token.clone());
            async move {
                served.lock().unwrap().push(connection);
                if connection == 3 {
                    token.cancel();
                }
            }
        })
        .await;
        assert_eq!(*served.lock().unwrap(), [1, 2, 3]);
    }
}
