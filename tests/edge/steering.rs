//! Where a call goes when its caller has a say in it: a session stays in one region, a region that is named is tried first.

use std::collections::BTreeSet;

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use test_support::client::{Answer, Protocol, full};
use test_support::region::{Region, reply};

use crate::harness::{Edge, request};

const SESSIONS: &str = "steering = { affinity_header = \"x-session\", affinity_cookie = \"sid\" }";

/// A region that answers with its own name, and tells whether it saw the header that is for the edge alone.
async fn region(name: &'static str) -> Region {
    Region::start(move |request| async move {
        let seen = request.headers().contains_key("frontdoor-region");
        reply(200, &[], format!("{name} {seen}"))
    })
    .await
    .expect("a port")
}

/// An edge for which these regions are well.
async fn edge(regions: &[(&str, std::net::SocketAddr)], more: &str) -> Edge {
    let edge = Edge::configured(regions, more).await;
    for (name, _) in regions {
        edge.health(name, "up").await;
    }
    edge
}

/// Whoever has this key may name a region.
fn overriding(key: &str) -> String {
    let hash = hex::encode(Sha256::digest(key));
    format!("steering = {{ override_keys = [\"{hash}\"] }}")
}

async fn call(edge: &Edge, header: (&str, &str)) -> Answer {
    let request = request("POST", "/").header(header.0, header.1);
    let mut client = edge.client(Protocol::H2).await;
    let request = request.body(full("x")).expect("valid");
    client.call(request).await.expect("an answer")
}

/// The answers to some calls.
async fn answers(edge: &Edge, header: (&str, &str)) -> BTreeSet<String> {
    let mut answers = BTreeSet::new();
    for _ in 0..4 {
        let answer = call(edge, header).await;
        assert_eq!(answer.status, 200);
        answers.insert(answer.text());
    }
    answers
}

#[tokio::test]
async fn a_session_stays_in_one_region_and_sessions_spread() {
    let (a, b) = (region("a-first").await, region("b-second").await);
    let edge = edge(&[("a-first", a.address), ("b-second", b.address)], SESSIONS).await;
    let mut homes = BTreeSet::new();
    for session in 0..8 {
        let key = format!("s{session}");
        let by_header = answers(&edge, ("x-session", &key)).await;
        let by_cookie = answers(&edge, ("cookie", &format!("x=1; sid={key}"))).await;
        assert_eq!(by_header.len(), 1, "{by_header:?}");
        assert_eq!(by_header, by_cookie, "one key, however it is told");
        homes.extend(by_header);
    }
    assert_eq!(homes.len(), 2, "sessions use all regions");
}

#[tokio::test]
async fn a_region_is_named_by_those_who_may() {
    let (a, b) = (region("a-first").await, region("b-second").await);
    let regions = [("a-first", a.address), ("b-second", b.address)];
    // The harness calls with the key `key`.
    let edge = edge(&regions, &overriding("key")).await;
    for (name, _) in regions {
        let answers = answers(&edge, ("frontdoor-region", name)).await;
        let alone = BTreeSet::from([format!("{name} false")]);
        assert_eq!(answers, alone, "only there, and the header stays here");
    }
    let answer = call(&edge, ("frontdoor-region", "nowhere")).await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.headers["content-type"], "application/problem+json");
    let problem: Value = answer.json();
    let slug = problem["type"].as_str().expect("text");
    assert!(slug.ends_with("unknown-region"), "{problem}");
}

#[tokio::test]
async fn a_named_region_that_cannot_is_no_prison() {
    let declining = Region::start(|_| async {
        let answer = [("frontdoor-execution", "not-started")];
        reply(503, &answer, "not now")
    });
    let (a, b) = (declining.await.expect("a port"), region("b-second").await);
    let regions = [("a-first", a.address), ("b-second", b.address)];
    let edge = edge(&regions, &overriding("key")).await;
    let other = BTreeSet::from(["b-second false".to_owned()]);
    let named = ("frontdoor-region", "a-first");
    assert_eq!(answers(&edge, named).await, other);
    assert_eq!(a.calls(), 4, "each was there first");
    drop(a);
    edge.health("a-first", "down").await;
    assert_eq!(answers(&edge, named).await, other);
}

#[tokio::test]
async fn nobody_else_may_name_a_region() {
    let (a, b) = (region("a-first").await, region("b-second").await);
    // So light that no call gets to the second one but by its name.
    let regions = format!(
        "regions = [{{ name = \"a-first\", endpoint = \"http://{}\" }}, \
         {{ name = \"b-second\", endpoint = \"http://{}\", weight = 1e-15 }}]",
        a.address, b.address
    );
    for (key, place) in [("another", "a-first false"), ("key", "b-second false")] {
        let edge = Edge::configured(&[], &format!("{}\n{regions}", overriding(key))).await;
        edge.health("a-first", "up").await;
        edge.health("b-second", "up").await;
        let told = answers(&edge, ("frontdoor-region", "b-second")).await;
        assert_eq!(told, BTreeSet::from([place.to_owned()]));
        let unknown = call(&edge, ("frontdoor-region", "nowhere")).await;
        assert_eq!(unknown.status == 200, key == "another");
    }
}
