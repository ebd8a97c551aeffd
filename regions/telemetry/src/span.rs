//! A span: one program's part in a call, made when it is over from what the access line is made from (pure).
//!
//! Whoever makes one puts no credential, body or query into it: what is safe in a log is safe here, and nothing else.

use std::time::{Duration, SystemTime};

use frontdoor_protocol::trace::Trace;
use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue, Value};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

/// How a part deals with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It answers a request.
    Server,
    /// It takes work from a queue.
    Consumer,
}

/// One program's part in a call.
#[derive(Debug)]
pub struct Span {
    trace: Trace,
    kind: Kind,
    name: &'static str,
    began: SystemTime,
    took: Duration,
    failed: Option<&'static str>,
    attributes: Vec<KeyValue>,
}

// === impl Span ===

impl Span {
    /// A part that ended now, after `took`.
    #[must_use]
    pub fn ended(
        trace: Trace,
        kind: Kind,
        name: &'static str,
        now: SystemTime,
        took: Duration,
    ) -> Self {
        Self {
            trace,
            kind,
            name,
            began: now.checked_sub(took).unwrap_or(now),
            took,
            failed: None,
            attributes: Vec::with_capacity(12),
        }
    }

    /// Says something of it; what is not there is not said.
    #[must_use]
    pub fn with<V: Into<Value>>(mut self, key: &'static str, value: Option<V>) -> Self {
        self.attributes
            .extend(value.map(|value| KeyValue::new(key, value)));
        self
    }

    /// It failed, by the platform's doing; what a container answers is no failure of ours.
    #[must_use]
    pub const fn failed(mut self, why: Option<&'static str>) -> Self {
        self.failed = why;
        self
    }

    /// As it is sent.
    pub(crate) fn into_data(self, scope: &InstrumentationScope) -> SpanData {
        let flags = TraceFlags::new(self.trace.flags);
        let id = TraceId::from(self.trace.id);
        let span = SpanId::from(self.trace.span);
        SpanData {
            span_context: SpanContext::new(id, span, flags, false, TraceState::NONE),
            parent_span_id: self.trace.parent.map_or(SpanId::INVALID, SpanId::from),
            parent_span_is_remote: self.trace.parent.is_some(),
            span_kind: match self.kind {
                Kind::Server => SpanKind::Server,
                Kind::Consumer => SpanKind::Consumer,
            },
            name: self.name.into(),
            start_time: self.began,
            end_time: self.began + self.took,
            attributes: self.attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: self.failed.map_or(Status::Unset, Status::error),
            instrumentation_scope: scope.clone(),
        }
    }
}

/// A span's name for a method: callers may make up methods, but not names.
#[must_use]
pub fn method_name(method: &str) -> &'static str {
    const KNOWN: [&str; 9] = [
        "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE",
    ];
    KNOWN
        .into_iter()
        .find(|known| *known == method)
        .unwrap_or("HTTP")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_says_what_it_was_given() {
        let trace = Trace::read(
            Some(b"00-0000000000000000000000000000000a-000000000000000b-01"),
            0,
            0xc,
        );
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
        let took = Duration::from_secs(2);
        let scope = InstrumentationScope::builder("test").build();
        let span = Span::ended(trace, Kind::Server, method_name("BREW"), now, took)
            .with("a", Some(1_i64))
            .with("b", Some("text"))
            .with("c", None::<String>)
            .failed(Some("lost"));
        let data = span.into_data(&scope);
        assert_eq!(data.name, "HTTP");
        assert_eq!(data.span_context.trace_id(), TraceId::from(0xa_u128));
        assert_eq!(data.span_context.span_id(), SpanId::from(0xc_u64));
        assert_eq!(data.parent_span_id, SpanId::from(0xb_u64));
        assert_eq!(data.start_time, now - took);
        assert_eq!(data.end_time, now);
        assert_eq!(data.attributes.len(), 2);
        assert_eq!(data.status, Status::error("lost"));
        let root = Span::ended(Trace::read(None, 1, 2), Kind::Consumer, "run", now, took);
        let root = root.into_data(&scope);
        assert_eq!(root.parent_span_id, SpanId::INVALID);
        assert_eq!(root.status, Status::Unset);
    }
}
