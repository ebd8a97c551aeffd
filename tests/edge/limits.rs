//! What callers may take, whom a connection speaks for, and where a call stands in a trace.

use std::sync::Arc;
use std::time::Duration;

use http::Request;
use test_support::client::{Client, Protocol, full};
use test_support::edge::DOMAIN;
use test_support::eventually::eventually;
use test_support::region::{Region, reply};
use tokio::sync::Semaphore;

use crate::harness::{Edge, host, post, request};

/// A region that holds every call until it is let go.
async fn holding(gate: &Arc<Semaphore>) -> Region {
    let gate = Arc::clone(gate);
    Region::start(move |_| {
        let gate = Arc::clone(&gate);
        async move {
            let _ = gate.acquire().await;
            reply(200, &[], "ok")
        }
    })
    .await
    .expect("a port")
}

async fn edge(region: &Region, more: &str) -> Edge {
    let edge = Edge::configured(&[("us-east", region.address)], more).await;
    edge.health("us-east", "up").await;
    edge
}

fn call_of(key: &str) -> Request<test_support::client::Body> {
    Request::post(format!("https://{}/x", host()))
        .header("authorization", format!("Bearer {key}"))
        .body(full("x"))
        .expect("valid")
}

#[tokio::test]
async fn calls_at_once_have_bounds() {
    let gate = Arc::new(Semaphore::new(0));
    let region = holding(&gate).await;
    let edge = edge(&region, "limits = { calls = 3, calls_per_key = 2 }").await;
    let client = edge.client(Protocol::H2).await;
    let mut held = tokio::task::JoinSet::new();
    for key in ["a", "a", "b"] {
        let mut sender = client.h2();
        held.spawn(async move {
            let answer = sender.send_request(call_of(key)).await;
            answer.expect("an answer").status().as_u16()
        });
        let so_far = held.len();
        eventually("it is held", Duration::from_secs(5), async || {
            (region.calls() == so_far).then_some(())
        })
        .await;
        if so_far == 2 {
            let more = edge.client(Protocol::H2).await.call(call_of("a")).await;
            let more = more.expect("an answer");
            assert_eq!(
                (more.status.as_u16(), more.header("retry-after")),
                (429, "1")
            );
            assert_eq!(more.json()["type"], "urn:frontdoor:problem:key-calls");
        }
    }
    let full = edge.client(Protocol::H2).await.call(call_of("c")).await;
    let full = full.expect("an answer");
    assert_eq!(
        (full.status.as_u16(), full.header("retry-after")),
        (503, "1")
    );
    assert_eq!(full.json()["type"], "urn:frontdoor:problem:edge-full");
    gate.add_permits(100);
    while let Some(status) = held.join_next().await {
        assert_eq!(status.expect("no panic"), 200);
    }
    let again = edge.client(Protocol::H2).await.call(call_of("c")).await;
    assert_eq!(again.expect("an answer").status, 200, "room is given back");
    assert!(edge.counter("limited_total", "").await >= 2.0);
}

#[tokio::test]
async fn a_key_has_its_rate_and_no_other_pays() {
    let region = Region::start(|_| async { reply(200, &[], "ok") })
        .await
        .expect("a port");
    let edge = edge(&region, "limits = { rate_per_key = 1, burst_per_key = 3 }").await;
    let mut client = edge.client(Protocol::H2).await;
    let mut statuses = Vec::new();
    for _ in 0..10 {
        let answer = client.call(call_of("a")).await.expect("an answer");
        if answer.status == 429 {
            assert_eq!(answer.json()["type"], "urn:frontdoor:problem:key-rate");
            assert!(
                answer
                    .header("retry-after")
                    .parse::<u32>()
                    .expect("seconds")
                    >= 1
            );
        }
        statuses.push(answer.status.as_u16());
    }
    assert_eq!(statuses[..3], [200; 3]);
    assert!(statuses.contains(&429), "{statuses:?}");
    let other = client.call(call_of("b")).await.expect("an answer");
    assert_eq!(other.status, 200);
}

#[tokio::test]
async fn a_trace_goes_on_or_begins() {
    let region = Region::start(|request| async move {
        let header = |name: &str| {
            let value = request.headers().get(name);
            value
                .and_then(|v| v.to_str().ok())
                .unwrap_or("-")
                .to_owned()
        };
        reply(
            200,
            &[],
            format!("{} {}", header("traceparent"), header("tracestate")),
        )
    })
    .await
    .expect("a port");
    let edge = edge(&region, "").await;
    let mut client = edge.client(Protocol::H2).await;
    let id = "4bf92f3577b34da6a3ce929d0e0e4736";
    let told = format!("00-{id}-00f067aa0ba902b7-00");
    let mut seen = async |told: &str| {
        let call = request("POST", "/x")
            .header("traceparent", told)
            .header("tracestate", "a=b");
        let answer = client.call(call.body(full("x")).expect("valid")).await;
        answer.expect("an answer").text()
    };
    let goes_on = seen(&told).await;
    assert!(goes_on.starts_with(&format!("00-{id}-")), "{goes_on}");
    assert!(goes_on.ends_with("-00 a=b") && !goes_on.contains("00f067aa0ba902b7"));
    let begins = seen("00-nonsense").await;
    assert!(begins.ends_with("-01 -") && begins.len() == 57, "{begins}");
}

#[tokio::test]
async fn one_certificate_speaks_for_all_its_names() {
    let region = Region::start(|_| async { reply(200, &[], "ok") })
        .await
        .expect("a port");
    let edge = edge(&region, "").await;
    // One certificate for all names: a client may use one connection for all of them (RFC 9113 §9.1.1).
    let config = edge.authority.client(&["h2"]).expect("trust");
    let mut client = Client::with(edge.ports.https, DOMAIN, config, Protocol::H2)
        .await
        .expect("a connection");
    let answer = client.call(post("/x", "x")).await.expect("an answer");
    assert_eq!(answer.status, 200);
}
