//! A request's head, from the caller to the region: both read the same from it, and no caller speaks in our name.
//!
//! Input: lines. The first is the method, the second `:authority` or an absolute target's host (`-`: there is none), the third
//! the target, the others are headers.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use frontdoor::identity::steer::Steering;
use frontdoor::identity::{self, Facts};
use frontdoor::response::{Passing, hides_the_call, to_region};
use frontdoor_protocol::errand::{self, Asked};
use frontdoor_protocol::headers;
use frontdoor_protocol::key::KeyHash;
use frontdoor_protocol::names::RequestId;
use frontdoor_protocol::trace::Trace;
use http::header::{AUTHORIZATION, CONNECTION, HOST, TE, TRANSFER_ENCODING};
use http::request::Parts;
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use uuid::Uuid;

const DOMAIN: &str = "invocation.localhost";
const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 1, 2, 3));

pub(crate) fn law(input: &[u8]) {
    let Some(head) = read(input) else {
        return;
    };
    let told = head.headers.get("traceparent").map(HeaderValue::as_bytes);
    let trace = Trace::read(told, 7, 9);
    assert_eq!(
        Trace::read(Some(trace.to_string().as_bytes()), 1, 2).id,
        trace.id,
        "ours goes on"
    );
    steered(&head.headers);
    if hides_the_call(&head.headers) {
        return;
    }
    let identity = match identity::read(&Facts::of(&head), DOMAIN) {
        Ok(identity) => identity,
        Err(refusal) => return assert!(!refusal.to_string().contains(char::is_control)),
    };
    assert!(identity.wait >= Duration::from_secs(1) && identity.wait <= Duration::from_secs(3600));
    let passing = Passing {
        id: RequestId::from_uuid(Uuid::from_u128(5)),
        time_left: identity.wait,
        peer: Some(PEER),
        tls: true,
        movable: true,
        authority: identity::authority(&head),
        trace,
        scheme: Scheme::HTTP,
    };
    let Ok(request) = to_region(&head, passing) else {
        return;
    };
    honest(request.headers());
    // What the region makes of it is what the edge made of it.
    let header = |name| request.headers().get(name).map(HeaderValue::as_bytes);
    let asked = Asked {
        method: request.method(),
        authority: request.uri().authority().map_or("", |a| a.as_str()),
        path: request.uri().path(),
        function: header(headers::FUNCTION_ID),
        version: header(headers::FUNCTION_VERSION_ID),
    };
    assert_eq!(errand::read(&asked, DOMAIN), Ok(identity.errand));
    let credential = |headers: &HeaderMap| headers.get(AUTHORIZATION).cloned();
    assert_eq!(credential(request.headers()), credential(&head.headers));
}

/// A head as the engine would make one of what it accepts.
fn read(input: &[u8]) -> Option<Parts> {
    let mut lines = input.split(|&b| b == b'\n');
    let mut request = Request::new(());
    *request.method_mut() = Method::from_bytes(lines.next()?).ok()?;
    let authority = std::str::from_utf8(lines.next()?).ok()?;
    let target = PathAndQuery::try_from(lines.next()?).ok()?;
    *request.uri_mut() = match authority {
        "-" => Uri::from(target),
        authority => {
            let uri = Uri::builder().scheme("http").authority(authority);
            uri.path_and_query(target).build().ok()?
        }
    };
    for line in lines.take(100) {
        let colon = line.iter().position(|&b| b == b':')?;
        let name = HeaderName::from_bytes(&line[..colon]).ok()?;
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?;
        // The engine lets nobody in who says it twice.
        if name == HOST && request.headers().contains_key(HOST) {
            return None;
        }
        request.headers_mut().append(name, value);
    }
    Some(request.into_parts().0)
}

/// Who may not name a region names none.
fn steered(headers: &HeaderMap) {
    let hash = |key: &[u8]| KeyHash([key.first().copied().unwrap_or_default(); 32]);
    let mut steering = Steering {
        affinity_header: Some(HeaderName::from_static("x-session")),
        affinity_cookie: Some("sid".to_owned()),
        override_keys: vec![hash(b"a")],
    };
    let key = steering.affinity(headers);
    assert!(key.is_none_or(|key| !key.is_empty()));
    // Asked only of heads whose credential has the right shape.
    let credential = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes);
    if let Some(name) = steering.region(headers, hash) {
        assert_eq!(credential.and_then(|c| c.get(7)), Some(&b'a'), "{name}");
    }
    steering.override_keys.clear();
    assert_eq!(steering.region(headers, hash), None);
}

/// What only a front door may say, it said; and nothing of the connection travels.
fn honest(map: &HeaderMap) {
    let all = |name: &str| map.get_all(name).iter().collect::<Vec<_>>();
    let peer = PEER.to_string();
    assert_eq!(all("x-forwarded-for"), [&peer]);
    assert_eq!(all("x-forwarded-proto"), ["https"]);
    assert_eq!(all("nvcf-reqid").len(), 1);
    assert_eq!(all("traceparent").len(), 1);
    for name in ["forwarded", "x-forwarded-host", "x-real-ip", "upgrade"] {
        assert!(!map.contains_key(name), "{name}");
    }
    for name in [CONNECTION, TRANSFER_ENCODING, HOST] {
        assert!(!map.contains_key(&name), "{name}");
    }
    assert!(map.get_all(TE).iter().all(|te| te == "trailers"));
    let ours = map
        .keys()
        .filter(|name| name.as_str().starts_with(headers::OUR_PREFIX));
    let known = [headers::REMAINING_MS, headers::MOVABLE];
    for name in ours {
        assert!(known.contains(name) && all(name.as_str()).len() == 1);
    }
}
