//! One message each way at a time, over a Unix socket: a few lines of text, and sockets beside them (SCM_RIGHTS).

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use tokio::io::Interest;
use tokio::net::UnixStream;

/// A message is three addresses at most; what is longer is none of ours.
const LONGEST: usize = 1024;
/// Sockets beside a message; an edge has three ports.
const SOCKETS: usize = 8;

/// Sends a message. It fits a socket's buffer many times, so that a part of it is not sent.
pub(super) async fn send(
    stream: &UnixStream,
    text: &str,
    sockets: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let text = format!("{text}\n");
    let sent = stream
        .async_io(Interest::WRITABLE, || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS))];
            let mut beside = SendAncillaryBuffer::new(&mut space);
            if !sockets.is_empty() && !beside.push(SendAncillaryMessage::ScmRights(sockets)) {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            let parts = [IoSlice::new(text.as_bytes())];
            Ok(sendmsg(stream, &parts, &mut beside, SendFlags::NOSIGNAL)?)
        })
        .await?;
    if sent == text.len() {
        Ok(())
    } else {
        Err(io::ErrorKind::WriteZero.into())
    }
}

/// Receives a message. Each side waits for the other's before it sends its next, so two are never read as one.
pub(super) async fn receive(stream: &UnixStream) -> io::Result<(String, Vec<OwnedFd>)> {
    let mut text = [0; LONGEST];
    let (count, sockets) = stream
        .async_io(Interest::READABLE, || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS))];
            let mut beside = RecvAncillaryBuffer::new(&mut space);
            let parts = &mut [IoSliceMut::new(&mut text)];
            let got = recvmsg(stream, parts, &mut beside, RecvFlags::CMSG_CLOEXEC)?;
            let mut sockets = Vec::new();
            for message in beside.drain() {
                if let RecvAncillaryMessage::ScmRights(fds) = message {
                    sockets.extend(fds);
                }
            }
            Ok((got.bytes, sockets))
        })
        .await?;
    if count == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let text = std::str::from_utf8(&text[..count]).ok();
    match text.and_then(|text| text.strip_suffix('\n')) {
        Some(text) => Ok((text.to_owned(), sockets)),
        None => Err(io::ErrorKind::InvalidData.into()),
    }
}
