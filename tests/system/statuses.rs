//! Statuses: the container's pass unchanged, the platform's say what happened and whether it ran.

use std::time::{Duration, Instant};

use test_support::client::full;

use crate::{NEAR, world};

#[tokio::test]
async fn a_containers_answer_is_not_touched() {
    let world = world(NEAR);
    for status in ["422", "404", "500", "503"] {
        let body = r#"{"error": "invalid datatype for input message"}"#;
        let call = world
            .request("POST", &format!("/status/{status}"))
            .header("content-type", "application/json");
        let answer = world
            .call(call.body(full(body)).expect("valid"))
            .await
            .expect("an answer");
        assert_eq!(answer.status.as_str(), status);
        assert_eq!(answer.text(), body);
        assert_eq!(answer.header("nvcf-status"), "errored");
        assert_eq!(answer.header("nvcf-reqid").len(), 36);
    }
    let redirect = world
        .call(
            world
                .request("GET", "/redirect")
                .body(full(""))
                .expect("valid"),
        )
        .await
        .expect("an answer");
    assert_eq!(
        (
            redirect.status.as_u16(),
            redirect.header("location").is_empty()
        ),
        (302, false),
        "not followed"
    );
    let many = world
        .call(
            world
                .request("GET", "/headers/100")
                .body(full(""))
                .expect("valid"),
        )
        .await
        .expect("an answer");
    assert!(many.headers.len() >= 100, "{}", many.headers.len());
    assert_eq!(many.status, 200);
}

#[tokio::test]
async fn platform_answers_are_problem_details() {
    let world = world(NEAR);
    let other = world.endpoint("/api_keys/none").to_owned();
    let unknown = "0196f0c2-7e1f-7a55-8a2e-3d1b5f0c9a11";
    let call = |key: &str| world.request_with_key("POST", "/echo", key);
    let cases = [
        (call("wrong"), 401),
        (call(&other), 403),
        (
            world
                .request("POST", "/echo")
                .header("nvcf-poll-seconds", "abc"),
            400,
        ),
    ];
    for (builder, status) in cases {
        let answer = world
            .call(builder.body(full("{}")).expect("valid"))
            .await
            .expect("an answer");
        assert_eq!(answer.status.as_u16(), status, "{}", answer.text());
        check_problem(&answer);
    }
    let mut plain = test_support::client::Client::plain(
        world.address("/edge/http"),
        test_support::client::Protocol::H1,
    )
    .await
    .expect("plain");
    let call = http::Request::post("/echo")
        .header("host", format!("{unknown}.{}", world.endpoint("/domain")))
        .header(
            "authorization",
            format!("Bearer {}", world.endpoint("/api_key")),
        );
    let answer = plain
        .call(call.body(full("{}")).expect("valid"))
        .await
        .expect("an answer");
    assert_eq!(answer.status, 404, "{}", answer.text());
    check_problem(&answer);
    assert_eq!(
        world.executed().expect("a journal").len(),
        0,
        "nothing of it ran"
    );
}

#[tokio::test]
async fn without_a_worker_the_wait_is_as_long_as_asked() {
    let world = world(NEAR);
    world.local(&["kill", "us-east/worker"]).expect("killed");
    world.local(&["kill", "eu-west/worker"]).expect("killed");
    let started = Instant::now();
    let call = world
        .request("POST", "/echo")
        .header("nvcf-poll-seconds", "1");
    let answer = world
        .call(call.body(full("{}")).expect("valid"))
        .await
        .expect("an answer");
    let took = started.elapsed();
    assert_eq!(answer.status, 504, "{}", answer.text());
    check_problem(&answer);
    assert!(
        (Duration::from_millis(1000)..Duration::from_millis(1500)).contains(&took),
        "{took:?}"
    );
    for worker in ["us-east/worker", "eu-west/worker"] {
        world.local(&["start", worker]).expect("started");
    }
    let answer = world
        .call(
            world
                .request("POST", "/echo")
                .body(full("{}"))
                .expect("valid"),
        )
        .await
        .expect("an answer");
    assert_eq!(answer.status, 200);
    assert_eq!(
        world.executed().expect("a journal").len(),
        1,
        "the call that timed out never ran"
    );
}

fn check_problem(answer: &test_support::client::Answer) {
    assert_eq!(answer.header("content-type"), "application/problem+json");
    assert_eq!(answer.header("nvcf-status"), "errored");
    assert_eq!(answer.header("nvcf-reqid").len(), 36);
    assert_eq!(answer.header("frontdoor-execution"), "");
    let problem = answer.json();
    assert_eq!(
        problem["status"].as_u64(),
        Some(u64::from(answer.status.as_u16()))
    );
    assert_eq!(
        problem["nvcf-reqid"].as_str(),
        Some(answer.header("nvcf-reqid")),
        "{problem}"
    );
    assert!(
        problem["detail"].as_str().is_some_and(|d| !d.is_empty()),
        "{problem}"
    );
}
