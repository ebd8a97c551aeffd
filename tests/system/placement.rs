//! Where calls go when functions come and go, and when a region is full: to where a worker is free, at the first try.

use std::sync::Arc;
use std::time::Duration;

use test_support::eventually::eventually;
use test_support::load::{Call, Load, failures};
use test_support::world::World;

use crate::{NEAR_AND_FAR, world};

/// News of a function that came or went is acted upon within this time.
const FOLLOWS: Duration = Duration::from_secs(1);
/// Calls that a region of the local stack runs at once.
const SLOTS: f64 = 64.0;

/// A stack with both regions measured and reported, so that the nearer one is home.
async fn settled() -> Arc<World> {
    let world = world(NEAR_AND_FAR);
    eventually(
        "both regions are known",
        Duration::from_secs(10),
        async || {
            let all = world.admin("/regions").await.ok()?;
            let known = |r: &serde_json::Value| {
                r["health"] == "up" && r["report"].is_object() && r["rtt_ms"].is_number()
            };
            let regions = all["regions"].as_array()?;
            regions.iter().all(known).then_some(())
        },
    )
    .await;
    world
}

/// Calls sent at or after `from` and before `to` that a region answered at the first try, and all of them.
fn first_tries(
    world: &World,
    calls: &[Call],
    region: &str,
    from: Duration,
    to: Duration,
) -> (usize, usize) {
    let log = world.log("edge");
    let sent: Vec<&Call> = calls.iter().filter(|c| c.at >= from && c.at < to).collect();
    let good = sent.iter().filter(|c| {
        let line = log.lines().find(|l| l.contains(&c.id));
        c.region == region && line.is_some_and(|l| l.contains(" attempts=1 "))
    });
    (good.count(), sent.len())
}

#[tokio::test]
async fn calls_follow_a_function_to_where_it_is() {
    let world = settled().await;
    let load = Load::start(&world, 100, &[]).await.expect("a load");
    let turn = async |part: &str, args: &[&str]| {
        let mut command = vec![args[0], part];
        command.extend(&args[1..]);
        world.local(&command).expect("done");
        let at = load.started.elapsed();
        tokio::time::sleep(FOLLOWS * 2).await;
        at
    };
    const LEAVE: &[&str] = &["kill", "--signal", "TERM"];
    let only_far = turn("us-east/worker", LEAVE).await;
    let both = turn("us-east/worker", &["start"]).await;
    let only_near = turn("eu-west/worker", LEAVE).await;
    let end = load.started.elapsed();
    let calls = load.end().await;
    assert_eq!(failures(&calls), "");
    for (what, region, from, to) in [
        (
            "gone from the nearer",
            "eu-west",
            only_far + FOLLOWS,
            only_far + FOLLOWS * 2,
        ),
        (
            "back in the nearer",
            "us-east",
            both + FOLLOWS,
            both + FOLLOWS * 2,
        ),
        ("gone from the farther", "us-east", only_near + FOLLOWS, end),
    ] {
        let (good, sent) = first_tries(&world, &calls, region, from, to);
        println!("{what}: {good} of {sent} calls at the first try in {region}");
        assert!(sent >= 50, "{what}: {sent} calls");
        assert_eq!(good, sent, "{what}");
    }
}

#[tokio::test]
async fn what_a_full_region_cannot_take_spills_to_the_next() {
    const TOOK: Duration = Duration::from_millis(500);
    let world = settled().await;
    // A hundred calls at once, for sixty-four places near and as many far.
    let load = Load::at(&world, 200, &[], "/sleep/500?n=")
        .await
        .expect("a load");
    tokio::time::sleep(Duration::from_secs(6)).await;
    let calls = load.end().await;
    assert_eq!(failures(&calls), "");
    let (from, to) = (Duration::from_secs(2), Duration::from_secs(5));
    let steady: Vec<&Call> = calls.iter().filter(|c| c.at >= from && c.at < to).collect();
    let near = steady.iter().filter(|c| c.region == "us-east").count();
    #[expect(clippy::cast_precision_loss, reason = "hundreds")]
    let used = near as f64 * TOOK.as_secs_f64() / (SLOTS * (to - from).as_secs_f64());
    let mut beyond: Vec<Duration> = steady.iter().map(|c| c.took.saturating_sub(TOOK)).collect();
    beyond.sort_unstable();
    let p99 = beyond[beyond.len() * 99 / 100];
    println!(
        "{} calls, {near} near: {:.0} % of its places; beyond the call itself p99 {p99:?}",
        steady.len(),
        used * 100.0
    );
    assert!(used >= 0.9, "{used}");
    assert!(near < steady.len(), "nothing spilled");
}
