//! The end of a call in the books: the access line, and the span if one is wanted. What is counted is counted by `handle.rs`.
//!
//! Made when a work item was read, ended once. Holds no credential and no body, and of the path not the query. The line of a
//! call that the container answered is written at level debug, as the invocation service's is.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

use frontdoor_protocol::names::RequestId;
use frontdoor_protocol::trace::{TRACEPARENT, Trace};
use frontdoor_telemetry::export::Spans;
use frontdoor_telemetry::span::{Kind, Span, method_name};
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, StatusCode};

use crate::item::Item;
use crate::settle::Outcome;

/// What there is to say about a call.
#[derive(Debug)]
pub(crate) struct Record {
    id: RequestId,
    trace: Option<Trace>,
    method: Method,
    path: PathAndQuery,
    /// Whether it came through the queue.
    queued: bool,
    began: Instant,
    /// What the container answered, and how long after the call began here.
    answered: OnceLock<(StatusCode, Duration)>,
}

// === impl Record ===

impl Record {
    /// A call that begins here. Its trace goes on to the container with this worker's part in front, if that is recorded.
    pub(crate) fn new(item: &mut Item, queued: bool, spans: &Spans) -> Self {
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
        Self {
            id: item.id,
            trace,
            method: item.method.clone(),
            path: item.path.clone(),
            queued,
            began: Instant::now(),
            answered: OnceLock::new(),
        }
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
    pub(crate) fn end(&self, outcome: Outcome, spans: &Spans) {
        let total = self.began.elapsed();
        let micros = |d: Duration| u64::try_from(d.as_micros()).unwrap_or(u64::MAX);
        let status = self.answered.get().map(|(status, _)| status.as_u16());
        let first_byte = self.answered.get().map(|(_, after)| *after);
        macro_rules! entry {
            ($level:ident) => {
                tracing::$level!(
                    target: "access",
                    id = %self.id,
                    trace = self.trace.map(|t| tracing::field::display(format!("{:032x}", t.id))),
                    method = self.method.as_str(),
                    path = self.path.path(),
                    status,
                    outcome = outcome.as_str(),
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
        let Some(trace) = self.trace.filter(|trace| spans.wants(trace)) else {
            return;
        };
        let micros = |d: Duration| i64::try_from(d.as_micros()).unwrap_or(i64::MAX);
        let method = self.method.as_str();
        let span = Span::ended(
            trace,
            Kind::Consumer,
            method_name(method),
            SystemTime::now(),
            total,
        );
        spans.tell(
            span.with("http.request.method", Some(method.to_owned()))
                .with("url.path", Some(self.path.path().to_owned()))
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
