//! The end of a call in the books: counters, the access line, and the span if one is wanted.
//!
//! Made when a call arrives, ended once: when its answer is through, when it is refused, or when its caller has left. Holds
//! no credential and no body, and of the path not the query. The line of a call that a container answered is written at level
//! debug (`FRONTDOOR_LOG=warn,access=debug`): the edge has written one already, and it would cost a tenth of the call.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use frontdoor_protocol::names::{RequestId, VersionId};
use frontdoor_protocol::target::Target;
use frontdoor_protocol::trace::{TRACEPARENT, TRACESTATE, Trace};
use frontdoor_telemetry::export::Spans;
use frontdoor_telemetry::span::{Kind, Span, method_name};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};

use crate::metrics::Metrics;
use crate::respond::Outcome;

/// What the books are kept with.
#[derive(Clone)]
pub(crate) struct Books {
    /// The region's name, which a line needs where those of many regions come together.
    pub(crate) region: Arc<str>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) spans: Spans,
}

/// What there is to say about a call from its beginning.
pub(crate) struct Record {
    books: Books,
    id: RequestId,
    trace: Option<Trace>,
    target: Option<Target>,
    method: Method,
    uri: Uri,
    began: Instant,
    ended: AtomicBool,
}

/// How a call ended.
pub(crate) struct Ended {
    pub(crate) outcome: Outcome,
    /// What the caller was answered, if it was.
    pub(crate) status: Option<StatusCode>,
    /// The version that was to run it, if that was chosen.
    pub(crate) version: Option<VersionId>,
    /// From head to the first byte of the answer.
    pub(crate) first_byte: Option<Duration>,
    /// Bytes of the answer's body.
    pub(crate) sent: u64,
}

// === impl Record ===

impl Record {
    /// A call that just arrived.
    pub(crate) fn new(
        books: Books,
        id: RequestId,
        target: Option<Target>,
        (method, uri): (&Method, &Uri),
        headers: &HeaderMap,
    ) -> Self {
        let mut told = headers.get_all(TRACEPARENT).iter();
        let told = told.next().filter(|_| told.next().is_none());
        let told = told.map(HeaderValue::as_bytes);
        let trace = match books.spans.is_on() {
            true => Trace::read(told, rand::random(), rand::random()),
            // Somebody else's, and stays as it is.
            false => Trace::read(told, 0, 0),
        };
        let takes_part = trace.is_continued() || books.spans.is_on();
        Self {
            trace: takes_part.then(|| books.spans.sampled(trace)),
            books,
            id,
            target,
            method: method.clone(),
            uri: uri.clone(),
            began: Instant::now(),
            ended: AtomicBool::new(false),
        }
    }

    /// Puts this service's part in front of what comes behind it, if there is one: a trace that nobody here records, or that
    /// its caller does not want recorded, goes on as it came.
    pub(crate) fn continue_trace(&self, headers: &mut HeaderMap) {
        if let Some(trace) = self.trace.filter(|_| self.books.spans.is_on())
            && (trace.is_recorded() || !trace.is_continued())
            && let Ok(value) = HeaderValue::try_from(trace.to_string())
        {
            headers.insert(TRACEPARENT, value);
            if !trace.is_continued() {
                // It belongs to a trace that could not be read, and ends with it (Trace Context 3.3).
                headers.remove(TRACESTATE);
            }
        }
    }

    /// How long ago it arrived.
    pub(crate) fn age(&self) -> Duration {
        self.began.elapsed()
    }

    /// Ends it. The first word counts.
    pub(crate) fn end(&self, ended: &Ended) {
        if self.ended.swap(true, Ordering::Relaxed) {
            return;
        }
        self.books.metrics.call(ended.outcome);
        let total = self.began.elapsed();
        let micros = |d: Duration| u64::try_from(d.as_micros()).unwrap_or(u64::MAX);
        let version = ended
            .version
            .or_else(|| self.target.and_then(|t| t.version));
        macro_rules! entry {
            ($level:ident) => {
                tracing::$level!(
                    target: "access",
                    id = %self.id,
                    trace = self.trace.map(|t| tracing::field::display(format!("{:032x}", t.id))),
                    function = self.target.map(|t| tracing::field::display(t.function)),
                    version = version.map(tracing::field::display),
                    method = self.method.as_str(),
                    path = self.uri.path(),
                    status = ended.status.map(|s| s.as_u16()),
                    outcome = ended.outcome.label(),
                    region = &*self.books.region,
                    first_byte_us = ended.first_byte.map(micros),
                    total_us = micros(total),
                    sent = ended.sent,
                )
            };
        }
        match ended.outcome {
            Outcome::Answered => entry!(debug),
            _ => entry!(info),
        }
        if let Some(trace) = self.trace.filter(|trace| self.books.spans.wants(trace)) {
            self.books
                .spans
                .tell(self.span(trace, ended, version, total));
        }
    }

    fn span(
        &self,
        trace: Trace,
        ended: &Ended,
        version: Option<VersionId>,
        total: Duration,
    ) -> Span {
        let micros = |d: Duration| i64::try_from(d.as_micros()).unwrap_or(i64::MAX);
        let method = self.method.as_str();
        let outcome = ended.outcome;
        Span::ended(
            trace,
            Kind::Server,
            method_name(method),
            SystemTime::now(),
            total,
        )
        .with("http.request.method", Some(method.to_owned()))
        .with("url.path", Some(self.uri.path().to_owned()))
        .with(
            "http.response.status_code",
            ended.status.map(|s| i64::from(s.as_u16())),
        )
        .with("frontdoor.request_id", Some(self.id.to_string()))
        .with(
            "frontdoor.function",
            self.target.map(|t| t.function.to_string()),
        )
        .with("frontdoor.function_version", version.map(|v| v.to_string()))
        .with("frontdoor.outcome", Some(outcome.label()))
        .with("frontdoor.first_byte_us", ended.first_byte.map(micros))
        .failed(outcome.is_ours().then(|| outcome.label()))
    }
}

// === impl Ended ===

impl Ended {
    /// Before anything of an answer was there.
    pub(crate) const fn unanswered(outcome: Outcome) -> Self {
        Self {
            outcome,
            status: None,
            version: None,
            first_byte: None,
            sent: 0,
        }
    }
}

// === impl Outcome ===

impl Outcome {
    /// Whether it is the platform's failure.
    const fn is_ours(self) -> bool {
        matches!(
            self,
            Self::Broken | Self::Unsure | Self::Bus | Self::TooLate | Self::Worker
        )
    }
}
