//! Start and stop: running calls finish, new ones are turned away in order, admin pages tell the truth.

use std::time::Duration;

use test_support::client::{Client, Protocol, full};
use test_support::eventually::eventually;
use test_support::region::{Region, reply};

use crate::harness::{Edge, request};

#[tokio::test]
async fn a_stop_finishes_what_runs() {
    let region = Region::start(|_| async {
        tokio::time::sleep(Duration::from_millis(700)).await;
        reply(200, &[], "done")
    })
    .await
    .expect("a port");
    let edge = Edge::start(&[("us-east", region.address)]).await;
    let mut calls = Vec::new();
    for protocol in [Protocol::H1, Protocol::H2] {
        let mut client = edge.client(protocol).await;
        calls.push(tokio::spawn(async move {
            client
                .call(request("POST", "/slow").body(full("x")).expect("valid"))
                .await
        }));
    }
    eventually("both run", Duration::from_secs(2), async || {
        (region.calls() == 2).then_some(())
    })
    .await;
    let https = edge.ports.https;
    edge.begin_stop();
    eventually("the port is closed", Duration::from_secs(2), async || {
        tokio::net::TcpStream::connect(https)
            .await
            .is_err()
            .then_some(())
    })
    .await;
    for call in calls {
        let answer = call.await.expect("no panic").expect("an answer");
        assert_eq!(
            (answer.status.as_u16(), answer.text()),
            (200, "done".into())
        );
    }
    edge.stopped().await;
}

#[tokio::test]
async fn an_idle_edge_stops_at_once_whoever_is_connected() {
    let region = Region::start(|_| async { reply(200, &[], "ok") })
        .await
        .expect("a port");
    let edge = Edge::start(&[("us-east", region.address)]).await;
    let mut clients = Vec::new();
    for protocol in [Protocol::H1, Protocol::H2] {
        let mut client = edge.client(protocol).await;
        client
            .call(request("POST", "/x").body(full("x")).expect("valid"))
            .await
            .expect("an answer");
        clients.push(client);
        clients.push(
            Client::plain(edge.ports.http, protocol)
                .await
                .expect("plain"),
        );
    }
    let started = std::time::Instant::now();
    edge.stopped().await;
    assert!(
        started.elapsed() < Duration::from_secs(3),
        "{:?}",
        started.elapsed()
    );
}

/// A caller that is connected and hears nothing (its process is stopped, its network gone) must not hold up a stop.
#[tokio::test]
async fn a_deaf_caller_does_not_hold_up_a_stop() {
    let region = Region::start(|_| async { reply(200, &[], "ok") })
        .await
        .expect("a port");
    let edge = Edge::start(&[("us-east", region.address)]).await;
    let (http, tell) = (edge.ports.http, std::sync::mpsc::channel::<()>());
    let deaf = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let client = runtime.block_on(async {
            let mut client = Client::plain(http, Protocol::H2).await.expect("plain");
            let call = request("POST", "/x").body(full("x")).expect("valid");
            client.call(call).await.expect("an answer");
            client
        });
        // Nothing of it runs from here on, but its connection is open.
        tell.1.recv().ok();
        drop(client);
    });
    eventually("it has called", Duration::from_secs(5), async || {
        (region.calls() == 1).then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let started = std::time::Instant::now();
    edge.stopped().await;
    assert!(
        started.elapsed() < Duration::from_secs(3),
        "{:?}",
        started.elapsed()
    );
    drop(tell.0);
    deaf.join().expect("no panic");
}

#[tokio::test]
async fn admin_pages_tell_the_truth() {
    let region = Region::start(|_| async { reply(200, &[], "ok") })
        .await
        .expect("a port");
    let edge = Edge::start(&[("us-east", region.address)]).await;
    assert_eq!(edge.admin("/live").await.status, 200);
    assert_eq!(edge.admin("/ready").await.json()["ready"], true);
    edge.post("/x", "x").await;
    eventually("the call is counted", Duration::from_secs(2), async || {
        (edge.counter("requests_total", "answered").await >= 1.0).then_some(())
    })
    .await;
    let world = edge.admin("/regions").await.json();
    assert_eq!(world["regions"][0]["name"], "us-east");
    assert!(world["regions"][0]["rtt_ms"].as_f64().expect("measured") < 100.0);
}

#[tokio::test]
async fn a_region_that_returns_gets_calls_again() {
    let region = Region::start(|_| async { reply(200, &[], "old") })
        .await
        .expect("a port");
    let address = region.address;
    let edge = Edge::start(&[("us-east", address)]).await;
    drop(region);
    edge.health("us-east", "down").await;
    let region = Region::start_on(address, |_| async { reply(200, &[], "new") })
        .await
        .expect("the same port");
    edge.health("us-east", "up").await;
    assert_eq!(edge.post("/x", "x").await.text(), "new");
    drop(region);
}
