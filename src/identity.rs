//! Who asks for what: read once per request from its head, before anything is done with it.
//!
//! Pure: facts in, [`Identity`] or [`Refusal`] out. Never looks at a body, never asks anybody, never sees a key longer than
//! it takes to check its shape. Called by `proxy.rs` in the first phase of a request.

pub mod caller;
pub mod steer;

use std::time::Duration;

use frontdoor_protocol::errand::{self, Asked, Errand};
use frontdoor_protocol::headers;
use frontdoor_protocol::names::RequestId;
use frontdoor_protocol::poll::{self, PollError};
use frontdoor_protocol::target::{Target, TargetError};

/// What the head of a request says, as bytes off the wire.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// `:authority` or `Host`, empty if there is none.
    pub authority: &'a str,
    /// The request's method.
    pub method: &'a http::Method,
    /// The path without the query.
    pub path: &'a str,
    /// `function-id`.
    pub function: Option<&'a [u8]>,
    /// `function-version-id`.
    pub version: Option<&'a [u8]>,
    /// `Authorization`.
    pub authorization: Option<&'a [u8]>,
    /// `NVCF-POLL-SECONDS`.
    pub poll: Option<&'a [u8]>,
    /// `Accept`.
    pub accept: Option<&'a [u8]>,
    /// Whether `Idempotency-Key` is there.
    pub idempotency_key: bool,
}

/// What a request wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// What is asked for, and of which function.
    pub errand: Errand,
    /// How long the caller waits for the first byte.
    pub wait: Duration,
    /// Whether running it twice is the caller's declared wish or without effect (RFC 9110 §9.2.2, `Idempotency-Key`).
    pub repeatable: bool,
}

/// Why a request goes no further.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Host or headers name no function, or contradict each other.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// No usable credential.
    #[error(transparent)]
    Caller(#[from] caller::CallerError),
    /// `NVCF-POLL-SECONDS` is out of range.
    #[error(transparent)]
    Poll(#[from] PollError),
}

/// Whom a request asks: `:authority` or an absolute target, else `Host`; empty if it says neither.
#[must_use]
pub fn authority(head: &http::request::Parts) -> &str {
    let host = || head.headers.get(http::header::HOST)?.to_str().ok();
    let authority = head.uri.authority().map(http::uri::Authority::as_str);
    authority.or_else(host).unwrap_or_default()
}

/// Whether `Host` is there where it must be, and is a host or empty (RFC 9112 §3.2). That there is one at most, and that it agrees
/// with `:authority` or an absolute target, the engine has seen to.
#[must_use]
pub fn has_host(head: &http::request::Parts) -> bool {
    match head.headers.get(http::header::HOST) {
        None => head.version != http::Version::HTTP_11,
        Some(host) => host.is_empty() || http::uri::Authority::try_from(host.as_bytes()).is_ok(),
    }
}

/// Reads a request's identity.
///
/// # Errors
/// If the request can be answered without a region's help, which is then cheaper for everybody.
pub fn read(facts: &Facts<'_>, domain: &str) -> Result<Identity, Refusal> {
    let asked = Asked {
        method: facts.method,
        authority: facts.authority,
        path: facts.path,
        function: facts.function,
        version: facts.version,
    };
    let errand = errand::read(&asked, domain)?;
    caller::check(facts.authorization)?;
    let default = match errand {
        Errand::Invoke(..) => poll::api_default(facts.accept),
        Errand::Call(_) | Errand::Poll(..) => poll::DEFAULT,
    };
    let wait = poll::read_or(facts.poll, default)?;
    let repeatable = facts.idempotency_key
        || matches!(
            *facts.method,
            http::Method::GET | http::Method::HEAD | http::Method::OPTIONS
        );
    Ok(Identity {
        errand,
        wait,
        repeatable,
    })
}

// === impl Facts ===

impl<'a> Facts<'a> {
    /// What a head says.
    #[must_use]
    pub fn of(head: &'a http::request::Parts) -> Self {
        let bytes =
            |name: http::HeaderName| head.headers.get(name).map(http::HeaderValue::as_bytes);
        Self {
            authority: authority(head),
            method: &head.method,
            path: head.uri.path(),
            function: bytes(headers::FUNCTION_ID),
            version: bytes(headers::FUNCTION_VERSION_ID),
            authorization: bytes(http::header::AUTHORIZATION),
            poll: bytes(headers::POLL_SECONDS),
            accept: bytes(http::header::ACCEPT),
            idempotency_key: head.headers.contains_key("idempotency-key"),
        }
    }
}

// === impl Identity ===

impl Identity {
    /// The function, and the version if one is asked for. A poll names none: its region knows.
    #[must_use]
    pub const fn target(&self) -> Option<Target> {
        self.errand.target()
    }

    /// The call whose answer is asked for, if it is an earlier one.
    #[must_use]
    pub const fn polled(&self) -> Option<RequestId> {
        match self.errand {
            Errand::Poll(id, _) => Some(id),
            Errand::Call(_) | Errand::Invoke(..) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "0196f0c2-7e1f-7a55-8a2e-3d1b5f0c9a11.invocation.localhost";

    fn facts<'a>() -> Facts<'a> {
        Facts {
            authority: HOST,
            method: &http::Method::POST,
            path: "/",
            function: None,
            version: None,
            authorization: Some(b"Bearer key"),
            poll: None,
            accept: None,
            idempotency_key: false,
        }
    }

    fn check(facts: &Facts<'_>) -> Result<Identity, Refusal> {
        read(facts, "invocation.localhost")
    }

    #[test]
    fn a_plain_call_is_understood() {
        let identity = check(&facts()).expect("valid");
        assert_eq!(identity.wait, poll::DEFAULT);
        assert!(!identity.repeatable);
        assert!(identity.target().is_some() && identity.polled().is_none());
    }

    #[test]
    fn a_host_is_there_and_is_one() {
        let head = |version, hosts: &[&str]| {
            let mut request = http::Request::builder().version(version);
            for host in hosts {
                request = request.header("host", *host);
            }
            request.body(()).expect("valid").into_parts().0
        };
        let old = http::Version::HTTP_10;
        let usual = http::Version::HTTP_11;
        for host in [HOST, "localhost:8080", "[::1]:80", ""] {
            assert!(has_host(&head(usual, &[host])), "{host}");
        }
        for host in ["a b", "a/b", "a, b", "a:b:c"] {
            assert!(!has_host(&head(usual, &[host])), "{host}");
        }
        assert!(has_host(&head(old, &[])) && !has_host(&head(usual, &[])));
    }

    #[test]
    fn a_poll_names_a_call_and_no_function() {
        let id = "7f2c1f0e-7f3b-4a55-8a2e-3d1b5f0c9a11";
        let identity = check(&Facts {
            authority: "invocation.localhost",
            method: &http::Method::GET,
            path: &format!("/v2/nvcf/pexec/status/{id}"),
            ..facts()
        })
        .expect("valid");
        assert_eq!(identity.polled(), id.parse().ok());
        assert_eq!(identity.target(), None);
    }

    #[test]
    fn who_reads_an_event_stream_through_the_api_waits_longer() {
        const ID: &str = "0196f0c2-7e1f-7a55-8a2e-3d1b5f0c9a11";
        let path = format!("/v2/nvcf/pexec/functions/{ID}");
        let wait = |authority, path| {
            let facts = Facts {
                authority,
                path,
                accept: Some(b"text/event-stream"),
                ..facts()
            };
            check(&facts).expect("valid").wait
        };
        assert_eq!(wait("invocation.localhost", &path), poll::STREAM_DEFAULT);
        assert_eq!(wait(HOST, "/"), poll::DEFAULT);
    }

    #[test]
    fn what_may_be_repeated() {
        for (method, key, repeatable) in [
            (http::Method::GET, false, true),
            (http::Method::HEAD, false, true),
            (http::Method::OPTIONS, false, true),
            (http::Method::POST, false, false),
            (http::Method::PUT, false, false),
            (http::Method::DELETE, false, false),
            (http::Method::POST, true, true),
        ] {
            let identity = check(&Facts {
                method: &method,
                idempotency_key: key,
                ..facts()
            })
            .expect("valid");
            assert_eq!(identity.repeatable, repeatable, "{method} {key}");
        }
    }

    #[test]
    fn refusals_name_the_first_thing_that_is_wrong() {
        assert!(matches!(
            check(&Facts {
                authority: "localhost",
                ..facts()
            }),
            Err(Refusal::Target(_))
        ));
        assert!(matches!(
            check(&Facts {
                authorization: None,
                ..facts()
            }),
            Err(Refusal::Caller(_))
        ));
        assert!(matches!(
            check(&Facts {
                poll: Some(b"x"),
                ..facts()
            }),
            Err(Refusal::Poll(_))
        ));
    }
}
