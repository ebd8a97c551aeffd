//! The running edge's side of a handover: who comes in, and when it is time to leave.

use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::time::{sleep, timeout};

use super::sockets::Label;
use super::{HELLO, LATE, LEAVING, SERVING, wire};

/// Sockets that a successor gets, and what they are.
pub type Offered = Vec<(Label, std::net::TcpListener)>;

/// Where successors come in. Dropped, it is gone, unless it is a successor's already.
#[derive(Debug)]
pub struct Door {
    listener: UnixListener,
    path: PathBuf,
    inode: u64,
    /// Who opened it: nobody else but the administrator may come in.
    owner: u32,
}

/// Who takes over, and waits to hear that the ports are its own.
#[derive(Debug)]
pub struct Successor {
    /// Its process id.
    pub pid: Option<i32>,
    stream: UnixStream,
}

/// For one word of the other side that it needs nothing for.
const WORD: Duration = Duration::from_secs(5);
/// After a failed accept.
const PAUSE: Duration = Duration::from_millis(100);

// === impl Door ===

impl Door {
    /// Opens it, in the place of whatever was there: the last edge's, by whom the sockets came or that was killed.
    ///
    /// # Errors
    /// If there can be no socket at this path.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}", std::process::id()));
        let aside = path.with_file_name(name);
        let _ = std::fs::remove_file(&aside);
        let listener = UnixListener::bind(&aside)?;
        // Nobody knows that name yet, and who comes in is asked for once more.
        std::fs::set_permissions(&aside, std::fs::Permissions::from_mode(0o600))?;
        let made = std::fs::metadata(&aside)?;
        std::fs::rename(&aside, path)?;
        Ok(Self {
            listener,
            path: path.to_owned(),
            inode: made.ino(),
            owner: made.uid(),
        })
    }

    /// Waits for a successor that serves. Whoever fails before that has changed nothing.
    /// `busy` is told when a handover begins and when one has failed.
    pub async fn successor(
        &self,
        offered: &Offered,
        patience: Duration,
        busy: impl Fn(bool),
    ) -> Successor {
        loop {
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "nobody can come in to take over");
                    sleep(PAUSE).await;
                    continue;
                }
            };
            busy(true);
            match self.hand_over(&stream, offered, patience).await {
                Ok(pid) => return Successor { pid, stream },
                Err(error) => {
                    tracing::error!(%error, "an upgrade has failed; this edge goes on as before");
                    busy(false);
                }
            }
        }
    }

    async fn hand_over(
        &self,
        stream: &UnixStream,
        offered: &Offered,
        patience: Duration,
    ) -> io::Result<Option<i32>> {
        let peer = stream.peer_cred()?;
        if ![0, self.owner].contains(&peer.uid()) {
            return Err(io::Error::other(format!(
                "user {} may not take over",
                peer.uid()
            )));
        }
        let (hello, _) = timeout(WORD, wire::receive(stream)).await??;
        if hello != HELLO {
            wire::send(stream, HELLO, &[]).await?;
            return Err(io::Error::other(format!("`{hello}` is not understood")));
        }
        tracing::info!(pid = peer.pid(), "a successor takes the ports");
        let labels: String = offered
            .iter()
            .map(|(label, _)| format!("\n{label}"))
            .collect();
        let sockets: Vec<_> = offered.iter().map(|(_, s)| s.as_fd()).collect();
        wire::send(stream, &format!("{HELLO}{labels}"), &sockets).await?;
        match timeout(patience + WORD, wire::receive(stream)).await {
            Ok(Ok((word, _))) if word == SERVING => Ok(peer.pid()),
            Ok(Ok((word, _))) => Err(io::Error::other(format!("`{word}` is not understood"))),
            Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Err(
                io::Error::other("the successor ended before it served; its log says why"),
            ),
            Ok(Err(error)) => Err(error),
            Err(_) => {
                let _ = wire::send(stream, LATE, &[]).await;
                Err(io::Error::other("the successor is not ready in time"))
            }
        }
    }
}

// === impl Successor ===

impl Successor {
    /// Tells it that nothing is accepted here any more.
    pub async fn leave(&self) {
        // It serves: whether it hears this changes nothing any more.
        let _ = timeout(WORD, wire::send(&self.stream, LEAVING, &[])).await;
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        if std::fs::metadata(&self.path).is_ok_and(|m| m.ino() == self.inode) {
            // A socket that is left behind is only replaced later.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
