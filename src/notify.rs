//! Words to the service manager (`Type=notify` of systemd): that this process serves, stops, or has a successor.
//!
//! One datagram to the socket that `NOTIFY_SOCKET` names; without it nobody asked. Nothing here can fail the edge.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// What there is to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// The ports are served.
    Ready,
    /// It stops.
    Stopping,
    /// Another process serves from now on.
    Successor(i32),
}

/// Tells the service manager, if there is one.
pub fn tell(word: Word) {
    if let Some(socket) = std::env::var_os("NOTIFY_SOCKET")
        && let Err(error) = send(&socket, &text(word))
    {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}

fn text(word: Word) -> String {
    match word {
        Word::Ready => "READY=1".to_owned(),
        Word::Stopping => "STOPPING=1".to_owned(),
        Word::Successor(pid) => format!("MAINPID={pid}"),
    }
}

fn send(socket: &OsStr, text: &str) -> io::Result<()> {
    // A leading `@` stands for a name that is not in the file system.
    let address = match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    let from = UnixDatagram::unbound()?;
    // A manager that does not read must not hold up the edge.
    from.set_nonblocking(true)?;
    from.send_to_addr(text.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manager_hears_by_path_and_by_abstract_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notify");
        let name = format!("frontdoor-notify-{}", std::process::id());
        let abstract_name = SocketAddr::from_abstract_name(&name).expect("a name");
        for (managed, socket) in [
            (UnixDatagram::bind(&path), path.as_os_str().to_owned()),
            (
                UnixDatagram::bind_addr(&abstract_name),
                format!("@{name}").into(),
            ),
        ] {
            let managed = managed.expect("a socket");
            for (word, wanted) in [
                (Word::Ready, "READY=1"),
                (Word::Stopping, "STOPPING=1"),
                (Word::Successor(17), "MAINPID=17"),
            ] {
                send(&socket, &text(word)).expect("sent");
                let mut heard = [0; 64];
                let count = managed.recv(&mut heard).expect("heard");
                assert_eq!(&heard[..count], wanted.as_bytes());
            }
        }
        assert!(send(OsStr::new("/no/such/socket"), "READY=1").is_err());
    }
}
