//! What the service writes into a standing stream when it hands a call over: a work item with its deadline.
//!
//! Twelve bytes, then the item: its length (32 bits) and the deadline (64 bits, Unix milliseconds), both big-endian.
//! Nothing follows; the stream stays open, and its end means what it means for any claimed call. A body longer than the
//! item carries is fetched by GET attach, as ever. The worker answers with a `ResponseHead`; one that says
//! `frontdoor-claim: returned` gives the call back.

use http::{HeaderMap, HeaderValue, StatusCode};

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
    /// The bytes.
    ///
    /// # Errors
    /// If the item is longer than [`MESSAGE_LIMIT`].
    pub fn encode(&self) -> Result<Vec<u8>, TooLong> {
        let length = u32::try_from(self.item.len())
            .ok()
            .filter(|_| self.item.len() <= MESSAGE_LIMIT)
            .ok_or(TooLong(self.item.len()))?;
        let mut out = Vec::with_capacity(PREFIX + self.item.len());
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&self.deadline_ms.to_be_bytes());
        out.extend_from_slice(self.item);
        Ok(out)
    }

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

    #[test]
    fn what_was_handed_over_arrives_whole_or_not_yet() {
        for item in [&b""[..], b"item"] {
            let handed = Handover {
                deadline_ms: 1_764_000_000_123,
                item,
            };
            let mut bytes = handed.encode().expect("short");
            for cut in 0..bytes.len() {
                assert_eq!(Handover::decode(&bytes[..cut]), Ok(None), "cut at {cut}");
            }
            assert_eq!(Handover::decode(&bytes), Ok(Some(handed)));
            bytes.push(0);
            assert_eq!(Handover::decode(&bytes), Ok(Some(handed)), "more behind it");
        }
    }

    #[test]
    fn nothing_too_long_is_read_or_written() {
        let item = vec![0; MESSAGE_LIMIT + 1];
        let handed = Handover {
            deadline_ms: 0,
            item: &item,
        };
        assert_eq!(handed.encode(), Err(TooLong(MESSAGE_LIMIT + 1)));
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
