//! Which headers travel between caller and region, and which are ours to set.
//!
//! Hop-by-hop headers are the engine's; this file is about names with a meaning: the call's id, the time left, who called
//! from where, and everything that starts with `frontdoor-`, which nobody but us may say.

use std::net::IpAddr;
use std::time::Duration;

use frontdoor_protocol::headers;
use frontdoor_protocol::names::RequestId;
use http::{HeaderName, HeaderValue};
use pingora_http::{RequestHeader, ResponseHeader};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Headers of a caller that claim what only a front door may say.
const SPOOFABLE: [&str; 5] = [
    "forwarded",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-real-ip",
    "x-forwarded-for",
];

/// Prepares a request's head for a region.
///
/// # Errors
/// If the engine refuses a header, which for these values it cannot.
pub fn to_region(
    request: &mut RequestHeader,
    id: RequestId,
    time_left: Duration,
    peer: Option<IpAddr>,
    tls: bool,
) -> pingora_core::Result<()> {
    let ours: Vec<HeaderName> = request
        .headers
        .keys()
        .filter(|n| n.as_str().starts_with(headers::OUR_PREFIX))
        .cloned()
        .collect();
    for name in ours {
        request.remove_header(&name);
    }
    for name in SPOOFABLE {
        request.remove_header(name);
    }
    request.insert_header(headers::REQUEST_ID, id.to_string())?;
    request.insert_header(headers::REMAINING_MS, time_left.as_millis().to_string())?;
    if let Some(peer) = peer {
        request.insert_header(FORWARDED_FOR, peer.to_string())?;
    }
    request.insert_header(FORWARDED_PROTO, if tls { "https" } else { "http" })
}

/// Prepares an answer's head for the caller: the truth about execution was for us, the id is for both.
///
/// # Errors
/// If the engine refuses a header, which for these values it cannot.
pub fn from_region(response: &mut ResponseHeader, id: RequestId) -> pingora_core::Result<()> {
    response.remove_header(&headers::EXECUTION);
    if !response.headers.contains_key(headers::REQUEST_ID) {
        response.insert_header(headers::REQUEST_ID, id.to_string())?;
    }
    if !response.headers.contains_key(headers::STATUS) {
        let status = headers::InvokeStatus::of(response.status).as_str();
        response.insert_header(headers::STATUS, HeaderValue::from_static(status))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_speaks_in_our_name() {
        let mut request = RequestHeader::build("POST", b"/echo", None).expect("valid");
        for (name, value) in [
            ("frontdoor-execution", "not-started"),
            ("frontdoor-remaining-ms", "999999"),
            ("nvcf-reqid", "mine"),
            ("x-forwarded-for", "6.6.6.6"),
            ("forwarded", "host=evil"),
            ("x-kept", "1"),
        ] {
            request.insert_header(name, value).expect("valid");
        }
        let id = RequestId::from_uuid(uuid::Uuid::from_u128(1));
        let peer = Some(IpAddr::from([10, 0, 0, 1]));
        to_region(&mut request, id, Duration::from_millis(1500), peer, true).expect("valid");
        let get = |name: &str| {
            request
                .headers
                .get(name)
                .map(|v| v.to_str().expect("text").to_owned())
        };
        assert_eq!(get("nvcf-reqid"), Some(id.to_string()));
        assert_eq!(get("frontdoor-remaining-ms"), Some("1500".to_owned()));
        assert_eq!(get("frontdoor-execution"), None);
        assert_eq!(get("x-forwarded-for"), Some("10.0.0.1".to_owned()));
        assert_eq!(get("forwarded"), None);
        assert_eq!(get("x-kept"), Some("1".to_owned()));
    }

    #[test]
    fn an_answer_always_names_its_call() {
        let id = RequestId::from_uuid(uuid::Uuid::from_u128(1));
        let mut response = ResponseHeader::build(502, None).expect("valid");
        response
            .insert_header(headers::EXECUTION, "started")
            .expect("valid");
        from_region(&mut response, id).expect("valid");
        assert_eq!(
            response.headers.get(headers::REQUEST_ID).expect("there"),
            &id.to_string()
        );
        assert_eq!(
            response.headers.get(headers::STATUS).expect("there"),
            "errored"
        );
        assert!(response.headers.get(headers::EXECUTION).is_none());
    }
}
