//! From a caller's request to a work item, and how long the caller waits (pure).
//!
//! Says which headers travel to the container and in what words. Never sees a credential past this point: the
//! `authorization` header stays behind.

use std::time::Duration;

use frontdoor_protocol::attach::{self, HEAD_LIMIT, HEADERS_LIMIT};
use frontdoor_protocol::envelope::{
    ConnectionConfig, DIRECT_RESPONSE_LIMIT, Http1ProtocolConfig, StatelessConfig, StringKv,
    Timestamp, WorkerInvokeFunctionRequest,
};
use frontdoor_protocol::headers::{
    DISABLE_COMPATIBILITY, INVOCATION_REGION, OUR_PREFIX, POLL_SECONDS, REMAINING_MS, STREAM_WHOLE,
    end_to_end,
};
use frontdoor_protocol::names::{RegionName, RequestId};
use frontdoor_protocol::poll::{self, PollError};
use frontdoor_protocol::trace::{TRACEPARENT, TRACESTATE};
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderName, request};
use uuid::Uuid;

use crate::auth::Caller;
use crate::respond::Refusal;

/// A request, without its body.
pub(super) struct Facts {
    pub(super) head: request::Parts,
    /// Whom it asks for.
    pub(super) authority: String,
}

/// How a request travels to its function.
pub(super) enum Form<'a> {
    /// As it is: to the path it names, with the caller's headers.
    AsItIs,
    /// Through the API: to the function's one path, and its answer may be asked for later.
    Api {
        path: &'a str,
        /// How long the call may take altogether.
        life: Duration,
        /// The length of the body, if it was unwrapped: then no other header of the caller's goes along.
        unwrapped: Option<usize>,
    },
}

/// How long the caller waits for the first byte: as it says, else `default`, or less if an edge has used up some of it.
pub(super) fn patience(
    headers: &HeaderMap,
    default: Duration,
    trusted: bool,
) -> Result<Duration, PollError> {
    let asked = headers.get(POLL_SECONDS).map(|value| value.as_bytes());
    let asked = poll::read_or(asked, default)?;
    let left = headers
        .get(REMAINING_MS)
        .filter(|_| trusted)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.parse().ok())
        .map(Duration::from_millis);
    Ok(left.map_or(asked, |left| left.min(asked)))
}

/// The work item, still without body and attach tokens.
pub(super) fn work(
    id: RequestId,
    caller: &Caller,
    request: &Facts,
    region: &RegionName,
    now: Duration,
    form: &Form<'_>,
) -> Result<WorkerInvokeFunctionRequest, Refusal> {
    let path = match form {
        Form::AsItIs => request.head.uri.path_and_query().map(ToString::to_string),
        Form::Api { path, .. } => Some((*path).to_owned()),
    };
    let headers = match form {
        Form::AsItIs => travelling(request, region, true),
        Form::Api {
            life, unwrapped, ..
        } => through_api(request, region, *life, *unwrapped),
    };
    Ok(WorkerInvokeFunctionRequest {
        request_id: id.to_string(),
        nca_id: caller.account.as_ref().to_owned(),
        subject: caller.subject.as_ref().to_owned(),
        max_direct_response_size_bytes: DIRECT_RESPONSE_LIMIT,
        request_time: Some(Timestamp {
            seconds: i64::try_from(now.as_secs()).unwrap_or(i64::MAX),
            nanos: i32::try_from(now.subsec_nanos()).unwrap_or(0),
        }),
        request_headers: headers.map_err(Refusal::HeaderText)?,
        request_method: request.head.method.to_string(),
        request_path: path.unwrap_or_else(|| "/".to_owned()),
        ..WorkerInvokeFunctionRequest::default()
    })
}

/// Whether the caller wants that nothing of the call but ids and tokens goes through NATS.
pub(super) fn wants_streamed(headers: &HeaderMap) -> bool {
    headers
        .get(STREAM_WHOLE)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"true"))
}

/// Takes what the item says of the request out of it: the head that its worker will fetch, if a worker reads so much of one. Of
/// what travels in the item it reads any number of headers.
pub(super) fn take_head(work: &mut WorkerInvokeFunctionRequest) -> Result<Vec<u8>, Refusal> {
    let headers = work.request_headers.iter();
    let pairs = headers.map(|h| (h.key.as_str(), h.value.as_str()));
    let head = attach::request::encode(&work.request_method, &work.request_path, pairs);
    if work.request_headers.len() > HEADERS_LIMIT || head.len() > HEAD_LIMIT {
        return Err(Refusal::HeadTooLarge);
    }
    work.request_method = String::new();
    work.request_path = String::new();
    work.request_headers = Vec::new();
    Ok(head)
}

/// Where and with which tokens a worker attaches.
pub(super) fn way(url: &str, answer: Uuid, fetch: Option<Uuid>) -> StatelessConfig {
    StatelessConfig {
        connection_configs: vec![ConnectionConfig {
            http1_config: Some(Http1ProtocolConfig {
                proxy_uri: None,
                target_uri: url.to_owned(),
                response_authorization_token: answer.to_string(),
                request_authorization_token: fetch.map(|token| token.to_string()),
            }),
        }],
    }
}

/// Milliseconds since the epoch.
pub(super) fn unix_ms(since_epoch: Duration) -> u64 {
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}

/// The headers that go to the container, in the caller's order; fails with the first that is no text.
fn travelling(
    request: &Facts,
    region: &RegionName,
    as_it_is: bool,
) -> Result<Vec<StringKv>, HeaderName> {
    let headers = &request.head.headers;
    let mut travelling = Vec::with_capacity(headers.len() + 3);
    let mut add = |key: &HeaderName, value: &str| {
        travelling.push(StringKv {
            key: key.as_str().to_owned(),
            value: value.to_owned(),
        });
    };
    if !headers.contains_key(HOST) {
        add(&HOST, &request.authority);
    }
    for (name, value) in end_to_end(headers) {
        let ours = name.as_str().starts_with(OUR_PREFIX)
            || [&AUTHORIZATION, &INVOCATION_REGION, &DISABLE_COMPATIBILITY].contains(&name);
        if !ours {
            let text = std::str::from_utf8(value.as_bytes()).map_err(|_| name.clone())?;
            add(name, text);
        }
    }
    add(&INVOCATION_REGION, region.as_str());
    if as_it_is {
        add(&DISABLE_COMPATIBILITY, "true");
    }
    Ok(travelling)
}

/// The headers that go through the API: the worker is told how long the call may take, not how long its first caller
/// waits, and may translate errors (NVCF's compatibility mode).
fn through_api(
    request: &Facts,
    region: &RegionName,
    life: Duration,
    unwrapped: Option<usize>,
) -> Result<Vec<StringKv>, HeaderName> {
    let mut headers = travelling(request, region, false)?;
    let kept = |key: &str| match unwrapped {
        None => key != POLL_SECONDS,
        Some(_) => [HOST, INVOCATION_REGION, TRACEPARENT, TRACESTATE]
            .iter()
            .any(|name| name == key),
    };
    headers.retain(|header| kept(&header.key));
    let mut add = |key: &HeaderName, value: String| {
        headers.push(StringKv {
            key: key.as_str().to_owned(),
            value,
        });
    };
    add(&POLL_SECONDS, life.min(poll::MAX).as_secs().to_string());
    if let Some(length) = unwrapped {
        add(&CONTENT_TYPE, "application/json".to_owned());
        add(&CONTENT_LENGTH, length.to_string());
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Request};

    use super::*;

    const ID: &str = "7f2c1f0e-7f3b-4a55-8a2e-3d1b5f0c9a11";

    fn facts(uri: &str, headers: &[(&'static str, &[u8])]) -> Facts {
        let (mut head, ()) = Request::post(uri).body(()).expect("valid").into_parts();
        for (name, value) in headers {
            let value = HeaderValue::from_bytes(value).expect("valid");
            head.headers.append(*name, value);
        }
        Facts {
            head,
            authority: "f.invocation.localhost".into(),
        }
    }

    fn build(facts: &Facts) -> Result<WorkerInvokeFunctionRequest, Refusal> {
        build_as(facts, &Form::AsItIs)
    }

    fn build_as(facts: &Facts, form: &Form<'_>) -> Result<WorkerInvokeFunctionRequest, Refusal> {
        work(
            ID.parse().expect("valid"),
            &Caller::named(&"local".into()),
            facts,
            &"us-east".parse().expect("valid"),
            Duration::from_millis(1_500),
            form,
        )
    }

    #[test]
    fn through_the_api_the_function_has_one_path() {
        let given: &[(&'static str, &[u8])] = &[
            ("host", b"api.example.com"),
            ("nvcf-poll-seconds", b"5"),
            ("content-type", b"text/plain"),
            ("content-length", b"90"),
            ("x-a", b"1"),
            ("nvcf-feature-disable-worker-compatibility", b"true"),
        ];
        let check = |unwrapped| {
            let form = Form::Api {
                path: "/v1/infer",
                life: Duration::from_secs(3_605),
                unwrapped,
            };
            let item = build_as(&facts("/v2/nvcf/pexec/functions/f?a=b", given), &form);
            let item = item.expect("valid");
            assert_eq!(item.request_path, "/v1/infer");
            let headers = item.request_headers.iter();
            let headers: Vec<String> = headers.map(|h| format!("{}: {}", h.key, h.value)).collect();
            headers.join(", ")
        };
        assert_eq!(
            check(None),
            "host: api.example.com, content-type: text/plain, content-length: 90, x-a: 1, \
             nvcf-invocation-region: us-east, nvcf-poll-seconds: 3600"
        );
        assert_eq!(
            check(Some(7)),
            "host: api.example.com, nvcf-invocation-region: us-east, nvcf-poll-seconds: 3600, \
             content-type: application/json, content-length: 7"
        );
    }

    #[test]
    fn what_travels_to_the_container() {
        let item = build(&facts(
            "/v1/echo?a=1&b=%20",
            &[
                ("x-a", b"1"),
                ("authorization", b"Bearer secret"),
                ("connection", b"x-hop"),
                ("x-hop", b"1"),
                ("frontdoor-remaining-ms", b"5"),
                ("nvcf-invocation-region", b"elsewhere"),
                ("x-b", "grüße".as_bytes()),
                ("x-a", b"2"),
            ],
        ))
        .expect("valid");
        let headers: Vec<_> = item
            .request_headers
            .iter()
            .map(|h| format!("{}: {}", h.key, h.value))
            .collect();
        assert_eq!(
            headers,
            [
                "host: f.invocation.localhost",
                "x-a: 1",
                "x-a: 2",
                "x-b: grüße",
                "nvcf-invocation-region: us-east",
                "nvcf-feature-disable-worker-compatibility: true",
            ]
        );
        assert_eq!(item.request_path, "/v1/echo?a=1&b=%20");
        assert_eq!(item.request_method, "POST");
        assert_eq!(
            (item.nca_id.as_str(), item.subject.as_str()),
            ("local", "local")
        );
        let time = item.request_time.expect("set");
        assert_eq!((time.seconds, time.nanos), (1, 500_000_000));
    }

    #[test]
    fn what_is_streamed_whole_leaves_ids_alone_in_the_item() {
        let wants = |value: &'static str| {
            let given = [(
                "nvcf-feature-enable-only-stream-full-request",
                value.as_bytes(),
            )];
            wants_streamed(&facts("/", &given).head.headers)
        };
        assert!(wants("true") && wants("True") && !wants("false") && !wants(""));
        let mut item = build(&facts("/a?b=c", &[("x-a", b"1")])).expect("valid");
        let head = take_head(&mut item).expect("short");
        let (head, _) = attach::request::RequestHead::decode(&head)
            .expect("valid")
            .expect("complete");
        assert_eq!(
            (head.method.as_str(), head.path.as_str()),
            ("POST", "/a?b=c")
        );
        assert_eq!(head.headers["x-a"], "1");
        assert_eq!(item.request_id, ID);
        let left = (item.request_method, item.request_path, item.request_headers);
        assert_eq!(left, (String::new(), String::new(), Vec::new()));
    }

    #[test]
    fn what_is_streamed_whole_has_a_head_that_a_worker_reads() {
        // Three headers are ours, and one says how it is to be streamed.
        let most = HEADERS_LIMIT - 4;
        for (streamed, count, length, taken) in [
            ("true", most, 1, true),
            ("true", most + 1, 1, false),
            ("false", most + 1, 1, true),
            ("true", 1, HEAD_LIMIT, false),
            ("false", 1, HEAD_LIMIT, true),
        ] {
            let value = vec![b'x'; length];
            let mut given = vec![("x-a", &value[..]); count];
            given.push((
                "nvcf-feature-enable-only-stream-full-request",
                streamed.as_bytes(),
            ));
            let facts = facts("/", &given);
            let mut item = build(&facts).expect("valid");
            let wants = wants_streamed(&facts.head.headers);
            let head = wants.then(|| take_head(&mut item));
            let refused = matches!(head, Some(Err(Refusal::HeadTooLarge)));
            assert_eq!(!refused, taken, "{count} of {length}, {streamed}");
            if let Some(Ok(head)) = head {
                let head = attach::request::RequestHead::decode(&head);
                assert!(matches!(head, Ok(Some(_))), "{head:?}");
            }
        }
    }

    #[test]
    fn the_host_given_is_kept_and_binary_values_are_refused() {
        let item = build(&facts("/", &[("host", b"given")])).expect("valid");
        assert_eq!(item.request_headers[0].value, "given");
        let refused = build(&facts("/", &[("x-bin", b"\xff\xfe")]));
        assert!(matches!(refused, Err(Refusal::HeaderText(name)) if name == "x-bin"));
    }

    #[test]
    fn only_an_edge_may_shorten_the_wait() {
        let check = |poll: &'static str, left: Option<&'static str>, trusted| {
            let mut headers = HeaderMap::new();
            headers.insert(POLL_SECONDS, HeaderValue::from_static(poll));
            if let Some(left) = left {
                headers.insert(REMAINING_MS, HeaderValue::from_static(left));
            }
            patience(&headers, poll::DEFAULT, trusted).map(|p| p.as_millis())
        };
        assert_eq!(check("5", None, true), Ok(5_000));
        assert_eq!(check("5", Some("250"), true), Ok(250));
        assert_eq!(check("5", Some("250"), false), Ok(5_000));
        assert_eq!(check("5", Some("9000"), true), Ok(5_000));
        assert_eq!(check("5", Some("x"), true), Ok(5_000));
        assert_eq!(check("x", Some("250"), true), Err(PollError));
    }
}
