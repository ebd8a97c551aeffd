//! A head as it comes off a stream: in one piece mostly, in any number of them in the worst case.
//!
//! What was looked through is not looked through again: a peer that sends single bytes must not cost a scan each.

use std::marker::PhantomData;

use bytes::{Bytes, BytesMut};

use super::request::RequestHead;
use super::{HEAD_LIMIT, HeadError, ResponseHead};

/// The blank line after a head.
const BLANK: &[u8] = b"\r\n\r\n";

/// What can be put together.
pub trait Head: Sized {
    /// Reads one from the start of `bytes`: the head and how many bytes it took, or `None` if more are needed.
    ///
    /// # Errors
    /// If the bytes can never become a valid head.
    fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>, HeadError>;
}

/// Puts a head together.
#[derive(Debug)]
pub struct Pieces<H> {
    bytes: BytesMut,
    head: PhantomData<fn() -> H>,
}

impl Head for ResponseHead {
    fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>, HeadError> {
        Self::decode(bytes)
    }
}

impl Head for RequestHead {
    fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>, HeadError> {
        Self::decode(bytes)
    }
}

// === impl Pieces ===

impl<H> Default for Pieces<H> {
    fn default() -> Self {
        Self {
            bytes: BytesMut::new(),
            head: PhantomData,
        }
    }
}

impl<H: Head> Pieces<H> {
    /// Takes the next piece: the head and what of the body came with it, or nothing if more is needed.
    ///
    /// # Errors
    /// If what came can never become a valid head. Nothing may be added after that.
    pub fn add(&mut self, mut piece: Bytes) -> Result<Option<(H, Bytes)>, HeadError> {
        if self.bytes.is_empty() {
            // Mostly the head comes in one piece, and what follows it is passed on without a copy.
            if let Some((head, length)) = H::decode(&piece)? {
                return Ok(Some((head, piece.split_off(length))));
            }
            self.bytes = piece.into();
            return Ok(None);
        }
        let seen = self.bytes.len().saturating_sub(BLANK.len() - 1);
        self.bytes.extend_from_slice(&piece);
        let ended = self.bytes[seen..].windows(BLANK.len()).any(|w| w == BLANK);
        if !ended && self.bytes.len() < HEAD_LIMIT {
            return Ok(None);
        }
        let Some((head, length)) = H::decode(&self.bytes)? else {
            return Ok(None);
        };
        let rest = self.bytes.split_off(length).freeze();
        Ok(Some((head, rest)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fed(bytes: &[u8], size: usize) -> Result<Option<(ResponseHead, Bytes)>, HeadError> {
        let mut pieces = Pieces::default();
        for piece in bytes.chunks(size) {
            if let Some(found) = pieces.add(Bytes::copy_from_slice(piece))? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    #[test]
    fn pieces_make_the_same_head_as_the_whole() {
        let bytes = b"HTTP/1.1 201 Created\r\nx-a: 1\r\n\r\nbody";
        let (whole, length) = ResponseHead::decode(bytes)
            .expect("valid")
            .expect("complete");
        for size in 1..=bytes.len() {
            let (head, rest) = fed(bytes, size).expect("valid").expect("complete");
            assert_eq!(head, whole, "pieces of {size}");
            assert!(bytes[length..].starts_with(&rest), "pieces of {size}");
        }
        assert_eq!(fed(&bytes[..length - 1], 5), Ok(None));
    }

    #[test]
    fn an_endless_head_is_given_up() {
        let bytes = vec![b'x'; HEAD_LIMIT];
        assert_eq!(fed(&bytes, 1000), Err(HeadError::TooLong));
        assert_eq!(fed(&bytes[1..], 1000), Ok(None));
        let late = [&bytes[1..], b"\r\n\r\n"].concat();
        assert_eq!(fed(&late, late.len() - 1), Err(HeadError::TooLong));
    }
}
