//! Each outcome and what the caller sees of it.

use std::time::Duration;

use frontdoor_protocol::attach::{Form, HeadError};
use frontdoor_protocol::poll::PollError;
use frontdoor_protocol::target::TargetError;

use super::*;
use crate::auth::Denied;
use crate::pending::Manners;

const ID: &str = "7f2c1f0e-7f3b-4a55-8a2e-3d1b5f0c9a11";

fn stamp() -> Stamp {
    Stamp {
        region: HeaderValue::from_static("us-east"),
        id: ID.parse().expect("valid"),
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|v| v.to_str().expect("text"))
}

#[test]
fn every_refusal_has_its_status_and_tells_the_truth() {
    use Execution::{NotStarted, Started};
    let late = |execution| Refusal::TooLate {
        waited: Duration::from_secs(1),
        staff: Staff::Perhaps,
        execution,
    };
    let unknown = TargetError::Unknown {
        host: "x".into(),
        domain: "y".into(),
    };
    let contradiction = TargetError::Contradiction {
        name: "function-id",
    };
    for (refusal, status, execution, retry) in [
        (Refusal::Target(unknown), 404, NotStarted, false),
        (Refusal::Target(contradiction), 400, NotStarted, false),
        (Refusal::Poll(PollError), 400, NotStarted, false),
        (Refusal::HeaderText(ALLOW), 400, NotStarted, false),
        (Refusal::HeadTooLarge, 431, NotStarted, false),
        (Refusal::Denied(Denied::Missing), 401, NotStarted, false),
        (Refusal::Denied(Denied::Malformed), 401, NotStarted, false),
        (Refusal::Denied(Denied::Unknown), 401, NotStarted, false),
        (Refusal::Denied(Denied::Forbidden), 403, NotStarted, false),
        (Refusal::Denied(Denied::Expired), 401, NotStarted, false),
        (Refusal::Denied(Denied::Revoked), 401, NotStarted, false),
        (Refusal::Denied(Denied::Unpaid), 402, NotStarted, false),
        (Refusal::Denied(Denied::NoFunction), 404, NotStarted, false),
        (Refusal::Denied(Denied::NotReady), 412, NotStarted, false),
        (Refusal::Denied(Denied::Unsure), 503, NotStarted, true),
        (Refusal::UnknownFunction, 404, NotStarted, false),
        (Refusal::UnknownVersion, 404, NotStarted, false),
        (Refusal::BodyBroken, 400, NotStarted, false),
        (
            Refusal::SlowBody {
                waited: Duration::from_secs(1),
            },
            408,
            NotStarted,
            false,
        ),
        (Refusal::Crowded { retry: 3 }, 429, NotStarted, true),
        (Refusal::QueueFull { retry: 1 }, 429, NotStarted, true),
        (Refusal::Draining, 503, NotStarted, true),
        (Refusal::Stopped(NotStarted), 503, NotStarted, true),
        (Refusal::Stopped(Started), 503, Started, true),
        (Refusal::NoWorker(NotStarted), 502, NotStarted, false),
        (Refusal::BusLost(NotStarted), 503, NotStarted, true),
        (Refusal::BusLost(Started), 503, Started, true),
        (Refusal::PublishFailed(NotStarted), 503, NotStarted, true),
        (Refusal::PublishFailed(Started), 503, Started, true),
        (Refusal::Duplicate, 409, Started, false),
        (late(NotStarted), 504, NotStarted, false),
        (late(Started), 504, Started, false),
        (Refusal::WorkerLost, 502, Started, false),
        (
            Refusal::WorkerMalformed(HeadError::Header),
            502,
            Started,
            false,
        ),
    ] {
        let response = refused(&stamp(), &refusal);
        let headers = response.headers();
        assert_eq!(response.status().as_u16(), status, "{refusal:?}");
        assert_eq!(Execution::read(headers), Some(execution), "{refusal:?}");
        assert_eq!(headers.contains_key(RETRY_AFTER), retry, "{refusal:?}");
        assert_eq!(headers.contains_key(WWW_AUTHENTICATE), status == 401);
        assert_eq!(text(headers, "nvcf-reqid"), Some(ID));
        assert_eq!(text(headers, "nvcf-status"), Some("errored"));
        assert_eq!(text(headers, "frontdoor-region"), Some("us-east"));
        assert_eq!(
            text(headers, "content-type"),
            Some("application/problem+json")
        );
        let problem: Problem = serde_json::from_slice(response.body()).expect("a problem");
        assert_eq!(problem.status, status);
        assert!(!problem.detail.is_empty() && problem.request_id.is_some());
    }
}

#[test]
fn a_call_that_nobody_took_is_told_whether_anybody_could_have() {
    use Execution::{NotStarted, Started};
    use Manners::{Claiming, Late};
    let nobody =
        "no worker took the call within 1.5 s: none is known here for this function version;";
    let resting =
        "no worker took the call within 1.5 s: those of this function version take no calls now;";
    let perhaps = "no worker took the call within 1.5 s;";
    let began = "the function did not begin its answer within 1.5 s;";
    for (manners, heard, execution, begins) in [
        (Claiming, None, NotStarted, nobody),
        (Claiming, Some(0), NotStarted, resting),
        (Claiming, Some(1), NotStarted, perhaps),
        // They do not tell of themselves, so that none is known says nothing.
        (Late, None, NotStarted, perhaps),
        (Late, Some(0), NotStarted, perhaps),
        // Who has the call may have been lost since.
        (Claiming, None, Started, began),
    ] {
        let refusal = Refusal::TooLate {
            waited: Duration::from_millis(1500),
            staff: Staff::of(manners, heard),
            execution,
        };
        let response = refused(&stamp(), &refusal);
        let problem: Problem = serde_json::from_slice(response.body()).expect("a problem");
        assert!(problem.detail.starts_with(begins), "{}", problem.detail);
    }
}

fn head(status: u16, headers: &[(&'static str, &'static str)]) -> ResponseHead {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(*name, HeaderValue::from_static(value));
    }
    ResponseHead {
        status: StatusCode::from_u16(status).expect("valid"),
        headers: map,
    }
}

#[test]
fn a_container_answer_passes_in_order() {
    let head = head(
        422,
        &[
            ("x-a", "1"),
            ("set-cookie", "a=1"),
            ("connection", "x-hop"),
            ("x-hop", "1"),
            ("frontdoor-execution", "not-started"),
            ("set-cookie", "b=2"),
            ("access-control-expose-headers", "x-a"),
            ("nvcf-reqid", "forged"),
            ("x-b", "2"),
        ],
    );
    let response = container(&stamp(), head, false);
    let seen: Vec<_> = response
        .headers()
        .iter()
        .map(|(name, value)| format!("{name}: {}", value.to_str().expect("text")))
        .collect();
    assert_eq!(
        seen,
        [
            "x-a: 1",
            "set-cookie: a=1",
            "set-cookie: b=2",
            "access-control-expose-headers: x-a",
            "access-control-expose-headers: nvcf-reqid",
            &format!("nvcf-reqid: {ID}"),
            "x-b: 2",
            "frontdoor-region: us-east",
            "nvcf-status: errored",
        ]
    );
}

#[test]
fn only_our_own_workers_may_speak_of_execution() {
    let said = || head(502, &[("frontdoor-execution", "not-started")]);
    let claimed = container(&stamp(), said(), true);
    assert_eq!(
        Execution::read(claimed.headers()),
        Some(Execution::NotStarted)
    );
    let late = container(&stamp(), said(), false);
    assert_eq!(Execution::read(late.headers()), None);
    for (status, word) in [(200, "fulfilled"), (202, "in-progress"), (404, "errored")] {
        let response = container(&stamp(), head(status, &[]), true);
        assert_eq!(text(response.headers(), "nvcf-status"), Some(word));
        assert_eq!(Execution::read(response.headers()), None);
    }
}

#[test]
fn workers_are_told_what_nvcf_tells_them() {
    for (refusal, status) in [
        (AttachRefusal::Method, 405),
        (AttachRefusal::Unknown, 401),
        (AttachRefusal::Over, 410),
        (AttachRefusal::NotAcceptable(Form::Body), 406),
        (AttachRefusal::Malformed(HeadError::StatusLine), 400),
        (AttachRefusal::Truncated, 400),
    ] {
        assert_eq!(attach_refused(&refusal).status().as_u16(), status);
    }
}

#[test]
fn health_says_why_not() {
    let region = HeaderValue::from_static("us-east");
    let well = health(&region, None);
    assert_eq!(well.status(), StatusCode::OK);
    assert_eq!(well.body().as_ref(), br#"{"status":"OK"}"#);
    let ill = health(&region, Some(&Refusal::Draining));
    assert_eq!(ill.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(Execution::read(ill.headers()), Some(Execution::NotStarted));
}
