//! Joins standard input and output with the init's control socket: what the node runs with `exec` to reach it.
//!
//! No runtime and two threads: it is started once per connection, and on the way of every byte.

use std::fs::File;
use std::io;
use std::io::Read;
use std::io::Write;
use std::net::Shutdown;
use std::os::fd::AsFd as _;
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
    // As plain files: the standard library's own would gather bytes until a line ends.
    let mut input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    // Never joined: it waits for input that may not come, and ends with the process.
    std::thread::spawn(move || {
        drop(copy(&mut input, &mut writer));
        drop(shut(&writer));
    });
    copy(&mut reader, &mut output)
}

/// Every byte at once. `io::copy` would let the kernel splice, and that may hold a short message back until more comes.
fn copy(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => to.write_all(&buffer[..count])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
