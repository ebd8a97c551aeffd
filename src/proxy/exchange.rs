//! One attempt on the wire: head and body to a region, head and body back, both ways at the same time.
//!
//! It moves bytes and says how that went; whether a call goes on elsewhere is decided by `proxy.rs`. Both sides hold each
//! other back: a piece of an answer is read when the piece before was taken by the caller, a piece of a body when the piece
//! before was taken by the region. A caller who leaves is noticed at once, and dropping the exchange tells the region.

use std::future::poll_fn;
use std::pin::Pin;

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{RecvStream, SendStream};
use http::HeaderMap;
use pingora_core::Error;
use pingora_core::protocols::http::ServerSession;
use tokio::time::{Instant, Sleep, timeout_at};

use super::replay::Replay;
use crate::config::CallLimits;
use crate::upstream::Lease;

/// The part of a call's body that one attempt has to send: first what was kept, then what still comes.
pub(super) struct Upload {
    stream: Option<SendStream<Bytes>>,
    /// What an attempt before this one has read already.
    kept: std::vec::IntoIter<Bytes>,
    pending: Bytes,
    /// Nothing comes after `pending`.
    last: bool,
    /// The end is sent, or the region wants no more.
    done: bool,
    /// Until when the next piece must be there, if one is waited for: kept, because waits are dropped and begun again.
    due: Option<Instant>,
    limits: CallLimits,
}

/// An attempt under way.
pub(super) struct Exchange {
    pub(super) lease: Lease,
    upload: Upload,
    answer: ResponseFuture,
    /// The answer to what was said beside; it tells nothing.
    mentioned: Option<ResponseFuture>,
}

/// How an exchange failed.
pub(super) enum Broken {
    /// The caller left, or what it sent is no HTTP.
    Caller(Box<Error>),
    /// The caller sends its body too slowly, or reads too slowly.
    SlowCaller,
    /// The body is larger than it may be.
    LargeBody,
    /// The region's side.
    Region(h2::Error),
    /// The region's connection is silent, and the call may move.
    Suspect,
    /// Nothing came within the caller's time.
    Late,
}

/// A piece of an answer.
enum Piece {
    Data(Bytes),
    Trailers(HeaderMap),
    End,
}

// === impl Exchange ===

impl Exchange {
    /// Sends the head.
    ///
    /// # Errors
    /// If the connection takes it not: nothing was sent.
    pub(super) fn open(
        lease: Lease,
        request: http::Request<()>,
        session: &mut ServerSession,
        replay: &Replay,
        limits: &CallLimits,
    ) -> Result<Self, h2::Error> {
        let kept = replay.chunks().map(<[Bytes]>::to_vec).unwrap_or_default();
        let bodiless = kept.is_empty() && session.is_body_done();
        let (answer, stream) = lease
            .send(request, bodiless)
            .inspect_err(|_| lease.retire())?;
        let upload = Upload {
            stream: (!bodiless).then_some(stream),
            kept: kept.into_iter(),
            pending: Bytes::new(),
            last: bodiless,
            done: bodiless,
            due: None,
            limits: *limits,
        };
        Ok(Self {
            lease,
            upload,
            answer,
            mentioned: None,
        })
    }

    /// Says something else on the same connection, and whether that took it; nothing is heard of it.
    pub(super) fn mention(&mut self, request: http::Request<()>) -> bool {
        let sent = self.lease.send(request, true);
        self.mentioned = sent.ok().map(|(answer, _)| answer);
        self.mentioned.is_some()
    }

    /// Sends the body until the answer's head is there. May be called again after [`Broken::Suspect`].
    pub(super) async fn head(
        &mut self,
        session: &mut ServerSession,
        replay: &mut Replay,
        mut deadline: Pin<&mut Sleep>,
        may_move: bool,
    ) -> Result<http::Response<RecvStream>, Broken> {
        loop {
            tokio::select! {
                biased;
                answer = &mut self.answer => return answer.map_err(Broken::Region),
                step = self.upload.step(session, replay) => step?,
                () = ended(&mut self.mentioned) => {}
                () = self.lease.suspected(), if may_move => return Err(Broken::Suspect),
                () = &mut deadline => return Err(Broken::Late),
            }
        }
    }

    /// Passes the answer's body on, and what is left of the call's. The answer's head was written before, without its end.
    pub(super) async fn relay(
        &mut self,
        session: &mut ServerSession,
        replay: &mut Replay,
        body: &mut RecvStream,
    ) -> Result<(), Broken> {
        loop {
            let piece = tokio::select! {
                biased;
                piece = piece(body) => piece.map_err(Broken::Region)?,
                step = self.upload.step(session, replay) => match step {
                    // An answer that has begun lets its caller think.
                    Ok(()) | Err(Broken::SlowCaller) => continue,
                    Err(broken) => return Err(broken),
                },
            };
            match piece {
                Piece::Data(data) => {
                    let (length, end) = (data.len(), body.is_end_stream());
                    session
                        .write_response_body(data, end)
                        .await
                        .map_err(Broken::Caller)?;
                    // More may come only now: who reads slowly is sent slowly.
                    let _ = body.flow_control().release_capacity(length);
                    if end {
                        return Ok(());
                    }
                }
                Piece::Trailers(trailers) => {
                    return session
                        .write_response_trailers(trailers)
                        .await
                        .map_err(Broken::Caller);
                }
                Piece::End => return session.finish_body().await.map_err(Broken::Caller),
            }
        }
    }
}

// === impl Upload ===

impl Upload {
    /// Moves the body on by one piece; with nothing left to move, waits for the caller to leave. Safe to drop at any time.
    async fn step(
        &mut self,
        session: &mut ServerSession,
        replay: &mut Replay,
    ) -> Result<(), Broken> {
        if self.done {
            return Err(Broken::Caller(leave(session).await));
        }
        if !self.pending.is_empty() || self.last {
            return self.send(session).await;
        }
        if let Some(chunk) = self.kept.next() {
            self.pending = chunk;
            self.last = self.kept.as_slice().is_empty() && session.is_body_done();
            return Ok(());
        }
        let gap = self.limits.body_gap;
        let due = *self.due.get_or_insert_with(|| Instant::now() + gap);
        let piece = timeout_at(due, session.read_request_body()).await;
        self.due = None;
        match piece {
            Err(_) => Err(Broken::SlowCaller),
            Ok(Err(error)) => Err(Broken::Caller(error)),
            Ok(Ok(None)) => {
                self.last = true;
                Ok(())
            }
            Ok(Ok(Some(_))) if session.body_bytes_read() as u64 > self.limits.body => {
                Err(Broken::LargeBody)
            }
            Ok(Ok(Some(chunk))) => {
                self.last = session.is_body_done();
                replay.keep(&chunk);
                self.pending = chunk;
                Ok(())
            }
        }
    }

    /// Sends as much of the piece at hand as the region takes.
    async fn send(&mut self, session: &mut ServerSession) -> Result<(), Broken> {
        let Some(stream) = &mut self.stream else {
            self.done = true;
            return Ok(());
        };
        if self.pending.is_empty() {
            // A region that wants no more says so in its answer.
            let _ = stream.send_data(Bytes::new(), true);
            self.done = true;
            return Ok(());
        }
        stream.reserve_capacity(self.pending.len());
        let capacity = poll_fn(|cx| stream.poll_capacity(cx));
        let capacity = match session.watch_h2_stream_close() {
            Some(leave) => tokio::select! {
                biased;
                capacity = capacity => capacity,
                left = leave => return Err(Broken::Caller(left.map_or_else(|e| e, gone))),
            },
            None => capacity.await,
        };
        let Some(Ok(capacity)) = capacity else {
            self.done = true;
            return Ok(());
        };
        let part = self.pending.split_to(capacity.min(self.pending.len()));
        let end = self.last && self.pending.is_empty();
        self.done = stream.send_data(part, end).is_err() || end;
        Ok(())
    }
}

/// Returns when the caller leaves. What the region does not want of a body is not read.
async fn leave(session: &mut ServerSession) -> Box<Error> {
    if let ServerSession::H2(session) = session {
        return session.idle().await.map_or_else(|error| error, gone);
    }
    if !session.is_body_done() {
        return std::future::pending().await;
    }
    match session.read_body_or_idle(true).await {
        Err(error) => error,
        Ok(_) => std::future::pending().await,
    }
}

/// Dropped before its end it would take back what was said.
async fn ended(mentioned: &mut Option<ResponseFuture>) {
    match mentioned {
        Some(answer) => drop(answer.await),
        None => return std::future::pending().await,
    }
    *mentioned = None;
}

async fn piece(body: &mut RecvStream) -> Result<Piece, h2::Error> {
    match body.data().await {
        Some(data) => data.map(Piece::Data),
        None => Ok(body.trailers().await?.map_or(Piece::End, Piece::Trailers)),
    }
}

pub(super) fn gone(reason: h2::Reason) -> Box<Error> {
    Error::because(
        pingora_core::ErrorType::H2Error,
        "the caller reset its stream",
        h2::Error::from(reason),
    )
}
