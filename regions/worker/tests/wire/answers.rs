//! Calls that go well: what the container sees, and what comes back.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::invocation::Ask;
use crate::world::{Plan, World, get, json, post};

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
    for _ in 0..8 {
        let path = "/events?count=6000&interval_ms=0";
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
        assert_eq!(text.iter().filter(|byte| **byte == b'\n').count(), 12_000);
    }
    world.stop().await;
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
