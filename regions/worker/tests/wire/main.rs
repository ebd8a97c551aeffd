//! The worker on its real wires: nats-server, attach streams, a container. The invocation service is a stand-in.

#![allow(
    clippy::unwrap_used,
    reason = "the helpers of a test may fail it, as the tests themselves"
)]

mod invocation;
mod nats;
mod world;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use sha2::{Digest, Sha256};

use invocation::{Ask, eventually};
use world::{Plan, World, get, json, post};

#[tokio::test]
async fn a_call_is_run_and_answered() {
    for (protocol, claims) in [
        ("http1", true),
        ("h2c", true),
        ("http1", false),
        ("h2c", false),
    ] {
        let world = World::start(Plan {
            protocol,
            claims,
            ..Plan::default()
        })
        .await;
        let call = world
            .invocation
            .call(post("/echo?a=b", r#"{"message":"hi"}"#))
            .await;
        let answer = call.answer().await;
        assert_eq!(
            (answer.status.as_u16(), answer.body.as_ref()),
            (200, &b"hi"[..])
        );
        assert_eq!(answer.headers["content-length"], "2");

        let call = world
            .invocation
            .call(post("/status/422", "{\"why\":1}"))
            .await;
        let answer = call.answer().await;
        assert_eq!(
            (answer.status.as_u16(), answer.body.as_ref()),
            (422, &b"{\"why\":1}"[..])
        );
        let answer = world.invocation.call(get("/redirect")).await.answer().await;
        assert_eq!(
            (answer.status.as_u16(), &answer.headers["location"]),
            (302, &"/health".parse().unwrap())
        );
        let answer = world
            .invocation
            .call(get("/headers/200"))
            .await
            .answer()
            .await;
        assert!(answer.headers.len() >= 200);

        let head = Ask {
            method: "HEAD",
            ..get("/bytes/10")
        };
        let answer = world.invocation.call(head).await.answer().await;
        assert_eq!((answer.status.as_u16(), answer.body.len()), (200, 0));
        let answer = world
            .invocation
            .call(get("/status/204"))
            .await
            .answer()
            .await;
        assert_eq!((answer.status.as_u16(), answer.body.len()), (204, 0));

        world.invocation.all_settled().await;
        world.counted("answered", 6).await;
        assert_eq!(world.executed(), 6);
        world.stop().await;
    }
}

#[tokio::test]
async fn the_container_sees_the_callers_request_and_the_platforms_headers() {
    for protocol in ["http1", "h2c"] {
        let world = World::start(Plan {
            protocol,
            ..Plan::default()
        })
        .await;
        let mut ask = post("/my/path?abc=123", "body");
        ask.headers.push(("x-mine", "1".into()));
        ask.headers.push(("nvcf-sub", "forged".into()));
        let call = world.invocation.call(ask).await;
        let id = call.id.to_string();
        let report = json(&call.answer().await.body);
        let header = |name: &str| {
            let headers = report["headers"].as_array().unwrap();
            let values: Vec<_> = headers.iter().filter(|pair| pair[0] == name).collect();
            assert!(values.len() <= 1, "{name} twice");
            values
                .first()
                .map(|pair| pair[1].as_str().unwrap().to_owned())
        };
        assert_eq!(report["query"], "abc=123");
        for (name, value) in [
            ("host", "f.invocation.localhost"),
            ("x-mine", "1"),
            ("nvcf-reqid", &id),
            ("nvcf-sub", "tester"),
            ("nvcf-ncaid", "account"),
            ("nvcf-function-name", "echo"),
            ("nvcf-region", "us-east"),
            ("content-length", "4"),
        ] {
            assert_eq!(header(name).as_deref(), Some(value), "{name}");
        }
        for absent in [
            "accept-encoding",
            "user-agent",
            "transfer-encoding",
            "authorization",
        ] {
            assert_eq!(header(absent), None, "{absent}");
        }
        world.stop().await;
    }
}

#[tokio::test]
async fn a_large_body_arrives_whole() {
    let body: Bytes = (0..20 << 20)
        .map(|n: u32| n.to_le_bytes()[n as usize % 4])
        .collect();
    let sha256 = hex::encode(Sha256::digest(&body));
    for (protocol, claims, chunked) in [
        ("http1", true, false),
        ("h2c", true, true),
        ("http1", false, true),
    ] {
        let world = World::start(Plan {
            protocol,
            claims,
            ..Plan::default()
        })
        .await;
        let ask = Ask {
            method: "PUT",
            chunked,
            ..post("/inspect", body.clone())
        };
        let report = json(&world.invocation.call(ask).await.answer().await.body);
        assert_eq!(report["body_bytes"], 20 << 20);
        assert_eq!(report["sha256"], sha256);
        let answer = world
            .invocation
            .call(get("/bytes/20971520"))
            .await
            .answer()
            .await;
        assert_eq!(answer.body.len(), 20 << 20);
        world.stop().await;
    }
}

#[tokio::test]
async fn events_come_one_by_one_as_they_are_written() {
    let world = World::start(Plan::default()).await;
    let mut call = world
        .invocation
        .call(get("/events?count=25&interval_ms=20"))
        .await;
    call.head().await;
    let mut delays = Vec::new();
    while let Some(event) = call.next().await {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_micros();
        let event = event.unwrap();
        let text = std::str::from_utf8(&event)
            .unwrap()
            .strip_prefix("data: ")
            .unwrap();
        let event: serde_json::Value = serde_json::from_str(text).expect("one event a frame");
        delays.push(now - u128::from(event["at_us"].as_u64().unwrap()));
    }
    assert_eq!(delays.len(), 25);
    delays.sort_unstable();
    println!(
        "delay of an event: median {} us, worst {} us",
        delays[12], delays[24]
    );
    assert!(delays[12] < 10_000, "{delays:?}");
    world.stop().await;
}

#[tokio::test]
async fn slow_readers_of_small_events_disturb_nobody() {
    let world = World::start(Plan {
        protocol: "h2c",
        slots: 16,
        ..Plan::default()
    })
    .await;
    let mut slow = Vec::new();
    for _ in 0..12 {
        let path = "/events?count=20000&interval_ms=0";
        let mut call = world.invocation.call(get(path)).await;
        call.head().await;
        slow.push(call);
    }
    for _ in 0..50 {
        let call = world.invocation.call(get("/sleep/5")).await;
        assert_eq!(call.answer().await.status, 200);
    }
    for call in slow {
        let text = call.answer().await.body;
        assert_eq!(text.iter().filter(|byte| **byte == b'\n').count(), 40_000);
    }
    world.stop().await;
}

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
    let world = World::start(Plan::default()).await;
    world.kill_function();
    let answer = world.invocation.call(get("/any")).await.answer().await;
    assert_eq!(answer.status, 502);
    assert_eq!(answer.headers["content-type"], "application/problem+json");
    assert_eq!(answer.headers["frontdoor-execution"], "not-started");
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
async fn never_more_calls_than_slots() {
    let world = World::start(Plan {
        slots: 4,
        ..Plan::default()
    })
    .await;
    let mut calls = Vec::new();
    for _ in 0..60 {
        calls.push(world.invocation.call(get("/sleep/15")).await);
    }
    for call in calls {
        assert_eq!(call.answer().await.status, 200);
    }
    assert_eq!(world.invocation.most_open(), 4);
    assert_eq!(world.executed(), 60);
    assert_eq!(
        world
            .metric("frontdoor_worker_items_total{outcome=\"no-slot\"}")
            .await,
        0
    );
    world.stop().await;
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
