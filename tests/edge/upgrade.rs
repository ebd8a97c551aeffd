//! One edge takes over from another at the same ports: nobody is refused, nothing is cut, and who fails to take over has
//! changed nothing.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use frontdoor::edge::{EdgeError, Start};
use futures_util::stream;
use http::Response;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use test_support::client::{Client, Protocol, full};
use test_support::edge::read_ports;
use test_support::eventually::eventually;
use test_support::region::{Region, Reply, reply};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::harness::{Edge, post, request};

const MORE: &str = "upgrade = { socket = \"door\", patience = \"20s\" }\nadmin = { token_file = \"token\", orders_file = \"orders\" }";

/// A second edge in this process, with a configuration of its own.
struct Second {
    stop: CancellationToken,
    task: JoinHandle<Result<(), EdgeError>>,
    ready: std::path::PathBuf,
}

impl Second {
    fn start(config: &Path, name: &str) -> Self {
        let settings = frontdoor::config::load(config).expect("a right configuration");
        let (stop, ready) = (CancellationToken::new(), config.with_file_name(name));
        let start = Start {
            ready_file: Some(ready.clone()),
            upgrade: true,
            ..Start::default()
        };
        let task = tokio::spawn(frontdoor::edge::run(settings, start, stop.clone()));
        Self { stop, task, ready }
    }

    async fn serves(&self) {
        eventually(
            "the successor serves",
            Duration::from_secs(10),
            async || read_ports(&self.ready),
        )
        .await;
    }

    async fn stopped(self) {
        self.stop.cancel();
        self.task.await.expect("no panic").expect("no error");
    }
}

async fn first(region: &Region) -> Edge {
    let edge = Edge::prepared(&[("us-east", region.address)], MORE, |folder| {
        std::fs::write(folder.join("token"), "token").expect("written");
    })
    .await;
    edge.health("us-east", "up").await;
    edge
}

/// Answers with two events, the second one when told; anything but `/sse` at once.
async fn region(go: &watch::Receiver<bool>) -> Region {
    let go = go.clone();
    let script = move |request: http::Request<hyper::body::Incoming>| {
        let go = go.clone();
        async move {
            if request.uri().path() == "/sse" {
                events(go)
            } else {
                reply(200, &[], "ok")
            }
        }
    };
    Region::start(script).await.expect("a port")
}

fn events(go: watch::Receiver<bool>) -> Reply {
    let (tx, rx) = tokio::sync::mpsc::channel::<Result<Frame<Bytes>, std::io::Error>>(2);
    let event = |n: u8| Ok(Frame::data(Bytes::from(format!("data: {n}\n\n"))));
    tokio::spawn(async move {
        let mut go = go;
        tx.send(event(1)).await.ok();
        go.wait_for(|go| *go).await.ok();
        tx.send(event(2)).await.ok();
    });
    let frames = stream::unfold(rx, |mut rx| async move {
        rx.recv().await.map(|item| (item, rx))
    });
    let body = http_body_util::combinators::BoxBody::new(StreamBody::new(frames));
    Response::builder()
        .header("content-type", "text/event-stream")
        .body(body)
        .expect("valid")
}

#[tokio::test]
async fn a_successor_takes_over_and_nobody_notices() {
    let (tell, go) = watch::channel(false);
    let region = region(&go).await;
    let old = first(&region).await;
    let ask = || request("POST", "/sse").body(full("{}")).expect("valid");
    let mut streams = Vec::new();
    for protocol in [Protocol::H1, Protocol::H2] {
        let mut client = old.client(protocol).await;
        let mut body = client.send(ask()).await.expect("a head").into_body();
        assert!(body.frame().await.is_some_and(|frame| frame.is_ok()));
        streams.push((client, body));
    }
    // Two who are connected and silent, before and between calls.
    let mut silent = old.client(Protocol::H1).await;
    let mut plain = Client::plain(old.ports.http, Protocol::H1)
        .await
        .expect("plain");
    for _ in 0..2 {
        silent.call(post("/x", "x")).await.expect("an answer");
    }

    let new = Second::start(&old.config(), "second.json");
    new.serves().await;
    // The same ports, and it is the new one that counts: of the calls before it knows nothing.
    assert_eq!(old.post("/x", "x").await.text(), "ok");
    eventually("the new one counts", Duration::from_secs(5), async || {
        (old.counter("requests_total", "answered").await == 1.0).then_some(())
    })
    .await;
    // Who was connected is served, and asked to connect anew.
    for client in [&mut silent, &mut plain] {
        let answer = client.call(post("/x", "x")).await.expect("an answer");
        assert_eq!(answer.header("connection"), "close");
    }
    assert!(!old.is_over(), "its streams still run");
    tell.send_replace(true);
    for (_client, mut body) in streams {
        let last = body.frame().await.expect("an event").expect("whole");
        assert_eq!(last.into_data().expect("data"), "data: 2\n\n");
        // And a clean end.
        while let Some(more) = body.frame().await {
            let more = more.expect("whole").into_data().unwrap_or_default();
            assert_eq!(more, "");
        }
    }
    eventually(
        "the old one ends early",
        Duration::from_secs(10),
        async || old.is_over().then_some(()),
    )
    .await;
    assert_eq!(old.post("/x", "x").await.text(), "ok");

    // And once more, from the second to a third.
    let third = Second::start(&old.config(), "third.json");
    third.serves().await;
    new.task.await.expect("no panic").expect("stopped in order");
    assert_eq!(old.post("/x", "x").await.text(), "ok");
    third.stopped().await;
    assert!(
        !old.folder.path().join("door").exists(),
        "nobody is there any more"
    );
}

#[tokio::test]
async fn who_fails_to_take_over_has_changed_nothing() {
    let (_tell, go) = watch::channel(false);
    let region = region(&go).await;
    let old = first(&region).await;
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = nobody.local_addr().expect("an address");
    let mut config = old.config();
    let text = std::fs::read_to_string(&config).expect("there");
    config.set_file_name("other.toml");
    let with =
        |from: &str, to: &str| std::fs::write(&config, text.replace(from, to)).expect("written");

    // A port that is taken, and a certificate that is not there.
    with("http = \"127.0.0.1:0\"", &format!("http = \"{address}\""));
    let error = Second::start(&config, "x").task.await.expect("no panic");
    assert!(matches!(error, Err(EdgeError::Bind(_))), "{error:?}");
    with("edge.pem", "none.pem");
    let error = Second::start(&config, "x").task.await.expect("no panic");
    assert!(
        matches!(error, Err(EdgeError::Certificates(_))),
        "{error:?}"
    );

    // No region answers it: it never becomes ready, and meanwhile no order is taken that it might not see.
    drop(nobody);
    with(&region.address.to_string(), &address.to_string());
    with_patience(&config, "20s");
    let waiting = Second::start(&config, "x");
    let order = async || {
        let path = "/regions/us-east/weight";
        let answer = old.order("PUT", path, "token", "{\"weight\": 0.5}").await;
        answer.status
    };
    eventually("orders are closed", Duration::from_secs(5), async || {
        (order().await == 503).then_some(())
    })
    .await;
    assert_eq!(old.post("/x", "x").await.text(), "ok");
    // It dies.
    waiting.task.abort();
    eventually(
        "orders are taken again",
        Duration::from_secs(5),
        async || order().await.is_success().then_some(()),
    )
    .await;
    // It gives up.
    with_patience(&config, "200ms");
    let error = Second::start(&config, "x").task.await.expect("no panic");
    assert!(
        matches!(error, Err(EdgeError::NotReady { .. })),
        "{error:?}"
    );
    assert_eq!(old.post("/x", "x").await.text(), "ok");
    assert!(!old.is_over());

    // After all that one that is right is let in.
    let new = Second::start(&old.config(), "second.json");
    new.serves().await;
    eventually("the old one ends", Duration::from_secs(10), async || {
        old.is_over().then_some(())
    })
    .await;
    new.stopped().await;

    // Nobody is left to take over from.
    let error = Second::start(&old.config(), "x")
        .task
        .await
        .expect("no panic");
    let said = error.expect_err("nobody").to_string();
    assert!(said.contains("without --upgrade"), "{said}");
}

fn with_patience(config: &Path, patience: &str) {
    let text = std::fs::read_to_string(config).expect("there");
    let lines = text.lines().map(|line| {
        if line.starts_with("upgrade") {
            format!("upgrade = {{ socket = \"door\", patience = \"{patience}\" }}\n")
        } else {
            format!("{line}\n")
        }
    });
    std::fs::write(config, lines.collect::<String>()).expect("written");
}

/// An order that the old one took holds at the new one, without NATS.
#[tokio::test]
async fn orders_outlive_an_upgrade() {
    let (_tell, go) = watch::channel(false);
    let region = region(&go).await;
    let old = first(&region).await;
    let answer = old
        .order(
            "PUT",
            "/regions/us-east/weight",
            "token",
            "{\"weight\": 0.5}",
        )
        .await;
    assert_eq!(answer.status, 200);
    let new = Second::start(&old.config(), "second.json");
    new.serves().await;
    eventually("the weight holds", Duration::from_secs(5), async || {
        let weight = old.region("us-east", "weight").await;
        (weight == serde_json::json!(0.5)).then_some(())
    })
    .await;
    // And the new one takes orders.
    let answer = old
        .order(
            "PUT",
            "/regions/us-east/weight",
            "token",
            "{\"weight\": 1.0}",
        )
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    new.stopped().await;
}
