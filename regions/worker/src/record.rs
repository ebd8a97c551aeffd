//! The end of a call in the books: the access line, and the span if one is wanted. What is counted is counted by `handle.rs`.
//!
//! Made when a work item was read, ended once; what a request says of itself is read when the request is there, which may be
//! later. Holds no credential and no body, and of the path not the query. The line of a call that the container answered is
//! written at level debug, as the invocation service's is.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

use frontdoor_protocol::names::{RegionName, RequestId};
use frontdoor_protocol::trace::{TRACEPARENT, Trace};
use frontdoor_telemetry::export::Spans;
use frontdoor_telemetry::span::{Kind, Span, method_name};
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, StatusCode};

use crate::item::Item;
use crate::settle::Outcome;

/// What the books are kept with.
#[derive(Debug)]
pub(crate) struct Books {
    /// The region's name, which a line needs where those of many regions come together.
    pub(crate) region: RegionName,
    /// Where parts of calls are told.
    pub(crate) spans: Spans,
}

/// What there is to say about a call.
#[derive(Debug)]
pub(crate) struct Record {
    id: RequestId,
    /// Empty while the request is still to be fetched.
    request: OnceLock<Facts>,
    /// Whether it came through the queue.
    queued: bool,
    began: Instant,
    /// What the container answered, and how long after the call began here.
    answered: OnceLock<(StatusCode, Duration)>,
}

/// What a request says of itself.
#[derive(Debug)]
struct Facts {
    trace: Option<Trace>,
    method: Method,
    path: PathAndQuery,
}

// === impl Record ===

impl Record {
    /// A call that begins here. One that comes as a whole by GET attach says nothing yet: its request is to be
    /// [`read`](Self::read) when it is there.
    pub(crate) fn new(item: &mut Item, queued: bool, books: &Books) -> Self {
        let record = Self {
            id: item.id,
            request: OnceLock::new(),
            queued,
            began: Instant::now(),
            answered: OnceLock::new(),
        };
        if !item.whole {
            record.read(item, books);
        }
        record
    }

    /// The request is there. Its trace goes on to the container with this worker's part in front, if that is recorded.
    pub(crate) fn read(&self, item: &mut Item, books: &Books) {
        let spans = &books.spans;
        let mut told = item.headers.get_all(TRACEPARENT).iter();
        let told = told.next().filter(|_| told.next().is_none());
        let told = told.map(HeaderValue::as_bytes);
        // Only continued ones are kept, so nothing fresh is needed but our part, and that only if it is told.
        let part = if spans.is_on() { random() } else { 0 };
        let trace = Some(Trace::read(told, 0, part)).filter(Trace::is_continued);
        if let Some(trace) = trace.filter(|trace| spans.wants(trace))
            && let Ok(value) = HeaderValue::try_from(trace.to_string())
        {
            item.headers.insert(TRACEPARENT, value);
        }
        let _ = self.request.set(Facts {
            trace,
            method: item.method.clone(),
            path: item.path.clone(),
        });
    }

    /// The head of the container's answer is there.
    pub(crate) fn answered(&self, status: StatusCode) {
        let _ = self.answered.set((status, self.began.elapsed()));
    }

    /// How long the call has been here.
    pub(crate) fn age(&self) -> Duration {
        self.began.elapsed()
    }

    /// Ends it.
    pub(crate) fn end(&self, outcome: Outcome, books: &Books) {
        let spans = &books.spans;
        let total = self.began.elapsed();
        let micros = |d: Duration| u64::try_from(d.as_micros()).unwrap_or(u64::MAX);
        let status = self.answered.get().map(|(status, _)| status.as_u16());
        let first_byte = self.answered.get().map(|(_, after)| *after);
        let request = self.request.get();
        let trace = request.and_then(|request| request.trace);
        let method = request.map(|request| request.method.as_str());
        let path = request.map(|request| request.path.path());
        macro_rules! entry {
            ($level:ident) => {
                tracing::$level!(
                    target: "access",
                    id = %self.id,
                    trace = trace.map(|t| tracing::field::display(format!("{:032x}", t.id))),
                    method,
                    path,
                    status,
                    outcome = outcome.as_str(),
                    region = books.region.as_str(),
                    queued = self.queued,
                    first_byte_us = first_byte.map(micros),
                    total_us = micros(total),
                )
            };
        }
        match outcome {
            Outcome::Answered => entry!(debug),
            _ => entry!(info),
        }
        let wanted = trace.filter(|trace| spans.wants(trace));
        let (Some(trace), Some(request)) = (wanted, request) else {
            return;
        };
        let micros = |d: Duration| i64::try_from(d.as_micros()).unwrap_or(i64::MAX);
        let method = request.method.as_str();
        let span = Span::ended(
            trace,
            Kind::Consumer,
            method_name(method),
            SystemTime::now(),
            total,
        );
        spans.tell(
            span.with("http.request.method", Some(method.to_owned()))
                .with("url.path", Some(request.path.path().to_owned()))
                .with("http.response.status_code", status.map(i64::from))
                .with("frontdoor.request_id", Some(self.id.to_string()))
                .with("frontdoor.outcome", Some(outcome.as_str()))
                .with("frontdoor.queued", Some(self.queued))
                .with("frontdoor.first_byte_us", first_byte.map(micros))
                .failed(outcome.is_failure().then(|| outcome.as_str())),
        );
    }
}

/// A part's number in a trace; of no use to whoever could guess it.
fn random() -> u64 {
    let (high, low) = uuid::Uuid::new_v4().as_u64_pair();
    high ^ low
}

#[cfg(test)]
mod tests {
    use frontdoor_protocol::attach::request::RequestHead;
    use frontdoor_protocol::envelope::{
        ConnectionConfig, Http1ProtocolConfig, StatelessConfig, WorkerInvokeFunctionRequest,
    };
    use frontdoor_telemetry::export::{self, Counts, Teller};
    use frontdoor_telemetry::table::Telemetry;
    use http::{HeaderMap, Uri};
    use prometheus::Registry;
    use prost::Message as _;

    use super::*;

    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    /// A call of which only ids and tokens are known yet.
    fn whole() -> Item {
        let http1_config = Some(Http1ProtocolConfig {
            target_uri: "http://a".into(),
            response_authorization_token: "t".into(),
            request_authorization_token: Some("q".into()),
            ..Http1ProtocolConfig::default()
        });
        let message = WorkerInvokeFunctionRequest {
            request_id: "7f2c1f0e-7f3b-4a55-8a2e-3d1b5f0c9a11".into(),
            stateless_config: Some(StatelessConfig {
                connection_configs: vec![ConnectionConfig { http1_config }],
            }),
            ..WorkerInvokeFunctionRequest::default()
        };
        Item::decode(&message.encode_to_vec(), true, None).expect("valid")
    }

    fn books(spans: Spans) -> Books {
        let region = "us-east".parse().expect("valid");
        Books { region, spans }
    }

    fn told() -> RequestHead {
        let mut headers = HeaderMap::new();
        headers.insert(TRACEPARENT, HeaderValue::from_static(TRACE));
        RequestHead {
            method: Method::PUT,
            path: PathAndQuery::from_static("/late?x=1"),
            headers,
        }
    }

    #[tokio::test]
    async fn a_request_that_comes_as_a_whole_is_read_when_it_is_there() {
        let settings = Telemetry {
            endpoint: Some(Uri::from_static("http://127.0.0.1:1")),
            ca: None,
            share: 1 << 32,
            queue: 1,
        };
        let teller = Teller {
            service: "frontdoor-worker",
            instance: 7,
            region: None,
        };
        let counts = Counts::register(&Registry::new(), "test").expect("fresh");
        let (spans, _exporter) = export::open(&settings, teller, counts).expect("opens");
        let books = books(spans);
        let mut item = whole();
        let record = Record::new(&mut item, true, &books);
        assert!(record.request.get().is_none(), "nothing is known yet");
        item.fill(told());
        record.read(&mut item, &books);
        let facts = record.request.get().expect("known");
        assert_eq!((facts.method.as_str(), facts.path.path()), ("PUT", "/late"));
        let trace = facts.trace.expect("continued");
        assert_eq!(trace.parent, Some(0x00f0_67aa_0ba9_02b7));
        assert_eq!(item.headers[TRACEPARENT], trace.to_string());
        record.end(Outcome::Answered, &books);
    }

    #[test]
    fn a_request_that_never_came_ends_without_facts() {
        let books = books(Spans::default());
        let mut item = whole();
        let record = Record::new(&mut item, false, &books);
        record.end(Outcome::Cancelled, &books);
        assert!(record.request.get().is_none());
    }
}
