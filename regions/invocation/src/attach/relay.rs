//! The caller's end of a worker's stream: reads the head of the answer, then is the body of the caller's response.
//!
//! Passes each frame on as it comes, trailers too, and holds at most one, unless told to take in what there is room for
//! while the caller is not there. A stream that breaks, or ends before the
//! length the container announced, ends the caller's body with an error: never clean.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use frontdoor_protocol::attach::pieces::Pieces;
use frontdoor_protocol::attach::{HeadError, ResponseHead};
use http::header::CONTENT_LENGTH;
use http::{Method, StatusCode};
use http_body::{Body as _, Frame};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use super::body::BodyError;
use super::closing::Close;
use super::desk::{Arrival, Call};
use super::shelf::{Room, Shelf};
use super::some;
use crate::pending::Event;
use crate::record::{Ended, Record};
use crate::respond::{self, Outcome};

/// Why there is no head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HeadFault {
    /// The stream ended or broke first.
    Lost,
    /// What came is none.
    Malformed(HeadError),
}

/// Reads the head of an answer, and what of the body came with it.
pub(crate) async fn read_head(
    stream: &mut Incoming,
) -> Result<(ResponseHead, Option<Bytes>), HeadFault> {
    let mut pieces = Pieces::default();
    loop {
        let piece = next_data(stream).await?;
        if let Some((head, rest)) = pieces.add(piece).map_err(HeadFault::Malformed)? {
            return Ok((head, some(rest)));
        }
    }
}

async fn next_data(stream: &mut Incoming) -> Result<Bytes, HeadFault> {
    loop {
        match stream.frame().await {
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(data);
                }
            }
            Some(Err(_)) | None => return Err(HeadFault::Lost),
        }
    }
}

/// The body of an answer on its way from a worker to a caller.
pub(crate) struct Relay {
    /// Taken in while nobody read, and its room.
    taken: VecDeque<Frame<Bytes>>,
    room: Option<Room>,
    first: Option<Bytes>,
    stream: Incoming,
    length: Length,
    complete: bool,
    broken: bool,
    call: Call,
    closing: Option<Close>,
    /// `None` once the caller gets something else than this.
    record: Option<Arc<Record>>,
    status: StatusCode,
    first_byte: Duration,
    /// Bytes passed on.
    sent: u64,
}

/// How much body is still due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Length {
    /// None at all: the answer to a HEAD, a 204 or a 304.
    Bodiless,
    /// So much, as the container said.
    Left(u64),
    /// Until the stream ends.
    Open,
}

// === impl Relay ===

impl Relay {
    /// The body that follows `head`; `first` of it came with the head.
    pub(crate) fn new(
        method: &Method,
        head: &ResponseHead,
        first: Option<Bytes>,
        arrival: Arrival,
        call: Call,
        record: Arc<Record>,
    ) -> Self {
        // The head is here, so only the caller's leaving could make this moot, and then this is dropped next.
        let _ = call.apply(Event::BodyBegan);
        Self {
            taken: VecDeque::new(),
            room: None,
            first,
            stream: arrival.stream,
            length: Length::of(method, head),
            complete: false,
            broken: false,
            call,
            closing: Some(arrival.closing),
            status: head.status,
            first_byte: record.age(),
            record: Some(record),
            sent: 0,
        }
    }

    /// The caller gets something else: how the call ended is for whoever says so to note.
    pub(crate) fn disown(&mut self) {
        self.record = None;
    }

    /// Takes in what comes, up to `each` bytes and the room on the shelf. A stream that ends by then is done with for its
    /// worker, though its caller has not seen it; of what is longer, the rest waits where it is.
    pub(crate) async fn take_in(&mut self, shelf: &Arc<Shelf>, each: usize) {
        let room = self.room.get_or_insert_with(|| Room::none(shelf));
        let mut full = room.bytes() >= each;
        while !full {
            // Nothing is lost if this is dropped: a frame is kept in the moment it comes.
            let filled = poll_fn(|cx| {
                Poll::Ready(match ready!(self.poll_stream(cx)) {
                    Some(Ok(frame)) => {
                        let size = frame.data_ref().map_or(0, Bytes::len);
                        self.taken.push_back(frame);
                        // One piece more than there is room for has nowhere to go back to.
                        let room = self.room.as_mut();
                        room.is_none_or(|room| !room.grow(size) || room.bytes() >= each)
                    }
                    Some(Err(_)) | None => true,
                })
            });
            full = filled.await;
        }
        if self.complete {
            let _ = self.call.apply(Event::BodyEnded);
            self.tell();
        }
    }

    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.taken.pop_front() {
            Some(frame) => Poll::Ready(Some(Ok(frame))),
            None => self.poll_stream(cx),
        }
    }

    fn poll_stream(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.broken {
            return Poll::Ready(Some(Err(BodyError::WorkerLost)));
        }
        if self.length == Length::Bodiless || self.complete {
            self.complete = true;
            return Poll::Ready(None);
        }
        let frame = match self.first.take() {
            Some(first) => Some(Ok(Frame::data(first))),
            None => ready!(Pin::new(&mut self.stream).poll_frame(cx)),
        };
        Poll::Ready(match frame {
            Some(Ok(frame)) => Some(self.pass(frame)),
            None if matches!(self.length, Length::Left(1..)) => Some(Err(self.break_off())),
            None => {
                self.complete = true;
                None
            }
            Some(Err(_)) => Some(Err(self.break_off())),
        })
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.taken.is_empty() && !self.broken && self.stream_ended()
    }

    fn stream_ended(&self) -> bool {
        match self.length {
            _ if self.complete => true,
            Length::Bodiless => true,
            Length::Left(1..) => self.complete,
            Length::Left(0) | Length::Open => self.first.is_none() && self.stream.is_end_stream(),
        }
    }

    fn pass(&mut self, frame: Frame<Bytes>) -> Result<Frame<Bytes>, BodyError> {
        match frame.into_data() {
            Ok(data) => {
                let size = u64::try_from(data.len()).unwrap_or(u64::MAX);
                self.sent = self.sent.saturating_add(size);
                if let Length::Left(left) = self.length {
                    let Some(left) = left.checked_sub(size) else {
                        return Err(self.break_off());
                    };
                    self.length = Length::Left(left);
                }
                Ok(Frame::data(data))
            }
            Err(frame) => {
                self.complete = !matches!(self.length, Length::Left(1..));
                match frame.into_trailers() {
                    Ok(trailers) => Ok(Frame::trailers(respond::trailers(trailers))),
                    Err(frame) => Ok(frame),
                }
            }
        }
    }

    fn break_off(&mut self) -> BodyError {
        self.broken = true;
        let _ = self.call.apply(Event::WorkerLost);
        BodyError::WorkerLost
    }

    /// Tells the worker, once, that the caller has everything.
    fn tell(&mut self) {
        if let Some(closing) = self.closing.take() {
            closing.complete();
        }
    }

    /// Whether the caller has all there is. A connection may stop asking once the announced length is reached.
    fn is_served(&self) -> bool {
        let all = matches!(self.length, Length::Bodiless | Length::Left(0));
        !self.broken && self.taken.is_empty() && (all || self.stream_ended())
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let outcome = if self.is_served() {
            let _ = self.call.apply(Event::BodyEnded);
            self.tell();
            Outcome::Answered
        } else if self.broken {
            Outcome::Broken
        } else {
            Outcome::CallerLeft
        };
        if let Some(record) = &self.record {
            record.end(&Ended {
                outcome,
                status: Some(self.status),
                version: Some(self.call.version().id),
                first_byte: Some(self.first_byte),
                sent: self.sent,
            });
        }
    }
}

// === impl Length ===

impl Length {
    fn of(method: &Method, head: &ResponseHead) -> Self {
        let bodiless = method == Method::HEAD
            || matches!(
                head.status,
                StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
            );
        if bodiless {
            return Self::Bodiless;
        }
        head.headers
            .get(CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok())
            .and_then(|text| text.parse().ok())
            .map_or(Self::Open, Self::Left)
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::*;

    #[test]
    fn how_much_body_is_due() {
        let head = |status, length: Option<&'static str>| ResponseHead {
            status,
            headers: length
                .map(|l| (CONTENT_LENGTH, HeaderValue::from_static(l)))
                .into_iter()
                .collect::<HeaderMap>(),
        };
        let ok = StatusCode::OK;
        for (method, head, due) in [
            (Method::GET, head(ok, None), Length::Open),
            (Method::GET, head(ok, Some("5")), Length::Left(5)),
            (Method::GET, head(ok, Some("x")), Length::Open),
            (Method::HEAD, head(ok, Some("5")), Length::Bodiless),
            (
                Method::GET,
                head(StatusCode::NO_CONTENT, None),
                Length::Bodiless,
            ),
            (
                Method::GET,
                head(StatusCode::NOT_MODIFIED, Some("5")),
                Length::Bodiless,
            ),
        ] {
            assert_eq!(Length::of(&method, &head), due, "{method} {head:?}");
        }
    }
}
