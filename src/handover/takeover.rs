//! The successor's side of a handover, and the sockets that systemd hands to a service at its start.

use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use listenfd::ListenFd;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::door::Offered;
use super::sockets::Label;
use super::{HELLO, LATE, SERVING, wire};

/// Why a running edge cannot be succeeded.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// The configuration does not say where.
    #[error("--upgrade needs to know where the running edge is found: set [upgrade] socket")]
    NoSocket,
    /// Nobody is there.
    #[error(
        "no running edge is found at {path}: {source}; start this one without --upgrade if none runs, and look \
         whether the running one has the same [upgrade] socket"
    )]
    Nobody {
        /// Where.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// It says something else.
    #[error("the running edge does not hand over its ports: {0}")]
    Refused(String),
    /// Not in time, or broken off.
    #[error("the running edge broke off the handover: {0}")]
    Broken(#[from] io::Error),
}

/// A handover that is under way. Dropped, it is off, and the running edge goes on as before.
#[derive(Debug)]
pub struct Takeover(UnixStream);

/// For one answer of the running edge, which does nothing else first.
const WORD: Duration = Duration::from_secs(10);

/// The sockets that systemd opened for this process, if it did. To be called before there is a second thread, because it
/// clears the variables that say so: they are not for the processes that this one starts.
///
/// # Errors
/// If one of them is no listening TCP socket.
pub fn activated() -> io::Result<Offered> {
    let mut all = ListenFd::from_env();
    let mut offered = Vec::new();
    for number in 0..all.len() {
        if let Some(socket) = all.take_tcp_listener(number)? {
            offered.push(labelled(socket)?);
        }
    }
    Ok(offered)
}

fn labelled(socket: TcpListener) -> io::Result<(Label, TcpListener)> {
    let label = Label {
        port: None,
        address: socket.local_addr()?,
    };
    Ok((label, socket))
}

// === impl Takeover ===

impl Takeover {
    /// Asks the running edge for its sockets. It goes on using them.
    ///
    /// # Errors
    /// If nobody is there, or somebody who does not hand over.
    pub async fn begin(path: &Path) -> Result<(Self, Offered), HandoverError> {
        let stream = UnixStream::connect(path)
            .await
            .map_err(|source| HandoverError::Nobody {
                path: path.to_owned(),
                source,
            })?;
        wire::send(&stream, HELLO, &[]).await?;
        let answer = timeout(WORD, wire::receive(&stream)).await;
        let (text, sockets) = answer.map_err(io::Error::from)??;
        let mut lines = text.lines();
        if lines.next() != Some(HELLO) {
            return Err(HandoverError::Refused(text));
        }
        let labels: Result<Vec<Label>, _> = lines.map(str::parse).collect();
        let labels = labels.map_err(|e| HandoverError::Refused(e.to_string()))?;
        if labels.is_empty() || labels.len() != sockets.len() {
            let text = format!("{} sockets for `{text}`", sockets.len());
            return Err(HandoverError::Refused(text));
        }
        let sockets = sockets.into_iter().map(TcpListener::from);
        Ok((Self(stream), labels.into_iter().zip(sockets).collect()))
    }

    /// Says that this process serves; returns when the other one has stopped accepting or is gone.
    ///
    /// # Errors
    /// If the other one has given up waiting, and goes on.
    pub async fn finish(self) -> Result<(), HandoverError> {
        // It may be gone, killed in this very moment: then there is one more reason to serve.
        let _ = wire::send(&self.0, SERVING, &[]).await;
        match timeout(WORD, wire::receive(&self.0)).await {
            Ok(Ok((word, _))) if word == LATE => Err(HandoverError::Refused(
                "it waited too long for this one to become ready".to_owned(),
            )),
            _ => Ok(()),
        }
    }
}
