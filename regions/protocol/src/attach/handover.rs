//! What the service writes into a standing stream when it hands a call over: a work item with its deadline.
//!
//! Twelve bytes, then the item: its length (32 bits) and the deadline (64 bits, Unix milliseconds), both big-endian.
//! Nothing follows; the stream stays open, and its end means what it means for any claimed call. A body longer than the
//! item carries is fetched by GET attach, as ever. The worker answers with a `ResponseHead`; one that says
//! `frontdoor-claim: returned` gives the call back.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use prost::Message;

use super::{CLAIM, CLAIM_RETURNED, ResponseHead};
use crate::envelope::MESSAGE_LIMIT;

/// What stands before the item.
const PREFIX: usize = 12;

/// A call, handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handover<'a> {
    /// Unix milliseconds after which it must not be begun.
    pub deadline_ms: u64,
    /// The work item, as it would travel on the queue.
    pub item: &'a [u8],
}

/// The item is longer than any may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a handed-over item of {0} bytes is too long")]
pub struct TooLong(usize);

// === impl Handover ===

impl<'a> Handover<'a> {
    /// Reads what has arrived so far; `None` if it is not all there yet.
    ///
    /// # Errors
    /// If it announces more than [`MESSAGE_LIMIT`].
    pub fn decode(bytes: &'a [u8]) -> Result<Option<Self>, TooLong> {
        let Some((length, rest)) = bytes.split_first_chunk::<4>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(*length);
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > MESSAGE_LIMIT {
            return Err(TooLong(length));
        }
        let Some((deadline, rest)) = rest.split_first_chunk::<8>() else {
            return Ok(None);
        };
        Ok(rest.get(..length).map(|item| Self {
            deadline_ms: u64::from_be_bytes(*deadline),
            item,
        }))
    }
}

/// The bytes of a call that is handed over: the service encodes an item once, whichever way it goes then. One of more than
/// [`MESSAGE_LIMIT`] goes no way.
#[must_use]
pub fn frame(deadline_ms: u64, item: &impl Message) -> Bytes {
    let length = item.encoded_len();
    let mut out = Vec::with_capacity(PREFIX + length);
    out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(&deadline_ms.to_be_bytes());
    // A vector grows, which is all that could fail.
    let _ = item.encode(&mut out);
    out.into()
}

/// The item in such bytes, as it travels on the queue.
#[must_use]
pub fn item_of(frame: &Bytes) -> Bytes {
    frame.slice(PREFIX.min(frame.len())..)
}

/// The head by which a worker gives a call, or its stream, back.
#[must_use]
pub fn returned() -> ResponseHead {
    let mut headers = HeaderMap::new();
    headers.insert(CLAIM, HeaderValue::from_static(CLAIM_RETURNED));
    ResponseHead {
        status: StatusCode::SERVICE_UNAVAILABLE,
        headers,
    }
}

/// Whether a head on a standing stream gives the call back. No container can say so: workers strip what starts like our
/// own headers.
#[must_use]
pub fn is_returned(head: &ResponseHead) -> bool {
    head.headers
        .get(CLAIM)
        .is_some_and(|value| value == CLAIM_RETURNED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::WorkerInvokeFunctionRequest;

    #[test]
    fn what_was_handed_over_arrives_whole_or_not_yet() {
        for id in ["", "0196f0c2-7e1f-7a55-8a2e-3d1b5f0c9a11"] {
            let item = WorkerInvokeFunctionRequest {
                request_id: id.to_owned(),
                ..WorkerInvokeFunctionRequest::default()
            };
            let frame = frame(1_764_000_000_123, &item);
            let item = item.encode_to_vec();
            assert_eq!(item_of(&frame), item);
            let handed = Handover {
                deadline_ms: 1_764_000_000_123,
                item: &item,
            };
            for cut in 0..frame.len() {
                assert_eq!(Handover::decode(&frame[..cut]), Ok(None), "cut at {cut}");
            }
            assert_eq!(Handover::decode(&frame), Ok(Some(handed)));
            let more = [&frame[..], b"more"].concat();
            assert_eq!(Handover::decode(&more), Ok(Some(handed)));
        }
    }

    #[test]
    fn nothing_too_long_is_read() {
        let length = u32::try_from(MESSAGE_LIMIT + 1)
            .expect("fits")
            .to_be_bytes();
        assert_eq!(
            Handover::decode(&length),
            Err(TooLong(MESSAGE_LIMIT + 1)),
            "known by its length alone"
        );
        assert!(Handover::decode(&[0xff; 12]).is_err());
    }

    #[test]
    fn a_call_given_back_is_known_as_such() {
        assert!(is_returned(&returned()));
        let other = ResponseHead {
            status: StatusCode::SERVICE_UNAVAILABLE,
            headers: HeaderMap::new(),
        };
        assert!(!is_returned(&other));
    }
}
