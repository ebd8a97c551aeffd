//! Workers and NATS servers killed one time after the other while calls run: nothing runs twice, everybody is answered.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use test_support::load::{Call, Load, failures, percentile};
use test_support::world::World;

use super::crowd::local;
use super::{ALONE, full, seconds};
use crate::world;

/// Calls a second, and how long each runs: some ten are in the container at any moment.
const RATE: u32 = 100;
const PATH: &str = "/sleep/100?call=";
/// Between two kills, for calls to get under way again.
const PAUSE: Duration = Duration::from_millis(300);
/// NVCF's queue delivers a message again after so long; nobody here waits for that.
const REDELIVERY: Duration = Duration::from_secs(30);
/// All calls through the queue, and a NATS that starts slowly on a busy machine is waited for.
const QUEUE: &[&str] = &[
    "us-east/worker:standby=0",
    "us-east/invocation:nats.patience=20s",
];

/// A part, and the signal that ends it.
type Blow = (&'static str, &'static str);

const WORKER: Blow = ("us-east/worker", "KILL");
const NATS: [Blow; 2] = [("us-east/nats", "KILL"), ("us-east/nats", "TERM")];

/// What came of a load.
struct Endured {
    world: Arc<World>,
    calls: Vec<Call>,
    /// From before a part was killed until the next one was ready.
    losses: Vec<(Duration, Duration)>,
}

/// Loads a region and deals it these blows; each part is started again and ready before the next.
async fn endure(set: &[&'static str], blows: Vec<Blow>) -> Endured {
    let mut args = ALONE.to_vec();
    args.extend(set.iter().flat_map(|set| ["--set", set]));
    let world = world(&args);
    let load = Load::at(&world, RATE, &[], PATH).await.expect("a load");
    tokio::time::sleep(PAUSE).await;
    let mut losses = Vec::new();
    for (part, signal) in blows {
        let before = load.started.elapsed();
        local(&world, vec!["kill", part, "--signal", signal]).await;
        local(&world, vec!["start", part]).await;
        losses.push((before, load.started.elapsed()));
        tokio::time::sleep(PAUSE).await;
    }
    let calls = load.end().await;
    Endured {
        world,
        calls,
        losses,
    }
}

/// Holds a load's record against the journal. Who was with a worker when it died may be told so; nobody else fails.
fn judge(what: &str, endured: &Endured) {
    let Endured {
        world,
        calls,
        losses,
    } = endured;
    let mut times: HashMap<String, u32> = HashMap::new();
    for id in world.executed().expect("a journal") {
        *times.entry(id).or_default() += 1;
    }
    let twice = times.values().filter(|times| **times > 1).count();
    let failed: Vec<&Call> = calls.iter().filter(|c| !c.answered()).collect();
    let begun = failed.iter().filter(|c| times.contains_key(&c.id)).count();
    let unanswered = failed.iter().filter(|c| c.status == 0).count();
    let longest = calls.iter().map(|c| c.took).max().unwrap_or_default();
    println!(
        "| {what} | {} calls | failed {} (begun {begun}), without an answer {unanswered}, twice {twice} | \
         p50 {:.0} ms, p99 {:.0} ms, longest {} |",
        calls.len(),
        failed.len(),
        percentile(calls, 0.5),
        percentile(calls, 0.99),
        seconds(longest),
    );
    assert_eq!(twice, 0, "calls ran twice");
    let lost = |c: &Call| {
        let mut losses = losses.iter();
        losses.any(|(from, to)| c.at < *to && c.at + c.took > *from)
    };
    let others = failed.into_iter().filter(|c| c.status != 502 || !lost(c));
    let others: Vec<Call> = others.cloned().collect();
    assert_eq!(failures(&others), "", "they were with no dead worker");
    assert!(longest < REDELIVERY, "a caller waited for {longest:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn worker_after_worker_is_killed() {
    let count = if full() { 100 } else { 3 };
    let endured = endure(&[], vec![WORKER; count]).await;
    judge(&format!("worker killed {count} times"), &endured);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn worker_after_worker_is_killed_behind_a_queue() {
    let count = if full() { 100 } else { 2 };
    let endured = endure(QUEUE, vec![WORKER; count]).await;
    judge(
        &format!("worker killed {count} times, queue only"),
        &endured,
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarts_of_nats_cost_nobody_anything() {
    let count = if full() { 10 } else { 1 };
    let endured = endure(QUEUE, NATS.into_iter().cycle().take(count).collect()).await;
    judge(
        &format!("NATS restarted {count} times, queue only"),
        &endured,
    );
    assert_eq!(failures(&endured.calls), "", "nobody had to fail");
}
