//! NVIDIA's k6 smoke test: each of fifty callers on a connection of its own, one call after the other.

use std::time::{Duration, Instant};

use test_support::client::{Protocol, full as whole};
use tokio::task::JoinSet;

use super::{ALONE, full, seconds};
use crate::world;

/// Callers at once.
const CALLERS: usize = 50;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_callers_in_closed_loops_fail_never() {
    let time = Duration::from_secs(if full() { 60 } else { 5 });
    let world = world(ALONE);
    let mut callers = JoinSet::new();
    let began = Instant::now();
    for _ in 0..CALLERS {
        let mut client = world.caller(Protocol::H2).await.expect("a connection");
        let world = std::sync::Arc::clone(&world);
        callers.spawn(async move {
            let mut calls: Vec<(Duration, Result<(), String>)> = Vec::new();
            while began.elapsed() < time {
                let call = world
                    .request("POST", "/echo")
                    .header("content-type", "application/json")
                    .header("nvcf-poll-seconds", "300")
                    .body(whole(r#"{"message":"hello","repeats":3}"#))
                    .expect("valid");
                let sent = Instant::now();
                let done = match client.call(call).await {
                    Ok(answer) if answer.status == 200 && answer.body == "hellohellohello" => {
                        Ok(())
                    }
                    Ok(answer) => Err(format!("{} {}", answer.status, answer.text())),
                    Err(error) => Err(format!("{error:#}")),
                };
                calls.push((sent.elapsed(), done));
            }
            calls
        });
    }
    let calls = callers.join_all().await.concat();
    let took = began.elapsed();
    let mut times: Vec<Duration> = calls.iter().map(|(time, _)| *time).collect();
    times.sort_unstable();
    let failed: Vec<&String> = calls
        .iter()
        .filter_map(|(_, done)| done.as_ref().err())
        .collect();
    println!(
        "| k6 smoke, {CALLERS} callers, {} | {} calls, failed {} | {} calls/s, p50 {:.1?}, p99 {:.1?} |",
        seconds(took),
        calls.len(),
        failed.len(),
        calls.len() as u128 * 1000 / took.as_millis(),
        times[times.len() / 2],
        times[times.len() * 99 / 100],
    );
    assert!(failed.is_empty(), "{failed:#?}");
}
