//! Names of the HTTP headers that NVCF and we give a meaning, and which headers never travel on.

use http::{HeaderMap, HeaderName, HeaderValue};

/// The call's id, on every answer.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("nvcf-reqid");
/// [`InvokeStatus`] of an accepted call.
pub const STATUS: HeaderName = HeaderName::from_static("nvcf-status");
/// How long the caller waits for the first byte (`poll.rs`).
pub const POLL_SECONDS: HeaderName = HeaderName::from_static("nvcf-poll-seconds");
/// Assets that a call through the API refers to (NVCF keeps them, we do not).
pub const INPUT_ASSETS: HeaderName = HeaderName::from_static("nvcf-input-asset-references");
/// Names the function when the host does not.
pub const FUNCTION_ID: HeaderName = HeaderName::from_static("function-id");
/// Names the version when the host does not.
pub const FUNCTION_VERSION_ID: HeaderName = HeaderName::from_static("function-version-id");
/// The region that took the call; told to the container.
pub const INVOCATION_REGION: HeaderName = HeaderName::from_static("nvcf-invocation-region");
/// Tells NVIDIA's worker to pass the container's answer through unchanged.
pub const DISABLE_COMPATIBILITY: HeaderName =
    HeaderName::from_static("nvcf-feature-disable-worker-compatibility");
/// The caller's wish that nothing of the call but ids and tokens goes through NATS: the worker fetches all of it by GET attach.
pub const STREAM_WHOLE: HeaderName =
    HeaderName::from_static("nvcf-feature-enable-only-stream-full-request");
/// How far a call is that answers 202, in percent, if its container says so.
pub const PERCENT_COMPLETE: HeaderName = HeaderName::from_static("nvcf-percent-complete");
/// [`Execution`] (ours), on answers made by the platform; the edge removes it.
pub const EXECUTION: HeaderName = HeaderName::from_static("frontdoor-execution");
/// What is left of the caller's time, in milliseconds (ours): edge to region, trusted as [`REQUEST_ID`] is.
pub const REMAINING_MS: HeaderName = HeaderName::from_static("frontdoor-remaining-ms");
/// Another region could take the call (ours): edge to region, trusted as [`REQUEST_ID`] is. Such a call is declined at
/// once where it would otherwise wait for the region's own trouble to pass.
pub const MOVABLE: HeaderName = HeaderName::from_static("frontdoor-movable");
/// Where an edge says to an invocation service that another region could take a call by now which waits there: POST, with the
/// call's id in [`REQUEST_ID`]. It then counts as one that came with [`MOVABLE`], if no worker has it.
pub const RECALL_PATH: &str = "/v2/frontdoor/recall";
/// The ticket of the invocation service to which another one of its region passes a poll on (ours). Who shows it has asked
/// whether the caller may.
pub const RELAYED: HeaderName = HeaderName::from_static("frontdoor-relayed");
/// Which region answered (ours), for people who look.
pub const REGION: HeaderName = HeaderName::from_static("frontdoor-region");
/// Headers that start so are ours: never taken from a caller or a container, never given to one by accident.
pub const OUR_PREFIX: &str = "frontdoor-";

/// Whether a call may have run, as far as the platform can prove it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Execution {
    /// No worker began, and none will: another region may run it.
    NotStarted,
    /// A worker began, or that cannot be excluded.
    Started,
}

/// NVCF's outcome of an accepted call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum InvokeStatus {
    /// 202.
    InProgress,
    /// Any other 200–399.
    Fulfilled,
    /// The rest.
    Errored,
}

// === impl Execution ===

impl Execution {
    /// Its value in [`EXECUTION`].
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotStarted => "not-started",
            Self::Started => "started",
        }
    }

    /// Reads [`EXECUTION`]; anything unknown counts as started, the safe side.
    #[must_use]
    pub fn read(headers: &HeaderMap) -> Option<Self> {
        headers.get(EXECUTION).map(|value| {
            if value.as_bytes() == Self::NotStarted.as_str().as_bytes() {
                Self::NotStarted
            } else {
                Self::Started
            }
        })
    }
}

// === impl InvokeStatus ===

impl InvokeStatus {
    /// The outcome that goes with an HTTP status.
    #[must_use]
    pub fn of(status: http::StatusCode) -> Self {
        match status.as_u16() {
            202 => Self::InProgress,
            200..=399 => Self::Fulfilled,
            _ => Self::Errored,
        }
    }

    /// Its value in [`STATUS`].
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InProgress => "in-progress",
            Self::Fulfilled => "fulfilled",
            Self::Errored => "errored",
        }
    }
}

/// What belongs to one connection by its name alone (RFC 9110 §7.6.1).
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "proxy-connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Removes what belongs to one connection (RFC 9110 §7.6.1): the fixed set and whatever `Connection` names.
pub fn remove_hop_by_hop(headers: &mut HeaderMap) {
    for name in named_by_connection(headers) {
        headers.remove(name);
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

/// The headers that travel on past one connection, in their order: what [`remove_hop_by_hop`] would leave, without
/// touching the map (removing from a [`HeaderMap`] changes the order of the rest).
pub fn end_to_end(headers: &HeaderMap) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
    let named = named_by_connection(headers);
    headers
        .iter()
        .filter(move |(name, _)| !HOP_BY_HOP.contains(&name.as_str()) && !named.contains(name))
}

fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    headers
        .get_all(http::header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|list| list.split(','))
        .filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok())
        .collect()
}

/// Removes every header of [`OUR_PREFIX`]: nobody outside may speak in our name.
pub fn remove_ours(headers: &mut HeaderMap) {
    let ours: Vec<HeaderName> = headers
        .keys()
        .filter(|n| n.as_str().starts_with(OUR_PREFIX))
        .cloned()
        .collect();
    for name in ours {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_names_more_headers_to_remove() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Hop"),
            ("x-hop", "1"),
            ("te", "trailers"),
            ("x-end", "2"),
            ("upgrade", "h2c"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        remove_hop_by_hop(&mut headers);
        assert_eq!(
            headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(),
            ["x-end"]
        );
    }

    #[test]
    fn what_travels_keeps_its_order() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-hop", "1"),
            ("x-a", "1"),
            ("connection", "x-hop"),
            ("x-b", "2"),
            ("te", "trailers"),
            ("x-a", "3"),
            ("x-c", "4"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        let left: Vec<_> = end_to_end(&headers)
            .map(|(name, value)| (name.as_str(), value.to_str().expect("text")))
            .collect();
        assert_eq!(
            left,
            [("x-a", "1"), ("x-a", "3"), ("x-b", "2"), ("x-c", "4")]
        );
    }

    #[test]
    fn unknown_execution_is_the_safe_side() {
        let mut headers = HeaderMap::new();
        assert_eq!(Execution::read(&headers), None);
        headers.insert(EXECUTION, HeaderValue::from_static("not-started"));
        assert_eq!(Execution::read(&headers), Some(Execution::NotStarted));
        headers.insert(EXECUTION, HeaderValue::from_static("perhaps"));
        assert_eq!(Execution::read(&headers), Some(Execution::Started));
    }

    #[test]
    fn our_headers_are_not_anybodys() {
        let mut headers = HeaderMap::new();
        headers.insert(EXECUTION, HeaderValue::from_static("not-started"));
        headers.insert("frontdoor-made-up", HeaderValue::from_static("1"));
        headers.insert("frontdoors", HeaderValue::from_static("2"));
        remove_ours(&mut headers);
        assert_eq!(headers.len(), 1);
    }
}
