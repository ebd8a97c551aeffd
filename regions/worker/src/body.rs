//! Bodies of what the worker sends: nothing, bytes at hand, bytes followed by a stream, or a [`pipe`].
//!
//! A pipe ends cleanly only when told so by [`Pipe::end`]. One that is dropped in the middle, because its call was
//! cancelled or failed, breaks the stream: a reader can never take a torn answer for a whole one.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::Incoming;
use tokio::sync::mpsc;

/// Any error of a body.
pub(crate) type BodyError = Box<dyn std::error::Error + Send + Sync>;
/// The body of everything that the worker sends.
pub(crate) type Body = UnsyncBoxBody<Bytes, BodyError>;

/// Frames that wait between container and service: enough to keep both busy, few enough to hold nothing back.
const PIPE_FRAMES: usize = 8;

/// The sender of a pipe was dropped before its end.
#[derive(Debug, thiserror::Error)]
#[error("the stream was broken off before its end")]
pub(crate) struct BrokenOff;

/// The writing end of a body.
#[derive(Debug)]
pub(crate) struct Pipe(mpsc::Sender<Piece>);

/// The reader is gone.
#[derive(Debug)]
pub(crate) struct ReaderGone;

#[derive(Debug)]
enum Piece {
    Frame(Frame<Bytes>),
    End,
}

struct PipeBody {
    pieces: mpsc::Receiver<Piece>,
    /// Looked at already: what comes after the frame that was given last.
    next: Option<Frame<Bytes>>,
    ended: bool,
}

/// A body that is written piece by piece.
pub(crate) fn pipe() -> (Pipe, Body) {
    let (sender, pieces) = mpsc::channel(PIPE_FRAMES);
    let body = PipeBody {
        pieces,
        next: None,
        ended: false,
    };
    (Pipe(sender), body.boxed_unsync())
}

/// No bytes.
pub(crate) fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// Bytes at hand.
pub(crate) fn full(bytes: Bytes) -> Body {
    Full::new(bytes)
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// Bytes at hand, then a stream.
pub(crate) fn continued(start: Bytes, rest: Incoming) -> Body {
    let rest = rest
        .into_data_stream()
        .map(|chunk| chunk.map(Frame::data).map_err(BodyError::from));
    let start = (!start.is_empty()).then(|| Ok(Frame::data(start)));
    StreamBody::new(stream::iter(start).chain(rest)).boxed_unsync()
}

// === impl Pipe ===

impl Pipe {
    /// Writes a frame; waits while the reader is slower.
    pub(crate) async fn send(&self, frame: Frame<Bytes>) -> Result<(), ReaderGone> {
        let piece = Piece::Frame(frame);
        self.0.send(piece).await.map_err(|_| ReaderGone)
    }

    /// Ends the body cleanly.
    pub(crate) async fn end(self) -> Result<(), ReaderGone> {
        self.0.send(Piece::End).await.map_err(|_| ReaderGone)
    }
}

// === impl PipeBody ===

impl http_body::Body for PipeBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let frame = match self.next.take() {
            Some(frame) => frame,
            None => match ready!(self.pieces.poll_recv(cx)) {
                Some(Piece::Frame(frame)) => frame,
                Some(Piece::End) => {
                    self.ended = true;
                    return Poll::Ready(None);
                }
                None => return Poll::Ready(Some(Err(BrokenOff.into()))),
            },
        };
        // An end that is here already goes out with the last frame, and needs none of its own.
        match self.pieces.try_recv() {
            Ok(Piece::Frame(next)) => self.next = Some(next),
            Ok(Piece::End) => self.ended = true,
            // A writer that is gone is noticed when more is asked for.
            Err(_) => {}
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_an_end_is_a_clean_end() {
        let (pipe, body) = pipe();
        pipe.send(Frame::data("a".into())).await.expect("open");
        pipe.end().await.expect("open");
        let whole = body.collect().await.expect("clean").to_bytes();
        assert_eq!(whole, "a");

        let (pipe, body) = super::pipe();
        pipe.send(Frame::data("a".into())).await.expect("open");
        drop(pipe);
        assert!(body.collect().await.is_err(), "dropped in the middle");
    }
}
