//! Joins standard input and output with the init's control socket: what the node runs with `exec` to reach it.
//!
//! No runtime, two threads, and the kernel moves the bytes where it can: it is started once per connection, and on the
//! way of every byte.

use std::io;
use std::io::Read;
use std::io::Write;
use std::net::Shutdown;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::time::Duration;
use std::time::Instant;

/// The control socket's name in the abstract namespace, which is the container's own.
pub const SOCKET: &str = "nexus-agent";

/// How long the init may take to listen: it and the endpoint may be started at the same moment.
const PATIENCE: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(5);

/// Connects to the init, waiting a moment for it to be there.
///
/// # Errors
/// When it does not listen in time.
pub fn connect(name: &str) -> io::Result<UnixStream> {
    let address = SocketAddr::from_abstract_name(name)?;
    let started = Instant::now();
    loop {
        match UnixStream::connect_addr(&address) {
            Err(error)
                if error.kind() == io::ErrorKind::ConnectionRefused && started.elapsed() < PATIENCE =>
            {
                #[expect(
                    clippy::disallowed_methods,
                    reason = "a process of its own with nothing else to do"
                )]
                std::thread::sleep(PAUSE);
            }
            other => return other,
        }
    }
}

/// Runs until either side ends.
///
/// # Errors
/// When the init is not there or the connection breaks.
pub fn run(name: &str) -> io::Result<()> {
    let stream = connect(name)?;
    let reader = stream.try_clone()?;
    join(reader, stream, |stream| stream.shutdown(Shutdown::Write))
}

/// Copies standard input to `writer` and `reader` to standard output; ends with the latter.
pub(crate) fn join<R: Read, W: Write + Send + 'static>(
    mut reader: R,
    mut writer: W,
    shut: impl FnOnce(&W) -> io::Result<()> + Send + 'static,
) -> io::Result<()> {
    // Never joined: it waits for input that may not come, and ends with the process.
    std::thread::spawn(move || {
        drop(io::copy(&mut io::stdin().lock(), &mut writer));
        drop(shut(&writer));
    });
    let mut output = io::stdout().lock();
    io::copy(&mut reader, &mut output)?;
    output.flush()
}
