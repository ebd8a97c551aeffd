//! Event streams through TLS, edge, invocation service and worker.

use std::time::{SystemTime, UNIX_EPOCH};

use http_body_util::BodyExt as _;
use test_support::client::{Client, Protocol, full};
use test_support::eventually::eventually;
use test_support::world::World;

use crate::{NEAR, world};

/// A function's own stream that is never later than this, in microseconds, had a quiet machine.
const QUIET: u64 = 1_000;
/// A machine that is not quiet for five of so many streams shows nothing at all.
const STREAMS: usize = 25;

/// How late each of 50 events was, in microseconds, from the function's write to the caller's read.
async fn lateness(world: &World, mut client: Client) -> Vec<u64> {
    let call = world
        .request("GET", "/events?count=50&interval_ms=20")
        .header("accept", "text/event-stream");
    let mut body = client
        .send(call.body(full("")).expect("valid"))
        .await
        .expect("a head")
        .into_body();
    let (mut late, mut pending) = (Vec::new(), Vec::new());
    while let Some(frame) = body.frame().await {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("after 1970")
            .as_micros();
        pending.extend_from_slice(&frame.expect("whole").into_data().unwrap_or_default());
        while let Some(end) = pending.windows(2).position(|w| w == b"\n\n") {
            let event: Vec<u8> = pending.drain(..end + 2).collect();
            let text = String::from_utf8_lossy(&event);
            let json = text.trim().strip_prefix("data: ").expect("an event");
            let event: serde_json::Value = serde_json::from_str(json).expect("JSON");
            late.push(u64::try_from(now).expect("fits") - event["at_us"].as_u64().expect("a time"));
        }
    }
    late.sort_unstable();
    late
}

/// The promise is 5 ms for 99 of 100 events. A shared machine adds hiccups of its own, to some streams and not to
/// others, so the best of five streams shows what the path does. A stream of the function alone runs beside each: if that
/// one is late, the machine was, and the pair says nothing.
#[tokio::test]
async fn events_arrive_as_they_are_written() {
    let world = world(NEAR);
    for protocol in [Protocol::H1, Protocol::H2] {
        let (mut best, mut counted) = (u64::MAX, 0);
        for _ in 0..STREAMS {
            let path = world.caller(protocol).await.expect("a connection");
            let function = world.address("/regions/us-east/function/url");
            let alone = Client::plain(function, Protocol::H1).await.expect("there");
            let (late, alone) = tokio::join!(lateness(&world, path), lateness(&world, alone));
            assert_eq!((late.len(), alone.len()), (50, 50));
            println!(
                "{protocol:?}: p50 {} µs, p90 {} µs, p98 {} µs, max {} µs; the function alone: max {} µs",
                late[25], late[45], late[48], late[49], alone[49]
            );
            best = best.min(late[49]);
            counted += usize::from(alone[49] <= QUIET);
            if best <= 5_000 || counted == 5 {
                break;
            }
        }
        assert!(best <= 5_000, "{protocol:?}: {best} µs at best");
    }
}

#[tokio::test]
async fn a_function_that_breaks_off_never_looks_whole() {
    let world = world(NEAR);
    for protocol in [Protocol::H1, Protocol::H2] {
        let mut client = world.caller(protocol).await.expect("a connection");
        let call = world
            .request("GET", "/abort-after/100000")
            .body(full(""))
            .expect("valid");
        client
            .call(call)
            .await
            .expect_err("a broken answer must not end cleanly");
    }
}

#[tokio::test]
async fn a_caller_that_leaves_frees_the_worker() {
    let world = world(NEAR);
    let mut client = world.caller(Protocol::H2).await.expect("a connection");
    let call = world
        .request("GET", "/sleep/60000")
        .body(full(""))
        .expect("valid");
    let waiting = tokio::spawn(async move { client.call(call).await });
    let running = async || {
        let world = world.admin("/regions").await.ok()?;
        world["regions"]
            .as_array()?
            .iter()
            .map(|r| r["in_flight"].as_u64())
            .sum::<Option<u64>>()
    };
    let executed = async || (world.executed().ok()?.len() == 1).then_some(());
    eventually("the call runs", std::time::Duration::from_secs(5), executed).await;
    assert_eq!(running().await, Some(1));
    let slots = async || {
        let mut total = 0.0;
        for region in ["us-east", "eu-west"] {
            let address = world.address(&format!("/regions/{region}/worker/admin"));
            let mut admin = Client::plain(address, Protocol::H1).await.ok()?;
            let page = admin
                .call(
                    http::Request::get("/metrics")
                        .header("host", "x")
                        .body(full(""))
                        .ok()?,
                )
                .await
                .ok()?
                .text();
            total += page
                .lines()
                .filter(|l| l.starts_with("frontdoor_worker_running "))
                .filter_map(|l| l.rsplit(' ').next()?.parse::<f64>().ok())
                .sum::<f64>();
        }
        Some(total)
    };
    eventually(
        "the slot is taken",
        std::time::Duration::from_secs(2),
        async || (slots().await? == 1.0).then_some(()),
    )
    .await;
    waiting.abort();
    eventually(
        "the slot is free",
        std::time::Duration::from_secs(2),
        async || (slots().await? == 0.0).then_some(()),
    )
    .await;
}
