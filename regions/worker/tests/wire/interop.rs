//! Our worker with NVIDIA's invocation service, which speaks of no claims, talks HTTP/1.1, and lets callers of its API wait in
//! windows: the stand-in behaves as the contract says of that.

use std::time::{Duration, Instant};

use http::StatusCode;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::invocation::{Ask, Call, eventually};
use crate::world::{Plan, World, get, json, post, through_api};

async fn nvidias() -> World {
    World::start(Plan {
        claims: false,
        ..Plan::default()
    })
    .await
}

/// An empty 202.
async fn in_progress(call: Call) {
    let answer = call.answer().await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    assert_eq!(answer.headers["content-length"], "0");
    assert!(answer.body.is_empty());
}

#[tokio::test]
async fn what_takes_longer_than_the_caller_waits_is_in_progress_until_it_is_asked_for() {
    let world = nvidias().await;
    let began = Instant::now();
    let call = world.invocation.call(through_api("/sleep/3500", 1)).await;
    let id = call.id;
    in_progress(call).await;
    let told = began.elapsed();
    assert!(
        told < Duration::from_millis(2_500),
        "{told:?}: NVIDIA's gives up 2 s after the window"
    );
    // A window that ends too early, and one that does not.
    let (heard, call) = world.invocation.poll(id, 1).await;
    assert!(heard, "a question is acknowledged at once");
    in_progress(call).await;
    let (heard, call) = world.invocation.poll(id, 20).await;
    assert!(heard);
    assert_eq!(call.answer().await.status, StatusCode::OK);
    assert!(began.elapsed() >= Duration::from_millis(3_500));
    world.invocation.all_settled().await;
    world.counted("answered", 1).await;
    assert_eq!(world.executed(), 1, "asked for three times, run once");
    let (heard, _) = world.invocation.poll(id, 1).await;
    assert!(!heard, "nobody has it any more");
    world.stop().await;
}

#[tokio::test]
async fn an_answer_that_comes_between_two_windows_waits_for_the_next() {
    let world = nvidias().await;
    let call = world.invocation.call(through_api("/sleep/1500", 1)).await;
    let id = call.id;
    in_progress(call).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(world.invocation.queued().await, 1, "the call is not over");
    let began = Instant::now();
    let (heard, call) = world.invocation.poll(id, 20).await;
    assert!(heard);
    assert_eq!(call.answer().await.status, StatusCode::OK);
    assert!(began.elapsed() < Duration::from_secs(1));
    world.invocation.all_settled().await;
    world.stop().await;
}

#[tokio::test]
async fn what_nobody_asks_for_any_more_ends_and_frees_its_slot() {
    let world = World::start(Plan {
        claims: false,
        slots: 1,
        ..Plan::default()
    })
    .await;
    let call = world.invocation.call(through_api("/sleep/60000", 1)).await;
    in_progress(call).await;
    let told = Instant::now();
    // Twice the window, and no less than ten seconds.
    world.counted("caller-gone", 1).await;
    let waited = told.elapsed();
    assert!(
        (Duration::from_secs(9)..Duration::from_secs(13)).contains(&waited),
        "{waited:?}"
    );
    let next = world.invocation.call(get("/bytes/1")).await;
    assert_eq!(next.answer().await.status, StatusCode::OK);
    world.invocation.all_settled().await;
    world.stop().await;
}

#[tokio::test]
async fn function_hosts_and_event_streams_have_no_windows() {
    let world = nvidias().await;
    let mut by_host = get("/sleep/1500");
    by_host.headers.push(("nvcf-poll-seconds", "1".into()));
    let mut events = through_api("/sleep/1500", 1);
    events.headers.push(("accept", "text/event-stream".into()));
    for ask in [by_host, events] {
        let answer = world.invocation.call(ask).await.answer().await;
        assert_eq!(
            answer.status,
            StatusCode::OK,
            "the container's, when it comes"
        );
    }
    world.stop().await;
}

#[tokio::test]
async fn a_call_through_the_api_that_answers_in_time_is_answered() {
    let world = nvidias().await;
    let answer = world
        .invocation
        .call(through_api("/bytes/5", 20))
        .await
        .answer()
        .await;
    assert_eq!((answer.status, answer.body.len()), (StatusCode::OK, 5));
    // Errors become problem details in NVIDIA's words (compatibility mode).
    let answer = world
        .invocation
        .call(through_api("/status/422", 20))
        .await
        .answer()
        .await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(answer.headers["content-type"], "application/problem+json");
    world.invocation.all_settled().await;
    world.stop().await;
}

#[tokio::test]
async fn a_request_comes_as_a_whole_by_get_attach() {
    let body = vec![b'x'; 300_000];
    let sha256 = hex::encode(Sha256::digest(&body));
    for claims in [false, true] {
        let world = World::start(Plan {
            claims,
            ..Plan::default()
        })
        .await;
        for (length, digest) in [(body.len(), Some(&sha256)), (0, None)] {
            let mut ask = Ask {
                method: "PUT",
                whole: true,
                ..post("/inspect?a=b", body[..length].to_vec())
            };
            ask.headers.push(("x-mine", "grüße".into()));
            let report = world.invocation.call(ask).await.answer().await;
            assert_eq!(report.status, StatusCode::OK);
            let report = json(&report.body);
            assert_eq!(report["method"], "PUT");
            assert_eq!(report["query"], "a=b");
            assert_eq!(report["body_bytes"], length);
            if let Some(digest) = digest {
                assert_eq!(report["sha256"], **digest);
            }
            let headers = report["headers"].as_array().unwrap();
            let is = |name: &str| headers.iter().any(|pair| pair[0] == name);
            assert!(is("x-mine") && is("nvcf-reqid") && is("content-length"));
        }
        world.invocation.all_settled().await;
        world.stop().await;
    }
}

/// A container that answers each call after a moment, so that calls overlap, and counts connections.
async fn counting_container(listener: TcpListener, opened: tokio::sync::watch::Sender<usize>) {
    let mut connections = JoinSet::new();
    while let Ok((mut stream, _)) = listener.accept().await {
        let opened = opened.clone();
        connections.spawn(async move {
            let mut counted = false;
            let mut heard = Vec::new();
            let mut piece = vec![0; 4096];
            while let Ok(length @ 1..) = stream.read(&mut piece).await {
                heard.extend_from_slice(&piece[..length]);
                while let Some(end) = heard.windows(4).position(|w| w == b"\r\n\r\n") {
                    let head: Vec<u8> = heard.drain(..end + 4).collect();
                    if !head.starts_with(b"GET /health") {
                        if !std::mem::replace(&mut counted, true) {
                            opened.send_modify(|opened| *opened += 1);
                        }
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                    let well = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                    stream.write_all(well).await.unwrap();
                }
            }
        });
    }
}

#[tokio::test]
async fn connections_to_the_container_are_kept_for_the_next_calls() {
    const PARALLEL: usize = 32;
    for claims in [true, false] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let container = listener.local_addr().unwrap();
        let (opened, count) = tokio::sync::watch::channel(0);
        let mut tasks = JoinSet::new();
        tasks.spawn(counting_container(listener, opened));
        let world = World::start(Plan {
            claims,
            slots: PARALLEL,
            container: Some(container),
            ..Plan::default()
        })
        .await;
        for _ in 0..5 {
            let mut calls = Vec::new();
            for _ in 0..PARALLEL {
                calls.push(world.invocation.call(get("/x")).await);
            }
            for call in calls {
                assert_eq!(call.answer().await.status, StatusCode::OK);
            }
        }
        let opened = *count.borrow();
        println!(
            "{} calls, {PARALLEL} at once: {opened} connections",
            5 * PARALLEL
        );
        assert!((2..=PARALLEL).contains(&opened), "{opened} connections");
        world.stop().await;
    }
}

#[tokio::test]
async fn a_cancelled_call_in_progress_ends_at_once() {
    let world = nvidias().await;
    let call = world.invocation.call(through_api("/sleep/60000", 1)).await;
    let id = call.id;
    in_progress(call).await;
    world.invocation.cancel(id).await;
    world.counted("cancelled", 1).await;
    world.invocation.all_settled().await;
    eventually("the slot is free", async || {
        world.metric("frontdoor_worker_running ").await == 0
    })
    .await;
    world.stop().await;
}

#[tokio::test]
async fn a_202_on_a_functions_host_frees_its_slot() {
    for claims in [false, true] {
        let world = World::start(Plan {
            claims,
            slots: 1,
            ..Plan::default()
        })
        .await;
        let answer = world.invocation.call(get("/status/202")).await;
        assert_eq!(answer.answer().await.status, StatusCode::ACCEPTED);
        let began = Instant::now();
        let next = world.invocation.call(get("/bytes/1")).await;
        assert_eq!(next.answer().await.status, StatusCode::OK);
        assert!(began.elapsed() < Duration::from_secs(2));
        world.invocation.all_settled().await;
        world.stop().await;
    }
}
