//! Thousands of calls that wait in one region for a worker to come.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::BodyExt as _;
use test_support::client::{Client, Protocol, full as whole};
use test_support::eventually::eventually;
use test_support::world::World;
use tokio::task::JoinSet;

use super::memory::{MIB, Memory};
use super::{ALONE, full, seconds};
use crate::world;

/// Calls that share a connection.
const SHARING: usize = 500;
/// Until all wait, and until all are answered.
const PATIENCE: Duration = Duration::from_secs(120);
/// What a part may hold for each waiting call, in KiB, and apart from that.
const EACH: u64 = 32;
const ONCE: u64 = 20 * MIB;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_waits_and_is_served() {
    let count: usize = if full() { 10_000 } else { 500 };
    let world = world(ALONE);
    local(&world, vec!["kill", "us-east/worker"]).await;
    eventually("nobody is there", PATIENCE, async || {
        (gauge(&world, "workers").await? == 0).then_some(())
    })
    .await;
    let memory = Memory::of(&world, &["edge", "invocation", "nats"]);
    let began = Instant::now();
    let mut calls = JoinSet::new();
    let mut connections = Vec::new();
    for number in 0..count {
        if number % SHARING == 0 {
            connections.push(world.caller(Protocol::H2).await.expect("a connection"));
        }
        let mut sender = connections[number / SHARING].h2();
        let call = world
            .request("POST", "/echo")
            .header("nvcf-poll-seconds", "300")
            .body(whole(format!(r#"{{"message":"call {number}"}}"#)))
            .expect("valid");
        calls.spawn(async move {
            sender.ready().await?;
            let answer = sender.send_request(call).await?;
            let status = answer.status();
            let body = answer.into_body().collect().await?.to_bytes();
            anyhow::ensure!(
                status == 200 && body == format!("call {number}"),
                "{number}: {status} {}",
                String::from_utf8_lossy(&body)
            );
            Ok(())
        });
    }
    eventually("all wait", PATIENCE, async || {
        let queued = gauge(&world, "queued_calls").await?;
        (queued == count as u64).then_some(())
    })
    .await;
    let waiting = began.elapsed();
    let grown = memory.grown();
    local(&world, vec!["start", "us-east/worker"]).await;
    let began = Instant::now();
    let mut failed = Vec::new();
    while let Some(done) = tokio::time::timeout(PATIENCE, calls.join_next())
        .await
        .expect("answers")
    {
        if let Err(error) = done.expect("no panic") {
            failed.push(error.to_string());
        }
    }
    let served = began.elapsed();
    let ran = world.executed().expect("a journal");
    let once: HashSet<&String> = ran.iter().collect();
    let each = grown.for_each(count as u64);
    println!(
        "| {count} waiting calls | failed {} | all wait after {}, all answered {} after the worker came | \
         each holds {each} ({grown}) |",
        failed.len(),
        seconds(waiting),
        seconds(served),
    );
    assert!(failed.is_empty(), "{failed:#?}");
    assert_eq!((ran.len(), once.len()), (count, count), "each ran once");
    for (part, kib) in grown.0 {
        let bound = ONCE + EACH * count as u64;
        assert!(kib < bound, "{part} grew by {kib} KiB, more than {bound}");
    }
}

/// A gauge of the invocation service.
async fn gauge(world: &World, name: &str) -> Option<u64> {
    let admin = world.address("/regions/us-east/invocation/admin");
    let mut admin = Client::plain(admin, Protocol::H1).await.ok()?;
    let request = http::Request::get("/metrics").header("host", "x");
    let page = admin.call(request.body(whole("")).ok()?).await.ok()?.text();
    let line = format!("frontdoor_invocation_{name} ");
    page.lines()
        .find_map(|l| l.strip_prefix(&line)?.parse().ok())
}

/// An order to the stack, which takes its time and must not hold up the calls.
pub(super) async fn local(world: &Arc<World>, args: Vec<&'static str>) {
    let world = Arc::clone(world);
    let done = tokio::task::spawn_blocking(move || world.local(&args)).await;
    done.expect("no panic").expect("done");
}
