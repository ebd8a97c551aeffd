//! What callers and workers are told: the only place where an error becomes a status, a problem and headers (pure).
//!
//! Container answers pass through here too, to get NVCF's headers and to lose what must not travel. Holds no I/O and
//! decides nothing about a call; `front` and `attach` say what happened, this file says how that reads.

use bytes::Bytes;
use frontdoor_protocol::attach::ResponseHead;
use frontdoor_protocol::headers::{self, Execution, InvokeStatus};
use frontdoor_protocol::names::RequestId;
use frontdoor_protocol::problem::{self, Problem};
use frontdoor_protocol::target::TargetError;
use frontdoor_protocol::verdict::Canary;
use http::header::{
    ACCESS_CONTROL_EXPOSE_HEADERS, ALLOW, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER,
    WWW_AUTHENTICATE,
};
use http::{Response, StatusCode};

mod refusal;
mod staff;
mod turned_away;

pub(crate) use refusal::{Outcome, Refusal};
pub(crate) use staff::Staff;
pub(crate) use turned_away::AttachRefusal;

/// What every answer to one call carries.
#[derive(Debug, Clone)]
pub(crate) struct Stamp {
    /// The region's name, as a header value.
    pub(crate) region: HeaderValue,
    /// The call.
    pub(crate) id: RequestId,
}

/// The answer to a caller whose call the platform could not bring to an answer of the container.
pub(crate) fn refused(stamp: &Stamp, refusal: &Refusal) -> Response<Bytes> {
    let facts = refusal.facts();
    let problem =
        Problem::new(facts.slug, facts.title, facts.status, facts.detail).for_request(stamp.id);
    let mut response = plain(&problem, facts.status);
    let headers = response.headers_mut();
    headers.insert(headers::REGION, stamp.region.clone());
    headers.insert(headers::REQUEST_ID, id_value(stamp.id));
    headers.insert(
        headers::STATUS,
        HeaderValue::from_static(InvokeStatus::Errored.as_str()),
    );
    headers.insert(
        headers::EXECUTION,
        HeaderValue::from_static(facts.execution.as_str()),
    );
    if let Some(seconds) = facts.retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if let Refusal::Target(TargetError::Method { allow }) = refusal {
        headers.insert(ALLOW, HeaderValue::from_static(allow));
    }
    if facts.status == StatusCode::UNAUTHORIZED {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// The container's answer, as it goes to the caller.
///
/// `claimed` says that one of our own workers brought it: only then may it say how far the execution went
/// (the container itself never may).
pub(crate) fn container(stamp: &Stamp, head: ResponseHead, claimed: bool) -> Response<()> {
    let execution = claimed.then(|| Execution::read(&head.headers)).flatten();
    let mut response = Response::new(());
    *response.status_mut() = head.status;
    let headers = response.headers_mut();
    headers.reserve(head.headers.len() + 5);
    for (name, value) in headers::end_to_end(&head.headers) {
        if !name.as_str().starts_with(headers::OUR_PREFIX) {
            headers.append(name, value.clone());
        }
    }
    headers.insert(headers::REGION, stamp.region.clone());
    headers.insert(headers::REQUEST_ID, id_value(stamp.id));
    headers.insert(
        headers::STATUS,
        HeaderValue::from_static(InvokeStatus::of(head.status).as_str()),
    );
    headers.append(
        ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static("nvcf-reqid"),
    );
    if let Some(execution) = execution {
        headers.insert(
            headers::EXECUTION,
            HeaderValue::from_static(execution.as_str()),
        );
    }
    response
}

/// The answer to a browser that asks whether a page may call.
pub(crate) fn preflight(region: &HeaderValue, told: HeaderMap) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.headers_mut() = told;
    response
        .headers_mut()
        .insert(headers::REGION, region.clone());
    response
}

/// The answer to an edge that asked for a canary.
pub(crate) fn canary(region: &HeaderValue, found: Canary) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = match found {
        Canary::Well => StatusCode::NO_CONTENT,
        Canary::Queue | Canary::Silent => StatusCode::SERVICE_UNAVAILABLE,
        Canary::Workers => StatusCode::GATEWAY_TIMEOUT,
    };
    response
        .headers_mut()
        .insert(headers::REGION, region.clone());
    response
}

/// The answer to an edge that said something of a call, whatever came of it: the call's own answer tells.
pub(crate) fn heard(region: &HeaderValue) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(headers::REGION, region.clone());
    response
}

/// The answer to a caller whose call takes longer than the caller waits, and can be asked for by its id.
pub(crate) fn in_progress(stamp: &Stamp) -> Response<()> {
    let head = ResponseHead {
        status: StatusCode::ACCEPTED,
        headers: HeaderMap::new(),
    };
    container(stamp, head, false)
}

/// The answer to `GET /health`.
pub(crate) fn health(region: &HeaderValue, fault: Option<&Refusal>) -> Response<Bytes> {
    let mut response = match fault {
        None => {
            let mut response = Response::new(Bytes::from_static(br#"{"status":"OK"}"#));
            response
                .headers_mut()
                .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            response
        }
        Some(fault) => {
            let facts = fault.facts();
            let problem = Problem::new(facts.slug, facts.title, facts.status, facts.detail);
            let mut response = plain(&problem, facts.status);
            response.headers_mut().insert(
                headers::EXECUTION,
                HeaderValue::from_static(Execution::NotStarted.as_str()),
            );
            response
        }
    };
    response
        .headers_mut()
        .insert(headers::REGION, region.clone());
    response
}

/// The answer to a worker that may not attach.
pub(crate) fn attach_refused(refusal: &AttachRefusal) -> Response<Bytes> {
    let (status, slug, title, detail) = refusal.facts();
    let problem = Problem::new(slug, title, status, detail);
    let mut response = plain(&problem, status);
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, POST"));
    }
    response
}

fn plain(problem: &Problem, status: StatusCode) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(problem.to_json()));
    *response.status_mut() = status;
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static(problem::CONTENT_TYPE),
    );
    response
}

/// A UUID's text is always a valid header value; the fallback only keeps this free of panics.
fn id_value(id: RequestId) -> HeaderValue {
    let mut buffer = [0; uuid::fmt::Hyphenated::LENGTH];
    let text = id.as_uuid().hyphenated().encode_lower(&mut buffer);
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// Trailers as they go to the caller: nobody speaks in our name there either.
pub(crate) fn trailers(mut trailers: HeaderMap) -> HeaderMap {
    headers::remove_ours(&mut trailers);
    trailers
}

#[cfg(test)]
mod tests;
