//! Calls over which nothing passes for long, neither before the answer's head nor in the middle of its body.
//!
//! Every way in that there is (HTTP/2 with and without the caller's PINGs, HTTP/1.1), and both ways to a worker. The
//! short form shortens every timer that has to do with silence, so that each of them fires several times.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::BodyExt as _;
use test_support::client::{Client, Protocol, full as body};
use test_support::world::World;
use tokio::task::JoinSet;

use super::{ALONE, full, seconds};
use crate::world;

/// The longest time in which an answer has to begin, in NVCF's contract; a little less than that is slept.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);
const LONGEST_SLEEP: Duration = Duration::from_secs(3590);
/// What an answer may take beyond the silence.
const SLACK: Duration = Duration::from_secs(30);

/// How a caller comes in.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// HTTP/2, with PINGs of its own, more often than the edge's: what comes from there would put them off.
    Pinging(Duration),
    /// Without.
    Silent(Protocol),
}

/// Where the silence is.
#[derive(Debug, Clone, Copy)]
enum Silence {
    /// Before the answer's head.
    Head,
    /// Between the first event and the second.
    Body,
}

/// One silent call, and how long it took.
async fn call(
    world: &World,
    way: Way,
    silence: Silence,
    time: Duration,
) -> anyhow::Result<Duration> {
    let client = match way {
        Way::Pinging(every) => world.pinging_caller(every).await?,
        Way::Silent(protocol) => world.caller(protocol).await?,
    };
    let client = client.patient(time + SLACK);
    let began = Instant::now();
    match silence {
        Silence::Head => head(world, client, time.min(LONGEST_SLEEP)).await?,
        Silence::Body => events(world, client, time).await?,
    }
    Ok(began.elapsed())
}

async fn head(world: &World, mut client: Client, time: Duration) -> anyhow::Result<()> {
    let call = world
        .request("GET", &format!("/sleep/{}", time.as_millis()))
        .header("nvcf-poll-seconds", LONGEST_WAIT.as_secs());
    let answer = client.call(call.body(body(""))?).await?;
    anyhow::ensure!(answer.status == 200, "{} {}", answer.status, answer.text());
    Ok(())
}

async fn events(world: &World, mut client: Client, time: Duration) -> anyhow::Result<()> {
    let path = format!("/events?count=2&interval_ms={}", time.as_millis());
    let began = Instant::now();
    let answer = client
        .send(world.request("GET", &path).body(body(""))?)
        .await?;
    anyhow::ensure!(answer.status() == 200, "{}", answer.status());
    let mut stream = answer.into_body();
    let mut text = Vec::new();
    let mut first = None;
    while let Some(frame) = tokio::time::timeout(time + SLACK, stream.frame()).await? {
        text.extend_from_slice(&frame?.into_data().unwrap_or_default());
        first.get_or_insert_with(|| began.elapsed());
    }
    let events = text.windows(2).filter(|pair| pair == b"\n\n").count();
    anyhow::ensure!(events == 2, "{events} events");
    anyhow::ensure!(first.is_some_and(|at| at < time), "the first was held up");
    Ok(())
}

/// A world whose calls go one way to the worker: over its standing streams, or through the queue.
fn stack(queue: bool, set: &[&str]) -> Arc<World> {
    let mut args = ALONE.to_vec();
    let standby = if queue { 0 } else { 64 };
    let standby = format!("us-east/worker:standby={standby}");
    for set in set.iter().chain([&standby.as_str()]) {
        args.extend(["--set", set]);
    }
    world(&args)
}

#[tokio::test]
async fn a_silent_call_is_kept() {
    let minutes = std::env::var("FRONTDOOR_ENDURE_MINUTES").ok();
    let minutes = minutes.map_or(15, |text| text.parse().expect("a number of minutes"));
    let (time, ping, set): (_, _, &[&str]) = if full() {
        let time = Duration::from_secs(60 * minutes);
        (time, Duration::from_secs(15), &[])
    } else {
        (Duration::from_secs(9), Duration::from_secs(1), &SHORTENED)
    };
    let worlds = [stack(false, set), stack(true, set)];
    let ways = [
        Way::Pinging(ping),
        Way::Silent(Protocol::H2),
        Way::Silent(Protocol::H1),
    ];
    let mut calls = JoinSet::new();
    for (world, to) in worlds.iter().zip(["standing stream", "queue"]) {
        for way in ways {
            for silence in [Silence::Head, Silence::Body] {
                let world = Arc::clone(world);
                calls.spawn(async move {
                    let done = call(&world, way, silence, time).await;
                    (format!("{to}, {way:?}, {silence:?}"), done)
                });
            }
        }
    }
    let mut lost = Vec::new();
    while let Some(done) = calls.join_next().await {
        match done.expect("no panic") {
            (which, Ok(took)) => println!("{which}: {}", seconds(took)),
            (which, Err(error)) => {
                println!("{which}: LOST after {error:#}");
                lost.push(format!("{which}: {error:#}"));
            }
        }
    }
    let ran: Vec<usize> = worlds
        .iter()
        .map(|world| world.executed().expect("a journal").len())
        .collect();
    println!(
        "| silent calls | {} | 12 calls, 6 of them through the queue; lost {} | ran {ran:?} |",
        seconds(time),
        lost.len(),
    );
    assert!(lost.is_empty(), "{lost:#?}");
    assert_eq!(ran, [6, 6], "each ran once");
}

/// Every timer that has to do with silence, so short that each fires several times.
const SHORTENED: [&str; 5] = [
    "edge:listen.ping=2s",
    "edge:limits.write=2s",
    "edge:limits.body_gap=2s",
    "us-east/invocation:ping=2s",
    "us-east/worker:ping=2s",
];
