//! A work item, checked: from the bytes of a NATS message to values that can be run (pure).
//!
//! Anything that is not such a call is refused here, so that no other file meets a malformed method, path, header or
//! address. The calling code reads the two NATS headers; it never looks into the payload itself.

use std::time::Duration;

use bytes::Bytes;
use frontdoor_protocol::attach;
use frontdoor_protocol::attach::request::RequestHead;
use frontdoor_protocol::envelope::{StringKv, Timestamp, WorkerInvokeFunctionRequest};
use frontdoor_protocol::headers;
use frontdoor_protocol::names::RequestId;
use frontdoor_protocol::poll;
use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use prost::Message as _;

/// Room for so many headers is made at once; few calls have more.
const HEADERS: usize = 64;
/// Two hosts' clocks differ by less than this, in milliseconds.
const CLOCKS_MS: u64 = 30_000;

/// One call to run.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) id: RequestId,
    /// The account that called.
    pub(crate) account: HeaderValue,
    /// Who called; never a credential.
    pub(crate) subject: HeaderValue,
    pub(crate) method: Method,
    pub(crate) path: PathAndQuery,
    /// The caller's headers, as the invocation service passed them on.
    pub(crate) headers: HeaderMap,
    /// The first bytes of the body: all of it unless there is a `body_token`.
    pub(crate) inline: Bytes,
    pub(crate) service: Service,
    /// Whether the request comes by GET attach: then method, path, headers and body here are none of the caller's until
    /// [`Self::fill`].
    pub(crate) whole: bool,
    /// When the caller asked, in Unix milliseconds by the service's clock, if it says so.
    pub(crate) asked_ms: Option<u64>,
    /// Whether the service decides at attach if the call may begin.
    pub(crate) claim: bool,
    /// Unix milliseconds after which it must not begin.
    pub(crate) deadline_ms: Option<u64>,
}

/// Where the caller waits, and the tokens that open the two streams there.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    pub(crate) authority: Authority,
    pub(crate) path: PathAndQuery,
    pub(crate) answer_token: HeaderValue,
    pub(crate) body_token: Option<HeaderValue>,
}

/// Why a message is no call. The texts name what is wrong and hold nothing of the caller's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ItemError {
    #[error("not a work item: {0}")]
    Protobuf(prost::DecodeError),
    #[error("the request comes by GET attach as a whole, and there is no token for that")]
    WholeByAttach,
    #[error("no way to attach over HTTP")]
    NoAttach,
    #[error("malformed {0}")]
    Field(&'static str),
}

// === impl Item ===

impl Item {
    /// Reads a message: its payload and the values of the two headers of ours.
    ///
    /// # Errors
    /// If it cannot be run.
    pub(crate) fn decode(
        payload: &[u8],
        claim: bool,
        deadline: Option<&str>,
    ) -> Result<Self, ItemError> {
        let deadline_ms = deadline
            .map(|ms| ms.parse().map_err(|_| ItemError::Field("deadline")))
            .transpose()?;
        let item = WorkerInvokeFunctionRequest::decode(payload).map_err(ItemError::Protobuf)?;
        let service = service(&item)?;
        Self::read(item, service, claim, deadline_ms)
    }

    /// Reads a work item that a stream got which stands at this service, with its deadline.
    ///
    /// # Errors
    /// If it cannot be run.
    pub(crate) fn handed(
        payload: &[u8],
        deadline_ms: u64,
        at: &Service,
    ) -> Result<Self, ItemError> {
        let item = WorkerInvokeFunctionRequest::decode(payload).map_err(ItemError::Protobuf)?;
        let service = handed_by(at, &item)?;
        Self::read(item, service, true, Some(deadline_ms))
    }

    fn read(
        item: WorkerInvokeFunctionRequest,
        service: Service,
        claim: bool,
        deadline_ms: Option<u64>,
    ) -> Result<Self, ItemError> {
        let whole = item.request_method.is_empty();
        if whole && service.body_token.is_none() {
            return Err(ItemError::WholeByAttach);
        }
        let asked_ms = item.request_time.and_then(unix_ms);
        let malformed = ItemError::Field;
        Ok(Self {
            id: item.request_id.parse().map_err(|_| malformed("id"))?,
            account: item.nca_id.try_into().map_err(|_| malformed("account"))?,
            subject: item.subject.try_into().map_err(|_| malformed("subject"))?,
            method: match whole {
                true => Method::GET,
                false => item
                    .request_method
                    .parse()
                    .map_err(|_| malformed("method"))?,
            },
            path: match whole {
                true => PathAndQuery::from_static("/"),
                false => path(item.request_path).ok_or(ItemError::Field("path"))?,
            },
            headers: header_map(item.request_headers).ok_or(ItemError::Field("header"))?,
            inline: item.request_body.unwrap_or_default().into(),
            service,
            whole,
            asked_ms,
            claim,
            deadline_ms,
        })
    }

    /// Makes it the request that came by GET attach; its body stays where it is.
    pub(crate) fn fill(&mut self, head: RequestHead) {
        self.method = head.method;
        self.path = head.path;
        self.headers = head.headers;
    }

    /// How long the caller waits, as it says.
    pub(crate) fn window(&self) -> Duration {
        let asked = self.headers.get(headers::POLL_SECONDS);
        poll::read(asked.map(HeaderValue::as_bytes)).unwrap_or(poll::DEFAULT)
    }

    /// How much is left of the time for which the caller waits, for services that expect a word of the worker's when it
    /// is over. At least a second: clocks differ, and a word that is too early costs a poll.
    pub(crate) fn window_left(&self, now_ms: u64) -> Duration {
        let asked_ms = self.asked_ms.unwrap_or(now_ms);
        let passed = Duration::from_millis(now_ms.saturating_sub(asked_ms));
        self.window()
            .saturating_sub(passed)
            .max(Duration::from_secs(1))
    }

    /// Whether it is a leftover that surely nobody waits for. Not earlier: the deadline is by another host's clock, and
    /// what is only just late the service refuses at the claim.
    pub(crate) fn expired(&self, now_ms: u64) -> bool {
        self.deadline_ms
            .is_some_and(|deadline| deadline.saturating_add(CLOCKS_MS) <= now_ms)
    }
}

/// A question for the answer of a call that was told 202: where the caller waits now, and for how long.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) service: Service,
    pub(crate) window: Duration,
}

// === impl Question ===

impl Question {
    /// Reads a message.
    ///
    /// # Errors
    /// If there is no way to answer it.
    pub(crate) fn decode(payload: &[u8]) -> Result<Self, ItemError> {
        let item = WorkerInvokeFunctionRequest::decode(payload).map_err(ItemError::Protobuf)?;
        let asked = item.request_headers.iter();
        let mut asked =
            asked.filter(|h| h.key.eq_ignore_ascii_case(headers::POLL_SECONDS.as_str()));
        let window = poll::read(asked.next().map(|h| h.value.as_bytes()));
        Ok(Self {
            service: service(&item)?,
            window: window.map_err(|_| ItemError::Field("window"))?,
        })
    }
}

fn path(text: String) -> Option<PathAndQuery> {
    let path = PathAndQuery::try_from(text).ok()?;
    (path.path().starts_with('/') || path == "*").then_some(path)
}

fn unix_ms(time: Timestamp) -> Option<u64> {
    let seconds = u64::try_from(time.seconds).ok()?;
    let nanos = u64::try_from(time.nanos).ok()?;
    seconds.checked_mul(1_000)?.checked_add(nanos / 1_000_000)
}

fn service(item: &WorkerInvokeFunctionRequest) -> Result<Service, ItemError> {
    let way = item.attach().ok_or(ItemError::NoAttach)?;
    let target = format!("{}{}", way.target_uri.trim_end_matches('/'), attach::PATH);
    let uri = target.parse::<Uri>().ok();
    let uri = uri.filter(|uri| uri.scheme() == Some(&Scheme::HTTP));
    let parts = uri.ok_or(ItemError::Field("target"))?.into_parts();
    let (Some(authority), Some(path)) = (parts.authority, parts.path_and_query) else {
        return Err(ItemError::Field("target"));
    };
    let answer_token = bearer(&way.response_authorization_token)?;
    let body_token = way.request_authorization_token.as_deref();
    Ok(Service {
        authority,
        path,
        answer_token,
        body_token: body_token.map(bearer).transpose()?,
    })
}

/// Where a call is whose answer has its stream already: there, and what is left to be told is how its body is fetched.
fn handed_by(at: &Service, item: &WorkerInvokeFunctionRequest) -> Result<Service, ItemError> {
    let way = item.attach().ok_or(ItemError::NoAttach)?;
    let body_token = way.request_authorization_token.as_deref();
    Ok(Service {
        body_token: body_token.map(bearer).transpose()?,
        ..at.clone()
    })
}

/// The value of `Authorization`, marked so that no log shows it.
fn bearer(token: &str) -> Result<HeaderValue, ItemError> {
    let mut value =
        HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| ItemError::Field("token"))?;
    value.set_sensitive(true);
    Ok(value)
}

fn header_map(pairs: Vec<StringKv>) -> Option<HeaderMap> {
    let mut headers = HeaderMap::with_capacity(pairs.len().min(HEADERS));
    for StringKv { key, value } in pairs {
        let name = HeaderName::from_bytes(key.as_bytes()).ok()?;
        let value = HeaderValue::try_from(value).ok()?;
        headers.try_append(name, value).ok()?;
    }
    Some(headers)
}

#[cfg(test)]
mod tests {
    use frontdoor_protocol::envelope::{ConnectionConfig, Http1ProtocolConfig, StatelessConfig};

    use super::*;

    fn valid() -> WorkerInvokeFunctionRequest {
        let kv = |key: &str, value: &str| StringKv {
            key: key.into(),
            value: value.into(),
        };
        WorkerInvokeFunctionRequest {
            request_id: "7f2c1f0e-7f3b-4a55-8a2e-3d1b5f0c9a11".into(),
            request_method: "PUT".into(),
            request_path: "/a?b=c".into(),
            request_headers: vec![kv("Accept", "b"), kv("x-a", "1"), kv("x-a", "2")],
            stateless_config: Some(StatelessConfig {
                connection_configs: vec![ConnectionConfig {
                    http1_config: Some(Http1ProtocolConfig {
                        target_uri: "http://10.0.0.1:8080/".into(),
                        response_authorization_token: "t".into(),
                        ..Http1ProtocolConfig::default()
                    }),
                }],
            }),
            ..WorkerInvokeFunctionRequest::default()
        }
    }

    #[test]
    fn a_call_is_read_as_it_was_sent() {
        let item = Item::decode(&valid().encode_to_vec(), true, Some("1000")).expect("valid");
        assert_eq!(item.method, "PUT");
        assert_eq!(item.path, "/a?b=c");
        assert_eq!(item.headers.get_all("x-a").iter().count(), 2);
        assert_eq!(item.service.authority, "10.0.0.1:8080");
        assert_eq!(item.service.path, attach::PATH);
        assert!(item.expired(31_000) && !item.expired(30_999));
        assert!(!format!("{item:?}").contains("Bearer"), "{item:?}");
    }

    #[test]
    fn what_is_no_call_is_refused() {
        type Change = fn(&mut WorkerInvokeFunctionRequest);
        let cases: [(&str, Change); 8] = [
            ("id", |m| m.request_id = "x".into()),
            ("method", |m| m.request_method = "P T".into()),
            ("path", |m| m.request_path = "a b".into()),
            ("path", |m| m.request_path = "http://other/".into()),
            ("header", |m| m.request_headers[0].key = "a b".into()),
            ("header", |m| m.request_headers[0].value = "a\r\nb".into()),
            ("account", |m| m.nca_id = "a\nb".into()),
            ("subject", |m| m.subject = "\u{0}".into()),
        ];
        for (field, change) in cases {
            let mut message = valid();
            change(&mut message);
            let error = Item::decode(&message.encode_to_vec(), false, None).expect_err(field);
            assert_eq!(error, ItemError::Field(field));
        }
        for (target, token) in [("https://a", "t"), ("", "t"), ("http://a", "a\nb")] {
            let mut message = valid();
            let config = &mut message.stateless_config.as_mut().expect("set");
            let way = config.connection_configs[0].http1_config.as_mut();
            let way = way.expect("set");
            way.target_uri = target.into();
            way.response_authorization_token = token.into();
            let error = Item::decode(&message.encode_to_vec(), false, None);
            assert!(matches!(error, Err(ItemError::Field(_))), "{target}");
        }
        let bytes = valid().encode_to_vec();
        assert!(Item::decode(&bytes, false, Some("soon")).is_err());
        assert!(matches!(
            Item::decode(&bytes[..bytes.len() - 1], false, None),
            Err(ItemError::Protobuf(_))
        ));
        assert_eq!(
            Item::decode(&[], false, None).err(),
            Some(ItemError::NoAttach)
        );
        let mut message = valid();
        message.request_method.clear();
        assert_eq!(
            Item::decode(&message.encode_to_vec(), false, None).err(),
            Some(ItemError::WholeByAttach)
        );
    }

    #[test]
    fn what_a_stream_got_is_where_it_stands() {
        let at = Service {
            authority: Authority::from_static("10.0.0.2:8080"),
            path: PathAndQuery::from_static(attach::PATH),
            answer_token: HeaderValue::from_static("Bearer ticket"),
            body_token: None,
        };
        let mut message = valid();
        let item = Item::handed(&message.encode_to_vec(), 1_000, &at).expect("valid");
        assert_eq!(item.service.authority, "10.0.0.2:8080");
        assert!(item.claim && item.service.body_token.is_none());
        assert_eq!(item.deadline_ms, Some(1_000));
        let config = &mut message.stateless_config.as_mut().expect("set");
        let way = config.connection_configs[0].http1_config.as_mut();
        way.expect("set").request_authorization_token = Some("q".into());
        let item = Item::handed(&message.encode_to_vec(), 1_000, &at).expect("valid");
        let token = item.service.body_token.expect("there is more");
        assert_eq!(token, "Bearer q");
        assert!(token.is_sensitive());
        message.stateless_config = None;
        let error = Item::handed(&message.encode_to_vec(), 1_000, &at);
        assert_eq!(error.err(), Some(ItemError::NoAttach));
    }

    #[test]
    fn a_whole_request_comes_later() {
        let mut message = valid();
        message.request_method.clear();
        message.request_path.clear();
        let config = &mut message.stateless_config.as_mut().expect("set");
        let way = config.connection_configs[0].http1_config.as_mut();
        way.expect("set").request_authorization_token = Some("q".into());
        let mut item = Item::decode(&message.encode_to_vec(), true, None).expect("valid");
        assert!(item.whole);
        let bytes = b"PUT /late HTTP/1.1\r\nx-a: 3\r\n\r\n";
        let (head, _) = RequestHead::decode(bytes)
            .expect("valid")
            .expect("complete");
        item.fill(head);
        assert_eq!((item.method.as_str(), item.path.as_str()), ("PUT", "/late"));
        assert_eq!(item.headers["x-a"], "3");
    }

    #[test]
    fn the_window_counts_from_when_the_caller_asked() {
        let check = |poll: Option<&str>, asked: Option<i64>, now_ms: u64| {
            let mut message = valid();
            message.request_headers.extend(poll.map(|poll| StringKv {
                key: "NVCF-POLL-SECONDS".into(),
                value: poll.into(),
            }));
            message.request_time = asked.map(|seconds| Timestamp { seconds, nanos: 0 });
            let bytes = message.encode_to_vec();
            let item = Item::decode(&bytes, false, None).expect("valid");
            item.window_left(now_ms).as_millis()
        };
        assert_eq!(check(None, None, 100_000), 60_000);
        assert_eq!(check(Some("5"), Some(98), 100_000), 3_000);
        assert_eq!(
            check(Some("5"), Some(101), 100_000),
            5_000,
            "its clock is ahead"
        );
        assert_eq!(check(Some("5"), Some(1), 100_000), 1_000, "or far behind");
    }

    #[test]
    fn a_question_says_where_and_how_long() {
        let mut message = valid();
        message.request_method = "GET".into();
        message.request_path.clear();
        let question = Question::decode(&message.encode_to_vec()).expect("valid");
        assert_eq!(question.window, poll::DEFAULT);
        message.request_headers[0] = StringKv {
            key: "Nvcf-Poll-Seconds".into(),
            value: "7".into(),
        };
        let question = Question::decode(&message.encode_to_vec()).expect("valid");
        assert_eq!(question.window, Duration::from_secs(7));
        assert_eq!(question.service.authority, "10.0.0.1:8080");
        message.request_headers[0].value = "soon".into();
        assert!(Question::decode(&message.encode_to_vec()).is_err());
        assert!(Question::decode(&[]).is_err() && Question::decode(b"\xff").is_err());
    }
}
