//! A socket that gathers what many tasks write at once: what every HTTP/2 connection between invocation service and worker
//! is laid over.
//!
//! On such a connection each stream is a task of its own, and whichever writes first wakes the connection's task, which
//! would send its few bytes at once; the next one's go out by another system call, and wake the other end again. So a
//! write here first lets the tasks run that are ready already, and then goes out with all of theirs. That costs a turn of
//! the scheduler, no time: where nothing else is ready, it goes out in the next instant.
//!
//! Knows nothing of HTTP/2 but how a connection of it begins.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How a client begins to speak HTTP/2 (RFC 9113 §3.4), as far as no other protocol does.
const PREFACE: &[u8] = b"PRI ";

/// A stream whose writes wait for other tasks' turns.
#[derive(Debug)]
pub struct Gathering<S> {
    stream: S,
    turn: Turn,
}

/// Where the next write stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// It is not known yet whether anything is gained: nothing was read.
    Unknown,
    /// Nothing is gained: every write goes out at once.
    Never,
    /// The next write lets others go first.
    Others,
    /// Others go first; their turn is over when the writer is polled again.
    Theirs,
    /// Writes go out, until what there was is flushed.
    Ours,
}

// === impl Gathering ===

impl<S> Gathering<S> {
    /// For a connection that carries many streams.
    pub const fn new(stream: S) -> Self {
        Self {
            stream,
            turn: Turn::Others,
        }
    }

    /// For an accepted connection: gathers only if the peer begins to speak HTTP/2.
    pub const fn if_many(stream: S) -> Self {
        Self {
            stream,
            turn: Turn::Unknown,
        }
    }

    /// Whether a write may go out now; else the task is woken when the others have had their turn.
    fn poll_turn(&mut self, cx: &Context<'_>) -> Poll<()> {
        match self.turn {
            Turn::Others => {
                self.turn = Turn::Theirs;
                // To the end of the queue: a task that wakes itself comes after all that are ready.
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Turn::Theirs => {
                self.turn = Turn::Ours;
                Poll::Ready(())
            }
            Turn::Unknown | Turn::Never | Turn::Ours => Poll::Ready(()),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gathering<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if self.turn == Turn::Unknown {
            let first = buf.filled().get(before..).unwrap_or_default();
            if !first.is_empty() {
                self.turn = match first.starts_with(PREFACE) {
                    true => Turn::Others,
                    false => Turn::Never,
                };
            }
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gathering<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_turn(cx));
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_turn(cx));
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        if flushed.is_ready() && self.turn == Turn::Ours {
            self.turn = Turn::Others;
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
