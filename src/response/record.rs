//! The end of a call in the books: counters, the access line, and the span if one is wanted.
//!
//! Called once per call by `proxy.rs`, also when the caller left. Writes no credential and no body.

use std::time::{Duration, SystemTime};

use frontdoor_protocol::names::RequestId;
use frontdoor_protocol::target::Target;
use frontdoor_protocol::trace::Trace;
use frontdoor_telemetry::span::{Kind, Span, method_name};

use crate::metrics::{Metrics, Outcome};
use crate::region::RegionIndex;
use crate::route::{Failure, Reason, Why};

/// What there is to say about a call.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// Its id.
    pub id: RequestId,
    /// Its trace.
    pub trace: Trace,
    /// What was called, if that was clear.
    pub target: Option<Target>,
    /// The method.
    pub method: &'a str,
    /// The path without the query, which may hold secrets.
    pub path: &'a str,
    /// HTTP version of the caller.
    pub protocol: &'static str,
    /// Status the caller saw; 0 if none.
    pub status: u16,
    /// How it ended.
    pub outcome: Outcome,
    /// The region of the last attempt.
    pub region: Option<(RegionIndex, &'a str)>,
    /// Why that region.
    pub reason: Option<Reason>,
    /// Attempts made.
    pub attempts: u8,
    /// The last failure before the end, and why it was the last.
    pub failure: Option<Failure>,
    /// Why no further attempt was made.
    pub stop: Option<Why>,
    /// Its body was too large to be kept for another attempt, or there was no room for it.
    pub single: bool,
    /// From head to first byte.
    pub first_byte: Option<Duration>,
    /// From head to end.
    pub total: Duration,
    /// Bytes of body from the caller.
    pub received: usize,
    /// Bytes of body to the caller.
    pub sent: usize,
    /// The snapshot that the last decision was made from.
    pub epoch: u64,
}

/// Writes the record.
pub fn write(record: &Record<'_>, metrics: &Metrics) {
    metrics
        .request
        .ended(record.region.map(|(index, _)| index), record.outcome);
    if let (Some((region, _)), Some(took)) = (record.region, record.first_byte) {
        metrics.request.first_byte(region, took);
    }
    let micros = |d: Duration| u64::try_from(d.as_micros()).unwrap_or(u64::MAX);
    tracing::info!(
        target: "access",
        id = %record.id,
        trace = %format_args!("{:032x}", record.trace.id),
        function = record.target.map(|t| tracing::field::display(t.function)),
        version = record.target.and_then(|t| t.version).map(tracing::field::display),
        method = record.method,
        path = record.path,
        protocol = record.protocol,
        status = record.status,
        outcome = record.outcome.as_str(),
        region = record.region.map(|(_, name)| name),
        reason = record.reason.map(Reason::as_str),
        attempts = record.attempts,
        failure = record.failure.map(Failure::as_str),
        stop = record.stop.map(Why::as_str),
        single = record.single.then_some(true),
        first_byte_us = record.first_byte.map(micros),
        total_us = micros(record.total),
        received = record.received,
        sent = record.sent,
        epoch = record.epoch,
    );
}

/// The edge's part in the call, for whoever collects such: what the access line says, under the names of OpenTelemetry's
/// conventions where they have one.
#[must_use]
pub fn span(record: &Record<'_>) -> Span {
    let text = |value: &dyn std::fmt::Display| value.to_string();
    let micros = |d: Duration| i64::try_from(d.as_micros()).unwrap_or(i64::MAX);
    let failed = matches!(record.outcome, Outcome::Failed | Outcome::Broken);
    Span::ended(
        record.trace,
        Kind::Server,
        method_name(record.method),
        SystemTime::now(),
        record.total,
    )
    .with("http.request.method", Some(record.method.to_owned()))
    .with("url.path", Some(record.path.to_owned()))
    .with(
        "http.response.status_code",
        (record.status > 0).then(|| i64::from(record.status)),
    )
    .with("frontdoor.request_id", Some(text(&record.id)))
    .with(
        "frontdoor.function",
        record.target.map(|t| text(&t.function)),
    )
    .with(
        "frontdoor.function_version",
        record.target.and_then(|t| t.version).map(|v| text(&v)),
    )
    .with("frontdoor.outcome", Some(record.outcome.as_str()))
    .with(
        "frontdoor.region",
        record.region.map(|(_, name)| name.to_owned()),
    )
    .with("frontdoor.reason", record.reason.map(Reason::as_str))
    .with("frontdoor.attempts", Some(i64::from(record.attempts)))
    .with("frontdoor.failure", record.failure.map(Failure::as_str))
    .with("frontdoor.stop", record.stop.map(Why::as_str))
    .with("frontdoor.first_byte_us", record.first_byte.map(micros))
    .failed(failed.then(|| record.outcome.as_str()))
}
