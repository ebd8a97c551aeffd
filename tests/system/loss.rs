//! Loss: a region, the hub, and their return, under a steady load.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use test_support::eventually::eventually;
use test_support::load::{Call, Load, failures, percentile};
use test_support::world::World;

use crate::{NEAR_AND_FAR, world};

/// Calls a second.
const RATE: u32 = 200;

/// How often each call ran.
fn executions(world: &World) -> HashMap<String, u32> {
    let mut times = HashMap::new();
    for id in world.executed().expect("a journal") {
        *times.entry(untagged(&id)).or_insert(0) += 1;
    }
    times
}

/// The id without the region's tag: the same call has another tag in another region.
fn untagged(id: &str) -> String {
    let mut parts: Vec<&str> = id.split('-').collect();
    if let Some(tag) = parts.get_mut(2) {
        *tag = "8";
    }
    parts.join("-")
}

/// When each call was sent that the edge tried more than once.
fn retried(world: &World, calls: &[Call]) -> Vec<Duration> {
    let log = world.log("edge");
    let more = log
        .lines()
        .filter(|l| l.contains(" attempts=") && !l.contains(" attempts=1 "))
        .filter_map(|l| l.split(" id=").nth(1)?.split(' ').next());
    more.filter_map(|id| Some(calls.iter().find(|c| c.id == id)?.at))
        .collect()
}

async fn up(world: &World, region: &str) {
    eventually(
        &format!("{region} is up"),
        Duration::from_secs(20),
        async || {
            world
                .health(region)
                .await
                .is_ok_and(|h| h == "up")
                .then_some(())
        },
    )
    .await;
}

fn last_from(calls: &[Call], region: &str, after: Duration) -> Option<Duration> {
    calls
        .iter()
        .filter(|c| c.region == region && c.at > after)
        .map(|c| c.at)
        .min()
}

#[tokio::test]
async fn a_region_is_lost_and_returns() {
    let world = world(NEAR_AND_FAR);
    up(&world, "us-east").await;
    up(&world, "eu-west").await;
    let load = Load::start(&world, RATE, &[]).await.expect("a load");
    tokio::time::sleep(Duration::from_secs(2)).await;
    let killed = load.started.elapsed();
    world.local(&["kill", "us-east"]).expect("killed");
    let dead = load.started.elapsed();
    tokio::time::sleep(Duration::from_secs(4)).await;
    let returned = load.started.elapsed();
    world.local(&["start", "us-east"]).expect("started");
    eventually(
        "us-east serves again",
        Duration::from_secs(30),
        async || {
            let health = world.health("us-east").await.ok()?;
            (health == "up" || health == "ramp").then_some(())
        },
    )
    .await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let calls = load.end().await;

    let times = executions(&world);
    let failed: Vec<&Call> = calls.iter().filter(|c| c.status != 200).collect();
    let ran = |c: &Call| times.get(&untagged(&c.id)).copied().unwrap_or(0);
    let provable: Vec<&&Call> = failed
        .iter()
        .filter(|c| ran(c) == 0 && !c.problem.ends_with("may-have-run"))
        .collect();
    let moved: Vec<Call> = calls
        .iter()
        .filter(|c| c.at >= killed && c.at < killed + Duration::from_secs(2))
        .cloned()
        .collect();
    let retried = retried(&world, &calls);
    println!(
        "calls {} | failed {} (begun {}) | twice {} | retried {} | last retry {:?} after the kill | \
         p99 of the two seconds after {:.0} ms | first call back {:?} after the start",
        calls.len(),
        failed.len(),
        failed.iter().filter(|c| ran(c) > 0).count(),
        times.values().filter(|n| **n > 1).count(),
        retried.len(),
        retried.iter().map(|at| at.saturating_sub(killed)).max(),
        percentile(&moved, 0.99),
        last_from(&calls, "us-east", returned).map(|at| at - returned),
    );
    assert!(
        provable.is_empty(),
        "calls that had not begun failed:\n{}",
        failures(&calls)
    );
    assert!(
        failed.len() <= 10,
        "more than what was on the wire:\n{}",
        failures(&calls)
    );
    // The delay line hands on the end of a connection a little later.
    let seen = dead + Duration::from_millis(100);
    assert!(
        failed
            .iter()
            .all(|c| c.at <= seen && c.at + c.took >= killed),
        "only what was on the wire when it died, between {killed:?} and {dead:?}:\n{}",
        failures(&calls)
    );
    assert_eq!(
        times.values().filter(|n| **n > 1).count(),
        0,
        "a call ran twice"
    );
    assert!(calls.iter().any(|c| c.at > killed && c.region == "eu-west"));
    assert!(
        last_from(&calls, "us-east", returned).is_some(),
        "traffic returns by itself"
    );
}

#[tokio::test]
async fn callers_who_allow_it_lose_nothing() {
    let world = world(NEAR_AND_FAR);
    up(&world, "us-east").await;
    up(&world, "eu-west").await;
    let load = Load::start(&world, RATE, &[("idempotency-key", "k")])
        .await
        .expect("a load");
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.local(&["kill", "us-east"]).expect("killed");
    tokio::time::sleep(Duration::from_secs(2)).await;
    let calls = load.end().await;
    assert_eq!(failures(&calls), "");
    assert!(calls.iter().any(|c| c.region == "eu-west"));
}

#[tokio::test]
async fn without_the_hub_nothing_fails() {
    let world = world(NEAR_AND_FAR);
    up(&world, "us-east").await;
    let load = Load::start(&world, RATE, &[]).await.expect("a load");
    tokio::time::sleep(Duration::from_millis(500)).await;
    world.local(&["kill", "hub"]).expect("killed");
    tokio::time::sleep(Duration::from_secs(3)).await;
    let calls = load.end().await;
    assert_eq!(failures(&calls), "");
    world.local(&["start", "hub"]).expect("started");
    eventually(
        "reports are heard again",
        Duration::from_secs(15),
        async || {
            let age =
                world.admin("/regions").await.ok()?["regions"][0]["report"]["age_ms"].as_u64()?;
            (age < 1500).then_some(())
        },
    )
    .await;
}

#[tokio::test]
async fn a_region_without_its_nats_is_routed_around() {
    let world = world(NEAR_AND_FAR);
    up(&world, "us-east").await;
    up(&world, "eu-west").await;
    let load = Load::start(&world, RATE, &[]).await.expect("a load");
    tokio::time::sleep(Duration::from_millis(500)).await;
    world.local(&["kill", "us-east/nats"]).expect("killed");
    tokio::time::sleep(Duration::from_secs(3)).await;
    let calls = load.end().await;
    let twice = executions(&world).values().filter(|n| **n > 1).count();
    println!(
        "{} calls, {} failed",
        calls.len(),
        calls.iter().filter(|c| c.status != 200).count()
    );
    assert_eq!(twice, 0);
    assert_eq!(
        failures(&calls),
        "",
        "nothing had begun that could not be finished or moved"
    );
    assert!(calls.last().is_some_and(|c| c.region == "eu-west"));
    let _: &Arc<World> = &world;
}

#[tokio::test]
async fn a_lost_worker_is_not_waited_for() {
    let world = world(NEAR_AND_FAR);
    up(&world, "us-east").await;
    let call = world
        .request("GET", "/sleep/20000")
        .body(test_support::client::full(""))
        .expect("valid");
    let mut client = world
        .caller(test_support::client::Protocol::H2)
        .await
        .expect("a connection");
    let waiting = tokio::spawn(async move { client.call(call).await });
    eventually("the call runs", Duration::from_secs(5), async || {
        (world.executed().ok()?.len() == 1).then_some(())
    })
    .await;
    let killed = std::time::Instant::now();
    world.local(&["kill", "us-east/worker"]).expect("killed");
    let answer = waiting.await.expect("no panic").expect("an answer");
    assert_eq!(answer.status, 502, "{}", answer.text());
    assert!(
        killed.elapsed() < Duration::from_secs(2),
        "{:?}",
        killed.elapsed()
    );
    assert_eq!(
        world.executed().expect("a journal").len(),
        1,
        "it may have run, so it is not run again"
    );
}
