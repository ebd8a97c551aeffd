//! Heads on attach streams, in pieces of any size: the same as in one piece, and the same after a round trip.
//!
//! Input: a byte that says whose stream it is, one that gives the size of the pieces, and what comes over it.

use bytes::Bytes;
use frontdoor_protocol::attach::handover::{Handover, is_returned};
use frontdoor_protocol::attach::pieces::Pieces;
use frontdoor_protocol::attach::request::{self, RequestHead};
use frontdoor_protocol::attach::{HEADERS_LIMIT, ResponseHead};
use http::header::TRANSFER_ENCODING;

pub(crate) fn law(input: &[u8]) {
    let [whose, size, stream @ ..] = input else {
        return;
    };
    let size = usize::from(*size) + 1;
    match whose % 3 {
        0 => worker_speaks(stream, size),
        1 => service_speaks(stream, size),
        _ => whole_request(stream, size),
    }
}

/// The head of an answer, as the invocation service reads it.
fn worker_speaks(stream: &[u8], size: usize) {
    let whole = ResponseHead::decode(stream);
    let mut pieces = Pieces::<ResponseHead>::default();
    let mut taken = 0;
    let mut pieced = Ok(None);
    for piece in stream.chunks(size) {
        taken += piece.len();
        pieced = pieces.add(Bytes::copy_from_slice(piece));
        if pieced != Ok(None) {
            break;
        }
    }
    let (head, length) = match (whole, pieced) {
        (Ok(Some(whole)), Ok(Some((head, rest)))) => {
            assert_eq!(head, whole.0);
            assert_eq!(rest, stream[whole.1..taken]);
            whole
        }
        (Ok(None), Ok(None)) => return,
        (Err(whole), Err(pieced)) => return assert_eq!(whole, pieced),
        (whole, pieced) => panic!("whole {whole:?}, in pieces {pieced:?}"),
    };
    assert!(length <= stream.len() && head.headers.len() <= HEADERS_LIMIT);
    assert!(!head.status.is_informational() && !head.headers.contains_key(TRANSFER_ENCODING));
    let _ = is_returned(&head);
    let again = head.encode();
    assert_eq!(
        ResponseHead::decode(&again),
        Ok(Some((head, again.len()))),
        "what is written is read"
    );
}

/// The head of a request that a worker fetches whole.
fn whole_request(stream: &[u8], size: usize) {
    let whole = RequestHead::decode(stream);
    let mut came = Vec::new();
    for piece in stream.chunks(size) {
        came.extend_from_slice(piece);
        let pieced = RequestHead::decode(&came);
        if pieced != Ok(None) {
            assert_eq!(pieced, whole);
            break;
        }
    }
    let Ok(Some((head, length))) = whole else {
        return;
    };
    assert!(length <= stream.len() && head.headers.len() <= HEADERS_LIMIT);
    assert!(!head.headers.contains_key(TRANSFER_ENCODING));
    let mut texts = Vec::new();
    for (name, value) in &head.headers {
        // The service writes text, and nothing else.
        let Ok(value) = std::str::from_utf8(value.as_bytes()) else {
            return;
        };
        texts.push((name.as_str(), value));
    }
    let again = request::encode(head.method.as_str(), head.path.as_str(), texts.into_iter());
    assert_eq!(
        RequestHead::decode(&again),
        Ok(Some((head, again.len()))),
        "what is written is read"
    );
}

/// A call that is handed over, as the worker reads it.
fn service_speaks(stream: &[u8], size: usize) {
    let whole = Handover::decode(stream);
    let mut came = Vec::new();
    for piece in stream.chunks(size) {
        came.extend_from_slice(piece);
        match Handover::decode(&came) {
            Ok(None) => {}
            pieced => return assert_eq!(pieced, whole),
        }
    }
    assert_eq!(Handover::decode(&came), whole);
    if let Ok(Some(handed)) = whole {
        let length = u32::try_from(handed.item.len()).expect("it was read");
        let (length, deadline) = (length.to_be_bytes(), handed.deadline_ms.to_be_bytes());
        let again = [&length[..], &deadline, handed.item].concat();
        assert!(stream.starts_with(&again));
    }
}
