//! The first bytes of a request body: they travel inside the work item, so that a small call needs no GET attach.
//!
//! With a known length it waits for as much as fits; without one it takes what is there already and waits for nothing,
//! because the caller may want an answer before it sends more. The rest stays where it is.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use bytes::Bytes;
use frontdoor_protocol::envelope::INLINE_BODY_LIMIT;
use http_body::{Body as _, Frame};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use crate::attach::Rest;

/// How often the connection's task gets a turn to hand over bytes that it has already received. An HTTP/1.1 connection
/// needs one turn for the bytes and one for the end of a chunked body.
const TURNS: usize = 3;

/// A request body, taken in.
pub(super) struct Intake {
    /// Its first bytes.
    pub(super) inline: Vec<u8>,
    /// What is left, unless that was all.
    pub(super) rest: Option<Rest>,
}

// === impl Intake ===

impl Intake {
    /// A body that is here as a whole.
    pub(super) fn of(mut body: Vec<u8>) -> Self {
        let rest = body.split_off(body.len().min(INLINE_BODY_LIMIT));
        Self {
            inline: body,
            rest: (!rest.is_empty()).then(|| Rest::here(rest.into())),
        }
    }
}

/// Takes in nothing: the worker fetches the request as a whole.
pub(super) fn leave(head: Vec<u8>, body: Incoming) -> Intake {
    Intake {
        inline: Vec::new(),
        rest: Some(Rest::whole(head, body)),
    }
}

/// Takes in a body.
pub(super) async fn take(mut body: Incoming) -> Result<Intake, hyper::Error> {
    let known = body.size_hint().exact();
    let expected = known.map_or(0, |n| usize::try_from(n).unwrap_or(usize::MAX));
    let mut inline = Vec::with_capacity(expected.min(INLINE_BODY_LIMIT));
    while !body.is_end_stream() {
        let next = match known {
            Some(_) => Some(body.frame().await.transpose()?),
            None => next_now(&mut body).await.transpose()?,
        };
        let frame = match next {
            // Nothing there now.
            None => break,
            // The end.
            Some(None) => return Ok(Intake { inline, rest: None }),
            Some(Some(frame)) => frame,
        };
        // Trailers are not passed on.
        let Ok(mut data) = frame.into_data() else {
            continue;
        };
        let room = INLINE_BODY_LIMIT - inline.len();
        let beyond = (data.len() > room).then(|| data.split_off(room));
        inline.extend_from_slice(&data);
        let more_expected = expected > INLINE_BODY_LIMIT || known.is_none();
        if beyond.is_some() || (inline.len() == INLINE_BODY_LIMIT && more_expected) {
            return Ok(Intake {
                rest: remainder(beyond, body),
                inline,
            });
        }
    }
    Ok(Intake {
        rest: remainder(None, body),
        inline,
    })
}

fn remainder(first: Option<Bytes>, body: Incoming) -> Option<Rest> {
    (first.is_some() || !body.is_end_stream()).then(|| Rest::new(first, body))
}

/// The next frame, if it is here: `None` if it is not, `Some(Ok(None))` at the end.
async fn next_now(body: &mut Incoming) -> Option<Result<Option<Frame<Bytes>>, hyper::Error>> {
    for turn in 0..TURNS {
        if turn > 0 {
            tokio::task::yield_now().await;
        }
        let polled = poll_fn(|cx| Poll::Ready(Pin::new(&mut *body).poll_frame(cx))).await;
        if let Poll::Ready(frame) = polled {
            return Some(frame.transpose());
        }
    }
    None
}
