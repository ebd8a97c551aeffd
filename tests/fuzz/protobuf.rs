//! Protobuf off a region's NATS: what is read is the same after a round trip, and a work item that runs is what it says.
//!
//! Input: a byte that says which message it is, then its bytes.

use std::fmt::Debug;

use frontdoor_protocol::authority::{ClientInvokeRequest, ClientInvokeResponse};
use frontdoor_protocol::envelope::WorkerInvokeFunctionRequest;
use frontdoor_protocol::headers;
use frontdoor_protocol::locate::Told;
use frontdoor_protocol::presence::{ServicePresence, WorkerPresence};
use frontdoor_protocol::report::Report;
use frontdoor_protocol::verdict::Verdict;
use frontdoor_worker::offline::Worker;
use http::header::{CONNECTION, EXPECT, TRANSFER_ENCODING};
use prost::Message;
use uuid::Uuid;

pub(crate) fn law(input: &[u8]) {
    let [kind, bytes @ ..] = input else {
        return;
    };
    match kind % 8 {
        0 => work_item(bytes),
        1 => plain::<ClientInvokeRequest>(bytes),
        2 => plain::<ClientInvokeResponse>(bytes),
        3 => ours(bytes, |b| WorkerPresence::decode(b).ok(), |m| m.encode()),
        4 => ours(bytes, |b| ServicePresence::decode(b).ok(), |m| m.encode()),
        5 => ours(bytes, Told::decode, |m| m.encode()),
        6 => ours(bytes, |b| Report::decode(b).ok(), Report::encode),
        _ => ours(bytes, |b| Verdict::decode(b).ok(), Verdict::encode),
    }
}

fn plain<M: Message + PartialEq + Default + Debug>(bytes: &[u8]) {
    if let Ok(message) = M::decode(bytes) {
        let again = M::decode(&message.encode_to_vec()[..]).expect("written by us");
        assert_eq!(again, message);
    }
}

fn ours<M: PartialEq + Debug>(
    bytes: &[u8],
    decode: impl Fn(&[u8]) -> Option<M>,
    encode: impl Fn(&M) -> Vec<u8>,
) {
    if let Some(message) = decode(bytes) {
        assert_eq!(decode(&encode(&message)), Some(message));
    }
}

fn work_item(bytes: &[u8]) {
    plain::<WorkerInvokeFunctionRequest>(bytes);
    let id = Uuid::from_u128(1).to_string();
    let worker = Worker::new(
        &"us-east".parse().expect("valid"),
        id.parse().expect("valid"),
        id.parse().expect("valid"),
    );
    let Ok(call) = worker.call(bytes, true, Some("1764000000123"), 1_764_000_000_000) else {
        return;
    };
    let message = WorkerInvokeFunctionRequest::decode(bytes).expect("it was read");
    assert_eq!(call.method.as_str(), message.request_method);
    assert_eq!(call.inline, message.request_body.unwrap_or_default());
    let one = |name: &str| {
        let mut values = call.headers.get_all(name).iter();
        let value = values.next().expect("the platform says it").as_bytes();
        assert!(values.next().is_none(), "{name} is said twice");
        String::from_utf8_lossy(value).into_owned()
    };
    // Only the platform says these.
    assert!(message.request_id.eq_ignore_ascii_case(&one("nvcf-reqid")));
    assert_eq!(one("nvcf-function-version-id"), id);
    assert_eq!(one("nvcf-region"), "us-east");
    for name in [TRANSFER_ENCODING, CONNECTION, EXPECT] {
        assert!(!call.headers.contains_key(&name), "{name}");
    }
    let mut names = call.headers.keys().map(http::HeaderName::as_str);
    assert!(!names.any(|name| name.starts_with(headers::OUR_PREFIX)));
}
