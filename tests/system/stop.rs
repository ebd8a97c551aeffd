//! Stopping in order: calls that run are finished, whatever part is told to stop.

use std::time::Duration;

use test_support::client::{Protocol, full};
use test_support::eventually::eventually;
use test_support::load::{Load, failures};

use crate::{NEAR_AND_FAR, world};

#[tokio::test]
async fn a_part_told_to_stop_finishes_its_calls() {
    for part in ["edge", "us-east/invocation", "us-east/worker"] {
        for signal in ["TERM", "INT"] {
            let world = world(NEAR_AND_FAR);
            eventually("us-east is up", Duration::from_secs(5), async || {
                world
                    .health("us-east")
                    .await
                    .is_ok_and(|h| h == "up")
                    .then_some(())
            })
            .await;
            let mut client = world.caller(Protocol::H2).await.expect("a connection");
            let call = world
                .request("GET", "/sleep/1500")
                .body(full(""))
                .expect("valid");
            let waiting = tokio::spawn(async move { client.call(call).await });
            eventually("the call runs", Duration::from_secs(5), async || {
                (world.executed().ok()?.len() == 1).then_some(())
            })
            .await;
            world
                .local(&["kill", part, "--signal", signal])
                .expect("signalled");
            let answer = waiting
                .await
                .expect("no panic")
                .unwrap_or_else(|e| panic!("{part} {signal}: {e:#}"));
            assert_eq!(answer.status, 200, "{part} {signal}: {}", answer.text());
        }
    }
}

#[tokio::test]
async fn a_draining_region_fails_nobody() {
    let world = world(NEAR_AND_FAR);
    eventually("us-east is up", Duration::from_secs(5), async || {
        world
            .health("us-east")
            .await
            .is_ok_and(|h| h == "up")
            .then_some(())
    })
    .await;
    let load = Load::start(&world, 200, &[]).await.expect("a load");
    tokio::time::sleep(Duration::from_secs(1)).await;
    world
        .local(&["kill", "us-east/invocation", "--signal", "TERM"])
        .expect("signalled");
    tokio::time::sleep(Duration::from_secs(3)).await;
    let calls = load.end().await;
    assert_eq!(failures(&calls), "");
    assert!(
        calls.last().is_some_and(|c| c.region == "eu-west"),
        "calls went on elsewhere"
    );
}
