//! Asked of the kernel with sock_diag(7).

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use netlink_packet_core::NLM_F_DUMP;
use netlink_packet_core::NLM_F_REQUEST;
use netlink_packet_core::NetlinkHeader;
use netlink_packet_core::NetlinkMessage;
use netlink_packet_core::NetlinkPayload;
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::AF_INET;
use netlink_packet_sock_diag::constants::AF_INET6;
use netlink_packet_sock_diag::constants::IPPROTO_TCP;
use netlink_packet_sock_diag::inet::ExtensionFlags;
use netlink_packet_sock_diag::inet::InetRequest;
use netlink_packet_sock_diag::inet::SocketId;
use netlink_packet_sock_diag::inet::StateFlags;
use rustix::fd::OwnedFd;
use rustix::net::AddressFamily;
use rustix::net::RecvFlags;
use rustix::net::SendFlags;
use rustix::net::SocketFlags;
use rustix::net::SocketType;
use rustix::net::netlink;
use rustix::net::sockopt;

/// The kernel answers at once or not at all.
const PATIENCE: Duration = Duration::from_secs(1);
/// The kernel's answers come in pieces of at most so many bytes (netlink(7)).
const PIECE: usize = 32 * 1024;

/// Every socket that listens.
///
/// # Errors
/// As the kernel says: it may have been built without this, or the container may not ask.
pub(super) fn listening() -> io::Result<Vec<SocketAddr>> {
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        Some(netlink::SOCK_DIAG),
    )?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(PATIENCE))?;
    let (mut found, mut piece) = (Vec::new(), vec![0; PIECE]);
    for (family, socket_id) in [(AF_INET, SocketId::new_v4()), (AF_INET6, SocketId::new_v6())] {
        let request = InetRequest {
            family,
            protocol: IPPROTO_TCP,
            extensions: ExtensionFlags::empty(),
            states: StateFlags::LISTEN,
            socket_id,
        };
        ask(&socket, request, &mut piece, &mut found)?;
    }
    Ok(found)
}

/// Adds what one request finds. Each answer is read into `piece`.
fn ask(
    socket: &OwnedFd,
    request: InetRequest,
    piece: &mut [u8],
    found: &mut Vec<SocketAddr>,
) -> io::Result<()> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let mut message = NetlinkMessage::new(header, SockDiagMessage::InetRequest(request).into());
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    rustix::net::send(socket, &bytes, SendFlags::empty())?;
    loop {
        let (length, _) = rustix::net::recv(socket, &mut *piece, RecvFlags::empty())?;
        let mut rest = piece.get(..length).unwrap_or_default();
        while !rest.is_empty() {
            let message = NetlinkMessage::<SockDiagMessage>::deserialize(rest).map_err(io::Error::other)?;
            match message.payload {
                NetlinkPayload::Done(_) => return Ok(()),
                NetlinkPayload::Error(error) => return Err(error.to_io()),
                NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(socket)) => {
                    let id = &socket.header.socket_id;
                    found.push(SocketAddr::new(id.source_address.to_canonical(), id.source_port));
                }
                _ => {}
            }
            let length = usize::try_from(message.header.length).unwrap_or(rest.len());
            rest = rest.get(length.max(1).next_multiple_of(4)..).unwrap_or_default();
        }
    }
}
