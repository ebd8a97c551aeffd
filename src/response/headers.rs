//! Which headers travel between caller and region, and which are ours to set.
//!
//! Headers of one connection stay there (RFC 9110 §7.6.1); others have a meaning: the call's id, the time left, who called
//! from where, and everything that starts with `frontdoor-`, which is for us alone.

use std::net::IpAddr;
use std::time::Duration;

use frontdoor_protocol::headers;
use frontdoor_protocol::names::RequestId;
use frontdoor_protocol::trace::{TRACEPARENT, TRACESTATE, Trace};
use http::{HeaderName, HeaderValue};
use pingora_http::ResponseHeader;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Headers of a caller that claim what only a front door may say.
const SPOOFABLE: [&str; 6] = [
    "forwarded",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-real-ip",
    "x-forwarded-for",
];
/// Headers of one connection (RFC 9110 §7.6.1), and what HTTP/2 says in other words.
const OF_THE_CONNECTION: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authorization",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
    "expect",
    "host",
];

/// Headers that say what is called, by whom and how: the edge acts on them, and its region must see the same.
const OF_THE_CALL: [&str; 7] = [
    "accept",
    "authorization",
    "function-id",
    "function-version-id",
    "nvcf-poll-seconds",
    "idempotency-key",
    "content-length",
];

/// What the edge says about a call to its region.
#[derive(Debug, Clone)]
pub struct Passing<'a> {
    /// The call's id.
    pub id: RequestId,
    /// What is left of the caller's time.
    pub time_left: Duration,
    /// Where the caller is.
    pub peer: Option<IpAddr>,
    /// Whether the caller came over TLS.
    pub tls: bool,
    /// Whether another region could take the call.
    pub movable: bool,
    /// Whom the caller asked for.
    pub authority: &'a str,
    /// Its place in a distributed trace.
    pub trace: Trace,
    /// How the region is spoken to.
    pub scheme: http::uri::Scheme,
}

/// A request's head as the region gets it.
///
/// # Errors
/// If the request names nothing that can be asked for over HTTP/2.
pub fn to_region(
    head: &http::request::Parts,
    passing: Passing<'_>,
) -> Result<http::Request<()>, http::Error> {
    let path = head.uri.path_and_query().map_or("/", |p| p.as_str());
    let uri = http::Uri::builder()
        .scheme(passing.scheme)
        .authority(passing.authority)
        .path_and_query(path)
        .build()?;
    let mut request = http::Request::builder()
        .method(head.method.clone())
        .uri(uri)
        .version(http::Version::HTTP_2)
        .body(())?;
    let travelling = request.headers_mut();
    travelling.reserve(head.headers.len() + 4);
    let nominated = nominated(&head.headers);
    for (name, value) in &head.headers {
        let stays = OF_THE_CONNECTION.contains(&name.as_str())
            || SPOOFABLE.contains(&name.as_str())
            || name.as_str().starts_with(headers::OUR_PREFIX)
            || (*name == TRACESTATE && !passing.trace.is_continued())
            || (name == http::header::TE && value != "trailers")
            || nominated
                .iter()
                .any(|n| n.eq_ignore_ascii_case(name.as_str()));
        if !stays {
            travelling.append(name, value.clone());
        }
    }
    travelling.insert(
        headers::REQUEST_ID,
        HeaderValue::from_str(&passing.id.to_string())?,
    );
    travelling.insert(
        TRACEPARENT,
        HeaderValue::from_str(&passing.trace.to_string())?,
    );
    let millis = u64::try_from(passing.time_left.as_millis()).unwrap_or(u64::MAX);
    travelling.insert(headers::REMAINING_MS, HeaderValue::from(millis));
    if let Some(peer) = passing.peer {
        travelling.insert(FORWARDED_FOR, HeaderValue::from_str(&peer.to_string())?);
    }
    if passing.movable {
        travelling.insert(headers::MOVABLE, HeaderValue::from_static("1"));
    }
    let scheme = if passing.tls { "https" } else { "http" };
    travelling.insert(FORWARDED_PROTO, HeaderValue::from_static(scheme));
    Ok(request)
}

/// Whether `Connection` claims for this connection what concerns everybody on the way, which RFC 9110 §7.6.1 forbids. It
/// would have to be removed here, and a region would be blamed for not having a function that it was never told of.
#[must_use]
pub fn hides_the_call(headers: &http::HeaderMap) -> bool {
    let claims = |name: &str| OF_THE_CALL.iter().any(|of| of.eq_ignore_ascii_case(name));
    nominated(headers).into_iter().any(claims)
}

/// The headers that `Connection` declares to be of this connection only.
fn nominated(headers: &http::HeaderMap) -> Vec<&str> {
    headers
        .get_all(http::header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .collect()
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
        let mut builder = http::Request::post("http://here/echo?a=b");
        for (name, value) in [
            ("frontdoor-execution", "not-started"),
            ("frontdoor-remaining-ms", "999999"),
            ("nvcf-reqid", "mine"),
            ("x-forwarded-for", "6.6.6.6"),
            ("x-forwarded-proto", "gopher"),
            ("forwarded", "host=evil"),
            ("frontdoor-movable", "forged"),
            ("x-kept", "1"),
            ("x-kept", "2"),
            ("connection", "close, X-Private"),
            ("x-private", "1"),
            ("te", "gzip"),
            ("host", "here"),
            ("traceparent", "nonsense"),
            ("tracestate", "a=b"),
        ] {
            builder = builder.header(name, value);
        }
        let (head, ()) = builder.body(()).expect("valid").into_parts();
        let id = RequestId::from_uuid(uuid::Uuid::from_u128(1));
        let passing = Passing {
            id,
            time_left: Duration::from_millis(1500),
            peer: Some(IpAddr::from([10, 0, 0, 1])),
            tls: true,
            movable: true,
            authority: "f.example",
            trace: Trace::read(None, 10, 11),
            scheme: http::uri::Scheme::HTTP,
        };
        let request = to_region(&head, passing).expect("valid");
        let all = |name: &str| {
            let values = request.headers().get_all(name).iter();
            values
                .map(|v| v.to_str().expect("text").to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(request.uri(), "http://f.example/echo?a=b");
        assert_eq!(all("nvcf-reqid"), [id.to_string()]);
        assert_eq!(all("frontdoor-remaining-ms"), ["1500"]);
        assert_eq!(all("x-forwarded-for"), ["10.0.0.1"]);
        assert_eq!(all("x-forwarded-proto"), ["https"]);
        assert_eq!(all("frontdoor-movable"), ["1"]);
        assert_eq!(all("x-kept"), ["1", "2"]);
        assert_eq!(
            all("traceparent"),
            ["00-0000000000000000000000000000000a-000000000000000b-01"]
        );
        for gone in [
            "frontdoor-execution",
            "forwarded",
            "connection",
            "x-private",
            "te",
            "host",
            "tracestate",
        ] {
            assert!(all(gone).is_empty(), "{gone}");
        }
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
