//! The configuration and certificates change while calls run: nobody notices, and what is wrong changes nothing.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;
use test_support::client::Protocol;
use test_support::edge::DOMAIN;
use test_support::eventually::eventually;
use test_support::region::{Region, reply};
use test_support::tls::Authority;

use crate::harness::{Edge, post};

const PATIENCE: Duration = Duration::from_secs(10);

async fn region() -> Region {
    Region::start(|_| async { reply(200, &[], "ok") })
        .await
        .expect("a port")
}

fn file(edge: &Edge) -> PathBuf {
    edge.folder.path().join("edge.toml")
}

fn rewrite(edge: &Edge, from: &str, to: &str) {
    let text = std::fs::read_to_string(file(edge)).expect("there");
    assert!(text.contains(from), "{from} is not in {text}");
    std::fs::write(file(edge), text.replacen(from, to, 1)).expect("written");
}

async fn reloads(edge: &Edge, outcome: &str, count: f64) {
    eventually(&format!("{outcome} {count}"), PATIENCE, async || {
        (edge.counter("config_reloads_total", outcome).await >= count).then_some(())
    })
    .await;
}

#[tokio::test]
async fn weights_change_under_load_and_nobody_fails() {
    let region = region().await;
    let edge = Edge::start(&[("us-east", region.address)]).await;
    let mut client = edge.client(Protocol::H2).await;
    let calls = async {
        for _ in 0..200 {
            let answer = client.call(post("/echo", "x")).await.expect("an answer");
            assert_eq!(answer.status.as_u16(), 200);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let changes = async {
        for (old, new) in [("", "weight = 0.5"), ("weight = 0.5", "weight = 0.25")] {
            if old.is_empty() {
                let text = std::fs::read_to_string(file(&edge)).expect("there");
                std::fs::write(file(&edge), format!("{text}{new}\n")).expect("written");
            } else {
                rewrite(&edge, old, new);
            }
            let wanted: f64 = new
                .trim_start_matches("weight = ")
                .parse()
                .expect("a number");
            eventually("the weight holds", PATIENCE, async || {
                (edge.region("us-east", "weight").await == json!(wanted)).then_some(())
            })
            .await;
        }
    };
    tokio::join!(calls, changes);
    edge.stopped().await;
}

#[tokio::test]
async fn a_wrong_file_changes_nothing() {
    let region = region().await;
    let edge = Edge::start(&[("us-east", region.address)]).await;
    for (count, (from, to)) in [
        ("name = \"us-east\"", "nam = \"us-east\""),
        ("nam = \"us-east\"", "name = \"us-west\""),
    ]
    .into_iter()
    .enumerate()
    {
        rewrite(&edge, from, to);
        #[expect(clippy::cast_precision_loss, reason = "two")]
        reloads(&edge, "refused", count as f64 + 1.0).await;
        assert_eq!(edge.post("/echo", "x").await.status.as_u16(), 200);
    }
    rewrite(&edge, "us-west", "us-east");
    reloads(&edge, "applied", 1.0).await;
    edge.stopped().await;
}

#[tokio::test]
async fn a_new_certificate_is_shown_and_open_connections_live_on() {
    let region = region().await;
    let mut edge = Edge::start(&[("us-east", region.address)]).await;
    let mut old = edge.client(Protocol::H2).await;
    let other = Authority::new().expect("an authority");
    let names = ["localhost", DOMAIN, &format!("*.{DOMAIN}")];
    other
        .issue(edge.folder.path(), "edge", &names)
        .expect("written");
    reloads(&edge, "applied", 1.0).await;
    assert_eq!(
        old.call(post("/echo", "x"))
            .await
            .expect("an answer")
            .status
            .as_u16(),
        200
    );
    edge.authority = other;
    // Trusts nothing but the new authority.
    assert_eq!(edge.post("/echo", "x").await.status.as_u16(), 200);
    edge.stopped().await;
}
