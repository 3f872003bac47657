//! Lets others reach a port that is only listened on inside: on the container's own address, or over standard input
//! and output.

use std::io;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::net::TcpStream;

use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::endpoint;

/// Connections one forwarded port carries at a time.
const CONNECTIONS: usize = 1_024;

/// Accepts on `listener` and joins every connection with a new one to `target`, until dropped.
pub async fn serve(listener: TcpListener, target: SocketAddr) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((near, _)) = accepted else {
                    // Out of descriptors: let some close first.
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                    continue;
                };
                if connections.len() < CONNECTIONS {
                    connections.spawn(join(near, target));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn join(mut near: tokio::net::TcpStream, target: SocketAddr) {
    let Ok(mut far) = tokio::net::TcpStream::connect(target).await else { return };
    drop(near.set_nodelay(true));
    drop(far.set_nodelay(true));
    drop(tokio::io::copy_bidirectional(&mut near, &mut far).await);
}

/// Joins standard input and output with a port on the loopback interface, until either ends.
///
/// # Errors
/// When nothing listens there, or the connection breaks.
pub fn run(port: u16) -> io::Result<()> {
    let loopbacks =
        [SocketAddr::from((Ipv4Addr::LOCALHOST, port)), SocketAddr::from((Ipv6Addr::LOCALHOST, port))];
    let stream = TcpStream::connect(&loopbacks[..])?;
    stream.set_nodelay(true)?;
    let reader = stream.try_clone()?;
    endpoint::join(reader, stream, |stream| stream.shutdown(std::net::Shutdown::Write))
}
