//! Opens a port the node answers at, and says who is in the way.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use tokio::net::TcpListener;

use crate::base::fault::Explain;
use crate::base::fault::Kind;

/// A port of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Door {
    /// What people call it: `web port`.
    pub name: &'static str,
    /// The setting that moves it.
    pub setting: &'static str,
    /// The variable of that setting.
    pub variable: &'static str,
}

/// Why a port could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another program has it.
    #[error("port {} is taken by {}, the {} `{address}` cannot be opened", .address.port(), .holder.as_deref().unwrap_or("another program"), .door.name)]
    Taken {
        /// Which port.
        door: Door,
        /// What was to be bound.
        address: SocketAddr,
        /// Who has it, as far as that can be seen from here.
        holder: Option<String>,
        /// What the kernel said.
        source: io::Error,
    },
    /// Ports below 1024 need a privilege.
    #[error("not allowed to open the {} `{address}`", .door.name)]
    Denied {
        /// Which port.
        door: Door,
        /// What was to be bound.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// Anything else: an address this machine does not have.
    #[error("cannot open the {} `{address}`", .door.name)]
    Other {
        /// Which port.
        door: Door,
        /// What was to be bound.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
}

impl Explain for BindError {
    fn kind(&self) -> Kind {
        match self {
            Self::Taken { .. } => Kind::Conflict,
            Self::Denied { .. } => Kind::Denied,
            Self::Other { .. } => Kind::Unavailable,
        }
    }

    fn hint(&self) -> Option<String> {
        let (Self::Taken { door, address, .. }
        | Self::Denied { door, address, .. }
        | Self::Other { door, address, .. }) = self;
        let (port, setting) = (address.port(), format!("`{}` ({})", door.setting, door.variable));
        Some(match self {
            Self::Taken { holder: Some(_), .. } => format!("stop it, or choose another port with {setting}"),
            Self::Taken { holder: None, .. } => format!(
                "stop the program that listens there (`ss -ltnp 'sport = :{port}'` names it), or choose another port with {setting}"
            ),
            Self::Denied { .. } => format!(
                "run the node as root or give it CAP_NET_BIND_SERVICE, or set {setting} to a port above 1023"
            ),
            Self::Other { .. } => {
                format!("set {setting} to an address of this machine, such as 0.0.0.0:{port}")
            }
        })
    }
}

/// Opens a port.
///
/// # Errors
/// Names the port, who has it and the way out when it is taken or forbidden.
pub async fn open(door: Door, address: SocketAddr) -> Result<TcpListener, BindError> {
    TcpListener::bind(address).await.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => {
            BindError::Taken { door, address, holder: holder(address.port(), Path::new("/proc")), source }
        }
        io::ErrorKind::PermissionDenied => BindError::Denied { door, address, source },
        _ => BindError::Other { door, address, source },
    })
}

/// The program that listens on a port, if it can be seen from here: `nginx (process 4711)`.
fn holder(port: u16, proc: &Path) -> Option<String> {
    let tables = ["net/tcp", "net/tcp6"].map(|name| fs::read_to_string(proc.join(name)).unwrap_or_default());
    let inodes: Vec<u64> =
        tables.iter().flat_map(|table| table.lines()).filter_map(|line| listening(line, port)).collect();
    let processes = fs::read_dir(proc).ok()?.filter_map(Result::ok);
    processes.filter(|process| process.file_name().to_string_lossy().parse::<u32>().is_ok()).find_map(
        |process| {
            let mut open = fs::read_dir(process.path().join("fd")).ok()?.filter_map(Result::ok);
            open.find(|fd| fs::metadata(fd.path()).is_ok_and(|found| inodes.contains(&found.ino())))?;
            let name = fs::read_to_string(process.path().join("comm")).ok()?;
            Some(format!("`{}` (process {})", name.trim(), process.file_name().to_string_lossy()))
        },
    )
}

/// The inode of the socket a line of `/proc/net/tcp` is about, if it listens on this port.
fn listening(line: &str, port: u16) -> Option<u64> {
    let mut fields = line.split_whitespace();
    let (local, state, inode) = (fields.nth(1)?, fields.nth(1)?, fields.nth(5)?);
    let of_port = local.rsplit(':').next().and_then(|port| u16::from_str_radix(port, 16).ok()) == Some(port);
    // 0A is LISTEN.
    if of_port && state == "0A" { inode.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOOR: Door = Door { name: "web port", setting: "web.listen", variable: "NEXUS_WEB_LISTEN" };

    #[tokio::test]
    async fn who_has_a_port_is_named() {
        let taken = open(DOOR, "127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = taken.local_addr().unwrap();
        let error = open(DOOR, address).await.unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with(&format!("port {} is taken by `", address.port())), "{text}");
        assert!(text.contains(&format!("(process {})", std::process::id())), "{text}");
        assert_eq!(
            error.hint().unwrap(),
            "stop it, or choose another port with `web.listen` (NEXUS_WEB_LISTEN)"
        );
        assert_eq!(error.kind(), Kind::Conflict);
        assert_eq!(holder(address.port(), Path::new("/nonexistent")), None);
        let elsewhere = open(DOOR, ([192, 0, 2, 1], 1).into()).await.unwrap_err();
        assert_eq!(elsewhere.kind(), Kind::Unavailable);
    }

    #[test]
    fn a_table_s_lines_are_read() {
        let line = "   0: 0100007F:1B9E 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4242 1 0";
        assert_eq!(listening(line, 7070), Some(4242));
        assert_eq!(listening(line, 7071), None);
        assert_eq!(listening(&line.replace(" 0A ", " 01 "), 7070), None);
    }
}
