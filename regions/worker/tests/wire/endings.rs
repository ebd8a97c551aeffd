//! Calls that end otherwise, and the ends of the parts around them: refused, cancelled, broken, stopped, restarted.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::invocation::{Ask, eventually};
use crate::world::{Plan, World, get, json, post, settings};

#[tokio::test]
async fn refused_and_expired_calls_never_reach_the_container() {
    let world = World::start(Plan::default()).await;
    let refused = Ask {
        refuse: true,
        ..get("/refused")
    };
    world.invocation.call(refused).await;
    let expired = Ask {
        deadline_ms: Some(1),
        ..get("/expired")
    };
    world.invocation.call(expired).await;
    world.invocation.all_settled().await;
    world.counted("refused", 1).await;
    world.counted("expired", 1).await;
    assert_eq!(world.executed(), 0);
    world.stop().await;
}

#[tokio::test]
async fn a_container_that_is_down_is_told_as_not_started() {
    for (claims, told) in [(true, Some("not-started")), (false, None)] {
        let world = World::start(Plan {
            claims,
            ..Plan::default()
        })
        .await;
        world.kill_function();
        let answer = world.invocation.call(get("/any")).await.answer().await;
        assert_eq!(answer.status, 502);
        assert_eq!(answer.headers["content-type"], "application/problem+json");
        let execution = answer.headers.get("frontdoor-execution");
        assert_eq!(execution.map(|value| value.to_str().unwrap()), told);
        assert_eq!(
            json(&answer.body)["type"],
            "urn:frontdoor:problem:container-unreachable"
        );
        eventually("not ready", async || world.admin("/ready").await.0 == 503).await;
        let asked = "frontdoor_worker_asked ";
        eventually("a sick container gets no calls", async || {
            world.metric(asked).await == 0
        })
        .await;
        world.stop().await;
    }
}

#[tokio::test]
async fn a_container_that_refused_one_call_gets_no_other() {
    let world = World::start(Plan::default()).await;
    world.kill_function();
    let first = world.invocation.call(get("/first")).await.answer().await;
    assert_eq!(first.status, 502);
    let second = world.invocation.call(get("/second")).await;
    eventually("it goes back", async || {
        world
            .metric("frontdoor_worker_items_total{outcome=\"resting\"}")
            .await
            > 0
    })
    .await;
    world.counted("container-unreachable", 1).await;
    drop(second);
    world.stop().await;
}

#[tokio::test]
async fn an_answer_that_breaks_is_seen_as_broken() {
    for (protocol, claims) in [("http1", true), ("h2c", true), ("http1", false)] {
        let world = World::start(Plan {
            protocol,
            claims,
            ..Plan::default()
        })
        .await;
        let mut call = world.invocation.call(get("/abort-after/1000")).await;
        assert_eq!(call.head().await.status, 200);
        let mut received = 0;
        let broken = loop {
            match call.next().await {
                Some(Ok(bytes)) => received += bytes.len(),
                Some(Err(_)) => break true,
                None => break false,
            }
        };
        assert!(broken && received == 1000, "{protocol}: {received}");
        world.counted("container-failed", 1).await;
        world.invocation.all_settled().await;
        world.stop().await;
    }
}

#[tokio::test]
async fn a_cancelled_call_is_aborted_at_once_and_its_slot_is_free() {
    let world = World::start(Plan {
        slots: 1,
        ..Plan::default()
    })
    .await;
    let call = world.invocation.call(get("/sleep/60000")).await;
    world.executing(1).await;
    let started = Instant::now();
    world.invocation.cancel(call.id).await;
    world.counted("cancelled", 1).await;
    assert!(
        started.elapsed() < Duration::from_millis(100),
        "{:?}",
        started.elapsed()
    );
    let next = world
        .invocation
        .call(post("/echo", r#"{"message":"next"}"#))
        .await;
    assert_eq!(next.answer().await.body, "next");
    world.invocation.all_settled().await;
    world.stop().await;
}

#[derive(Debug, PartialEq)]
enum Seen {
    Call,
    Abort,
}

/// A container that is well, never answers a call, and says what it sees of one.
async fn silent_container(seen: mpsc::Sender<Seen>, listener: TcpListener) {
    let mut connections = JoinSet::new();
    while let Ok((mut stream, _)) = listener.accept().await {
        let seen = seen.clone();
        connections.spawn(async move {
            let mut heard = vec![0; 4096];
            let mut called = false;
            while let Ok(length @ 1..) = stream.read(&mut heard).await {
                if heard[..length].starts_with(b"GET /health") {
                    let well = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                    stream.write_all(well).await.unwrap();
                } else {
                    called = true;
                    seen.send(Seen::Call).await.unwrap();
                }
            }
            if called {
                seen.send(Seen::Abort).await.unwrap();
            }
        });
    }
}

#[tokio::test]
async fn the_container_sees_that_a_call_is_aborted() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let container = listener.local_addr().unwrap();
    let (tell, mut seen) = mpsc::channel(1);
    let serving = tokio::spawn(silent_container(tell, listener));
    let world = World::start(Plan {
        container: Some(container),
        ..Plan::default()
    })
    .await;
    for cancel in [true, false] {
        let mut call = world.invocation.call(get("/never")).await;
        assert_eq!(seen.recv().await, Some(Seen::Call));
        let started = Instant::now();
        if cancel {
            world.invocation.cancel(call.id).await;
        } else {
            call.leave();
        }
        assert_eq!(seen.recv().await, Some(Seen::Abort));
        assert!(
            started.elapsed() < Duration::from_millis(100),
            "{:?}",
            started.elapsed()
        );
    }
    world.stop().await;
    serving.abort();
}

#[tokio::test]
async fn a_caller_who_leaves_frees_the_slot() {
    for (path, executed) in [
        ("/sleep/60000", 1),
        ("/events?count=100000&interval_ms=1", 1),
    ] {
        let world = World::start(Plan {
            slots: 1,
            ..Plan::default()
        })
        .await;
        let mut call = world.invocation.call(get(path)).await;
        world.executing(executed).await;
        call.leave();
        world.counted("caller-gone", 1).await;
        let next = world
            .invocation
            .call(post("/echo", r#"{"message":"next"}"#))
            .await;
        assert_eq!(next.answer().await.body, "next");
        world.stop().await;
    }
}

#[tokio::test]
async fn malformed_messages_are_given_up_and_cost_no_slot() {
    let world = World::start(Plan {
        slots: 2,
        ..Plan::default()
    })
    .await;
    for payload in [
        &b""[..],
        b"\xff\xff\xff",
        b"\x0a\x01r",
        b"{}",
        b"\x72\x03GET",
    ] {
        world.invocation.publish_raw(payload).await;
    }
    world.counted("malformed", 5).await;
    world.invocation.all_settled().await;
    let call = world
        .invocation
        .call(post("/echo", r#"{"message":"fine"}"#))
        .await;
    assert_eq!(call.answer().await.body, "fine");
    eventually("all slots are free", async || {
        world.metric("frontdoor_worker_asked ").await == 2
    })
    .await;
    world.stop().await;
}

#[tokio::test]
async fn a_stop_finishes_what_runs_and_takes_nothing_new() {
    let world = World::start(Plan::default()).await;
    let running = world.invocation.call(get("/sleep/500")).await;
    world.executing(1).await;
    world.shutdown.cancel();
    eventually("not ready", async || world.admin("/ready").await.0 == 503).await;
    let late = world.invocation.call(get("/late")).await;
    assert_eq!(running.answer().await.status, 200);
    assert_eq!(world.executed(), 1, "the late one waits for another worker");
    drop(late);
    let World {
        worker, invocation, ..
    } = world;
    worker.await.unwrap().unwrap();
    eventually("only the late one is left", async || {
        invocation.queued().await == 1
    })
    .await;
}

#[tokio::test]
async fn a_worker_without_calls_stops_at_once() {
    let world = World::start(Plan::default()).await;
    eventually("open requests for messages", async || {
        world.metric("frontdoor_worker_asked ").await == 8
    })
    .await;
    let began = Instant::now();
    world.stop().await;
    // The requests would last for two seconds.
    assert!(
        began.elapsed() < Duration::from_secs(1),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn a_stop_in_a_flood_keeps_no_message_from_other_workers() {
    let world = World::start(Plan {
        slots: 64,
        ..Plan::default()
    })
    .await;
    let mut calls = Vec::new();
    for at in 0..200 {
        calls.push(world.invocation.call(get("/sleep/1")).await);
        if at == 100 {
            world.shutdown.cancel();
        }
    }
    let World {
        worker, invocation, ..
    } = world;
    worker.await.unwrap().unwrap();
    let left = invocation.queued().await;
    assert!(left > 0, "the stop came too late");
    assert_eq!(invocation.available().await as u64, left);
}

#[tokio::test]
async fn a_stop_cuts_what_outlasts_the_grace() {
    let world = World::start(Plan {
        grace: "200ms",
        ..Plan::default()
    })
    .await;
    let mut call = world
        .invocation
        .call(get("/events?count=100000&interval_ms=5"))
        .await;
    call.head().await;
    world.shutdown.cancel();
    let broken = loop {
        match call.next().await {
            Some(Ok(_)) => {}
            Some(Err(_)) => break true,
            None => break false,
        }
    };
    assert!(broken);
    world.stopped().await;
}

#[tokio::test]
async fn work_goes_on_after_nats_was_restarted() {
    let mut world = World::start(Plan::default()).await;
    let warm = world.invocation.call(get("/before")).await;
    assert_eq!(warm.answer().await.status, 200);
    let running = world.invocation.call(get("/sleep/400")).await;
    world.executing(2).await;
    world.nats.restart();
    assert_eq!(
        running.answer().await.status,
        200,
        "a running call does not notice"
    );
    world.invocation.create_stream().await;
    let after = world.invocation.call(get("/after")).await;
    assert_eq!(after.answer().await.status, 200);
    world.stop().await;
}

#[tokio::test]
async fn an_old_server_is_refused_with_a_clear_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("nats://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let info = r#"INFO {"server_id":"x","version":"2.9.10","proto":1,"headers":true,"max_payload":1048576}"#;
        stream
            .write_all(format!("{info}\r\n").as_bytes())
            .await
            .unwrap();
        let mut heard = [0; 4096];
        while stream.read(&mut heard).await.is_ok_and(|length| length > 0) {
            stream.write_all(b"PONG\r\n").await.unwrap();
        }
    });
    let settings = settings(&url, "127.0.0.1:1", &Plan::default());
    let run = frontdoor_worker::run(settings, CancellationToken::new());
    let error = tokio::time::timeout(Duration::from_secs(10), run).await;
    let error = error.expect("in time").expect_err("too old").to_string();
    assert_eq!(
        error,
        "nats-server 2.9.10 is too old: 2.11 or newer is required"
    );
    server.abort();
}
