//! A socket that gathers what many tasks write at once: what every HTTP/2 connection between invocation service and worker
//! is laid over.
//!
//! On such a connection each stream is a task of its own, and whichever writes first wakes the connection's task, which
//! would send its few bytes at once; the next one's go out by another system call, and wake the other end again. The h2
//! crate also wants each frame of some hundred bytes gone before it makes the next. So what is written here is kept, up to
//! [`KEPT`] bytes, and a flush first lets the tasks run that are ready already; then all goes out. That costs a turn of the
//! scheduler, no time: where nothing else is ready, it goes out in the next instant.
//!
//! So a flush that is done means that the bytes are as good as gone, and that this task is woken to flush again. A connection
//! of the h2 crate reads and flushes whenever it is woken, which is all that is known of HTTP/2 here, besides how a
//! connection of it begins.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How a client begins to speak HTTP/2 (RFC 9113 §3.4), as far as no request of HTTP/1.1 does. Who sends less of it at first is
/// not gathered, and served all the same.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n";
/// What is kept at most: a frame of full size and many small ones. Once something was, the memory stays the connection's.
pub const KEPT: usize = 32 * 1024;
/// Flushes that may pass in one turn of the others. More come only with very many small frames, or where nobody reads, and then
/// nothing is put off.
const FLUSHES: u8 = 64;

/// A stream whose writes wait for other tasks' turns.
#[derive(Debug)]
pub struct Gathering<S> {
    stream: S,
    turn: Turn,
    kept: Vec<u8>,
    /// So much of it is written.
    gone: usize,
}

/// Whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// It is not known yet whether anything is gained: nothing was read.
    Unknown,
    /// Nothing is gained: every write goes out at once.
    Never,
    /// The next flush lets others go first.
    Others,
    /// Others go first, until the writer is woken and reads again. So many flushes were put off.
    Theirs(u8),
    /// What is kept goes out.
    Ours,
}

// === impl Gathering ===

impl<S> Gathering<S> {
    /// For a connection that carries many streams.
    pub const fn new(stream: S) -> Self {
        Self::with(stream, Turn::Others)
    }

    /// For an accepted connection: gathers only if the peer begins to speak HTTP/2.
    pub const fn if_many(stream: S) -> Self {
        Self::with(stream, Turn::Unknown)
    }

    const fn with(stream: S, turn: Turn) -> Self {
        Self {
            stream,
            turn,
            kept: Vec::new(),
            gone: 0,
        }
    }

    const fn keeps(&self) -> bool {
        !matches!(self.turn, Turn::Unknown | Turn::Never)
    }
}

impl<S: AsyncWrite + Unpin> Gathering<S> {
    /// Writes what is kept.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest @ [_, ..]) = self.kept.get(self.gone..) {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.gone += written,
            }
        }
        self.gone = 0;
        self.kept.clear();
        Poll::Ready(Ok(()))
    }

    /// Keeps `pieces`, or writes what is kept to make room for them. `None` if there is none even then.
    fn poll_keep(
        &mut self,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<Option<usize>>> {
        let length = pieces.iter().map(|piece| piece.len()).sum::<usize>();
        if self.kept.len() + length > KEPT {
            ready!(self.poll_drain(cx))?;
        }
        if length > KEPT {
            return Poll::Ready(Ok(None));
        }
        if self.kept.capacity() == 0 {
            self.kept.reserve_exact(KEPT);
        }
        for piece in pieces {
            self.kept.extend_from_slice(piece);
        }
        Poll::Ready(Ok(Some(length)))
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
        match self.turn {
            Turn::Unknown => {
                let first = buf.filled().get(before..).unwrap_or_default();
                if !first.is_empty() {
                    self.turn = match first.starts_with(PREFACE) {
                        true => Turn::Others,
                        false => Turn::Never,
                    };
                }
            }
            Turn::Theirs(_) => self.turn = Turn::Ours,
            Turn::Never | Turn::Others | Turn::Ours => {}
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
        if self.keeps()
            && let Some(kept) = ready!(self.poll_keep(cx, &[IoSlice::new(buf)]))?
        {
            return Poll::Ready(Ok(kept));
        }
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.keeps()
            && let Some(kept) = ready!(self.poll_keep(cx, bufs))?
        {
            return Poll::Ready(Ok(kept));
        }
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.kept.is_empty() {
            match self.turn {
                Turn::Others => {
                    self.turn = Turn::Theirs(1);
                    // To the end of the queue: a task that wakes itself comes after all that are ready.
                    cx.waker().wake_by_ref();
                    return Poll::Ready(Ok(()));
                }
                Turn::Theirs(flushes @ ..FLUSHES) => {
                    self.turn = Turn::Theirs(flushes + 1);
                    return Poll::Ready(Ok(()));
                }
                Turn::Theirs(_) | Turn::Ours | Turn::Unknown | Turn::Never => {
                    self.turn = Turn::Ours;
                    ready!(self.poll_drain(cx))?;
                }
            }
        }
        if matches!(self.turn, Turn::Theirs(_) | Turn::Ours) {
            self.turn = Turn::Others;
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
