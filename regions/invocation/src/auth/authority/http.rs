//! Our own callout: one POST of JSON per question, a yes or no back.
//!
//! The authority is told the key's SHA-256, never the key. 200 carries the answer; 401 and 403 say no by themselves;
//! anything else is no answer.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use frontdoor_protocol::authority::{Ask, Told};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{Request, StatusCode, Uri};
use http_body_util::Full;

use super::super::CallHead;
use super::super::cache::{CallFacts, Question};
use super::super::verdict::{Answer, Caller, Denied, is_name};
use super::Fault;
use super::wire::Wire;

/// A host name is no longer (RFC 1035 §2.3.4); what is longer is cut, so that nobody fills the cache with it.
const HOST_MAX: usize = 255;
/// A longer path is cut.
const PATH_MAX: usize = 4096;
const JSON: &str = "application/json";

/// An authority that is asked over HTTP.
pub(super) struct Callout {
    wire: Wire,
    uri: Uri,
    send_path: bool,
}

// === impl Callout ===

impl Callout {
    pub(super) const fn new(wire: Wire, uri: Uri, send_path: bool) -> Self {
        Self {
            wire,
            uri,
            send_path,
        }
    }

    /// What it is told about the call itself.
    pub(super) fn facts(&self, call: &CallHead<'_>) -> Arc<CallFacts> {
        Arc::new(CallFacts {
            method: call.method.as_str().to_owned(),
            host: host(call.host),
            path: self
                .send_path
                .then(|| call.path.chars().take(PATH_MAX).collect()),
        })
    }

    pub(super) async fn ask(&self, question: &Question) -> Result<Answer, Fault> {
        let call = question.call.as_deref();
        let ask = Ask {
            method: call.map(|c| c.method.clone()).unwrap_or_default(),
            host: call.map(|c| c.host.clone()).unwrap_or_default(),
            path: call.and_then(|c| c.path.clone()),
            function: question.function,
            version: question.version,
            key_sha256: question.hash,
        };
        let request = Request::post(self.uri.clone())
            .header(CONTENT_TYPE, JSON)
            .header(ACCEPT, JSON)
            .body(Full::new(Bytes::from(ask.encode())))
            .map_err(|_| Fault::Malformed("the question"))?;
        let reply = self.wire.send(request).await?;
        read(reply.status, &reply.body, question)
    }
}

/// What an answer means.
fn read(status: StatusCode, body: &[u8], question: &Question) -> Result<Answer, Fault> {
    let no = |denied| {
        Ok(Answer {
            verdict: Err(denied),
            ttl: None,
        })
    };
    match status {
        StatusCode::OK => {}
        StatusCode::UNAUTHORIZED => return no(Denied::Unknown),
        StatusCode::FORBIDDEN => return no(Denied::Forbidden),
        other => return Err(Fault::Status(other)),
    }
    let told = Told::decode(body).ok_or(Fault::Malformed("not the JSON of a verdict"))?;
    let ttl = told.ttl_seconds.map(Duration::from_secs);
    let verdict = match (told.allow, told.identity) {
        (false, _) => Err(Denied::Forbidden),
        (true, Some(name)) if !is_name(&name) => {
            return Err(Fault::Malformed("the identity is not visible ASCII"));
        }
        (true, name) => {
            let name = name.unwrap_or_else(|| format!("key {}", question.hash.short()));
            Ok(Caller {
                versions: told.versions.map(Into::into),
                ..Caller::named(&name.into())
            })
        }
    };
    Ok(Answer { verdict, ttl })
}

/// Lower case, without a port.
fn host(authority: &str) -> String {
    let name = match authority.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => authority,
    };
    let short: String = name.chars().take(HOST_MAX).collect();
    short.to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use frontdoor_protocol::key::KeyHash;

    use super::*;

    const ID: &str = "0196f0c2-7e1f-7a55-8a2e-3d1b5f0c9a11";

    #[test]
    fn answers_are_read_strictly() {
        let question = Question {
            hash: KeyHash([0xab; 32]),
            function: ID.parse().expect("valid"),
            version: None,
            call: None,
        };
        let check = |status: u16, body: &str| {
            let status = StatusCode::from_u16(status).expect("valid");
            read(status, body.as_bytes(), &question)
        };
        let verdict = |status, body: &str| check(status, body).map(|answer| answer.verdict);
        let yes = |body: &str| check(200, body).expect("answer").verdict.expect("yes");
        assert_eq!(&*yes(r#"{"allow":true}"#).subject, "key abababab");
        let alice = yes(r#"{"allow":true,"identity":"alice"}"#);
        assert_eq!((&*alice.subject, &*alice.account), ("alice", "alice"));
        let one = yes(&format!(r#"{{"allow":true,"versions":["{ID}"]}}"#));
        assert_eq!(one.versions.map(|v| v.len()), Some(1));
        for (status, body, denied) in [
            (200, r#"{"allow":false}"#, Denied::Forbidden),
            (401, "", Denied::Unknown),
            (403, "no", Denied::Forbidden),
        ] {
            assert_eq!(verdict(status, body).expect("answer"), Err(denied));
        }
        let ttl = check(200, r#"{"allow":true,"ttl_seconds":5}"#).expect("answer");
        assert_eq!(ttl.ttl, Some(Duration::from_secs(5)));
        for (status, body) in [
            (200, ""),
            (200, "{}"),
            (200, r#"{"allow":true,"identity":"a\nb"}"#),
            (204, r#"{"allow":true}"#),
            (302, r#"{"allow":true}"#),
            (500, r#"{"allow":true}"#),
        ] {
            assert!(check(status, body).is_err(), "{status} {body}");
        }
    }

    #[test]
    fn hosts_are_told_in_one_form() {
        assert_eq!(host("A.Example:8080"), "a.example");
        assert_eq!(host("a.example"), "a.example");
        assert_eq!(host(&"a".repeat(1_000)).len(), HOST_MAX);
    }
}
