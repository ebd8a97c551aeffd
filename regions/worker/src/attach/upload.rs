//! The open stream that brings an answer to its caller, and the sign that the caller is gone.
//!
//! The service ends its side when the caller has everything; if it does so before our end, nobody listens any more.
//! Dropping an [`Upload`] breaks the stream, so that a torn answer never looks whole.

use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Fuse};
use http::{Response, StatusCode};
use http_body::Frame;
use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::body::Pipe;

/// How long the service may take to hand over what it holds after our end. A caller may read slowly.
const TAIL_TIMEOUT: Duration = Duration::from_secs(600);

/// An answer on its way.
pub(crate) struct Upload {
    pipe: Pipe,
    ended: Fuse<BoxFuture<'static, End>>,
}

/// The rest of an answer's life after all of it was sent: the service still hands it over, or (nothing here) has done so.
pub(crate) struct Tail(Option<Fuse<BoxFuture<'static, End>>>);

/// The service ended the stream before the answer was complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gone;

/// How the service ended its side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Clean,
    Broken,
}

// === impl Upload ===

impl Upload {
    /// A claimed call: the response is there, its (empty) body is what ends.
    pub(crate) fn claimed(pipe: Pipe, mut answer: Incoming) -> Self {
        let ended = async move {
            loop {
                match answer.frame().await {
                    Some(Ok(_)) => {}
                    Some(Err(_)) => return End::Broken,
                    None => return End::Clean,
                }
            }
        };
        Self {
            pipe,
            ended: ended.boxed().fuse(),
        }
    }

    /// A late attach: the response itself is what ends it.
    pub(super) fn late<E>(
        pipe: Pipe,
        response: impl Future<Output = Result<Response<Incoming>, E>> + Send + 'static,
    ) -> Self {
        let ended = async move {
            match response.await {
                Ok(response) if response.status() == StatusCode::OK => End::Clean,
                Ok(_) | Err(_) => End::Broken,
            }
        };
        Self {
            pipe,
            ended: ended.boxed().fuse(),
        }
    }

    /// Sends a frame, unless nobody listens any more.
    pub(crate) async fn send(&mut self, frame: Frame<Bytes>) -> Result<(), Gone> {
        tokio::select! {
            biased;
            _ = &mut self.ended => Err(Gone),
            sent = self.pipe.send(frame) => sent.map_err(|_| Gone),
        }
    }

    /// Ends when nobody listens any more. Not to be asked again after that.
    pub(crate) async fn gone(&mut self) -> Gone {
        (&mut self.ended).await;
        Gone
    }

    /// Ends the answer cleanly.
    pub(crate) async fn finish(mut self) -> Result<Tail, Gone> {
        tokio::select! {
            // A service that knows the length may have handed everything over before it sees our end.
            end = &mut self.ended => match end {
                End::Clean => Ok(Tail(None)),
                End::Broken => Err(Gone),
            },
            sent = self.pipe.end() => sent.map(|()| Tail(Some(self.ended))).map_err(|_| Gone),
        }
    }
}

// === impl Tail ===

impl Tail {
    /// Waits until the service has handed everything over; `false` if it could not.
    ///
    /// Must be awaited, not dropped: dropping would reset a stream whose last bytes may still be on their way.
    pub(crate) async fn handed_over(self) -> bool {
        match self.0 {
            Some(ended) => tokio::time::timeout(TAIL_TIMEOUT, ended).await == Ok(End::Clean),
            None => true,
        }
    }
}
