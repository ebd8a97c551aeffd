//! The stack itself: quick to start, complete, and gone without a trace, also when its owner dies badly.

use std::time::Duration;

use test_support::eventually::eventually;
use test_support::world::{World, alive};

use crate::{NEAR, binary, world};

#[tokio::test]
async fn it_starts_quickly_and_says_where_everything_is() {
    let world = world(NEAR);
    println!("two regions were ready after {:?}", world.took);
    assert!(world.took < Duration::from_secs(5), "{:?}", world.took);
    let pids = world.pids();
    assert_eq!(
        pids.len(),
        4 + 2 * 4,
        "edge, hub, DNS, WAN and four parts a region: {}",
        world.endpoints
    );
    assert!(pids.iter().all(|&pid| alive(pid)));
    let status = world.local(&["status", "--json"]).expect("a status");
    let _: serde_json::Value = serde_json::from_str(&status).expect("JSON");
}

#[tokio::test]
async fn nothing_is_left_after_a_stop() {
    let world = World::start(&binary(), NEAR).expect("the stack starts");
    let pids = world.pids();
    world.stop().expect("the supervisor ends");
    assert_eq!(pids.iter().filter(|&&pid| alive(pid)).count(), 0);
}

#[tokio::test]
async fn nothing_is_left_when_the_supervisor_is_killed() {
    let world = world(NEAR);
    let pids = world.pids();
    let supervisor = nix::unistd::Pid::from_raw(i32::try_from(world.supervisor()).expect("a pid"));
    nix::sys::signal::kill(supervisor, nix::sys::signal::Signal::SIGKILL).expect("killed");
    eventually(
        "every part died with it",
        Duration::from_secs(5),
        async || pids.iter().all(|&pid| !alive(pid)).then_some(()),
    )
    .await;
}

#[tokio::test]
async fn a_dead_part_is_shown_dead_with_its_last_words() {
    let world = world(NEAR);
    world.local(&["kill", "us-east/worker"]).expect("killed");
    eventually("it is shown", Duration::from_secs(5), async || {
        let status = world.local(&["status"]).ok()?;
        (status.contains("dead") || status.contains("killed")).then_some(())
    })
    .await;
    world.local(&["start", "us-east/worker"]).expect("started");
    let error = world
        .local(&["kill", "mars"])
        .expect_err("no such region")
        .to_string();
    assert!(error.contains("mars"), "{error}");
}

#[tokio::test]
async fn a_part_told_to_end_and_to_start_ends_and_starts() {
    let world = world(NEAR);
    let pid = async || {
        let text = std::fs::read_to_string(world.dir.join("endpoints.json")).ok()?;
        let json: serde_json::Value = serde_json::from_str(&text).ok()?;
        json["regions"]["us-east"]["invocation"]["pid"].as_i64()
    };
    let before = pid().await.expect("a pid");
    world
        .local(&["kill", "us-east/invocation", "--signal", "TERM"])
        .expect("signalled");
    world
        .local(&["start", "us-east/invocation"])
        .expect("started");
    let after = pid().await.expect("a pid");
    assert_ne!(before, after, "the old one was still there");
    assert!(alive(i32::try_from(after).expect("a pid")));
}

#[tokio::test]
async fn the_key_is_nowhere_in_the_logs_and_they_look_as_asked() {
    let args: Vec<&str> = NEAR.iter().copied().chain(["--log", "json"]).collect();
    let world = world(&args);
    let call = world
        .request("POST", "/echo")
        .body(test_support::client::full("{}"))
        .expect("valid");
    world.call(call).await.expect("an answer");
    let key = world.endpoint("/api_key");
    assert!(key.len() > 16);
    for entry in std::fs::read_dir(world.dir.join("logs")).expect("logs") {
        let path = entry.expect("an entry").path();
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(!text.contains(key), "{} holds the key", path.display());
    }
    // Both say at least that they are ready.
    for part in ["edge", "us-east-worker"] {
        let log = world.log(part);
        let is_json = |line: &str| serde_json::from_str::<serde_json::Value>(line).is_ok();
        assert!(!log.is_empty() && log.lines().all(is_json), "{part}: {log}");
    }
}
