//! Between edge and region: TLS with certificates on both sides, from the edge's connections to a region's own port.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use test_support::client::Answer;
use test_support::edge::DOMAIN;
use test_support::eventually::eventually;
use test_support::tls::Authority;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::harness::Edge;

fn free_port() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address")
}

/// A real invocation service without NATS and keys: it can only refuse a call, and it does so over TLS.
async fn region(folder: &Path, authority: &Authority) -> (SocketAddr, AbortOnDropHandle<()>) {
    authority
        .issue(folder, "region", &["us-east.regions.test"])
        .expect("issued");
    std::fs::write(folder.join("edges.pem"), authority.pem()).expect("written");
    let secured = free_port();
    let text = format!(
        "region = \"us-east\"\ndomain = \"{DOMAIN}\"\nlisten = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n\
         attach_url = \"http://127.0.0.1:1\"\n[nats]\nurl = \"nats://{}\"\n[tls]\nlisten = \"{secured}\"\n\
         cert = \"region.pem\"\nkey = \"region.key\"\nclient_ca = \"edges.pem\"\n",
        free_port()
    );
    let file = folder.join("invocation.toml");
    std::fs::write(&file, text).expect("written");
    let settings = frontdoor_invocation::config::load(&file).expect("a right configuration");
    let task = tokio::spawn(async move {
        let run = frontdoor_invocation::run(settings, CancellationToken::new());
        run.await.expect("runs");
    });
    eventually("the port is open", Duration::from_secs(10), async || {
        tokio::net::TcpStream::connect(secured).await.ok()
    })
    .await;
    (secured, AbortOnDropHandle::new(task))
}

async fn edge(region: SocketAddr, folder: &Path, client: &str, name: &str) -> Edge {
    let text = format!(
        "upstream = {{ ca = \"{0}/ca.pem\", cert = \"{0}/{client}.pem\", key = \"{0}/{client}.key\" }}",
        folder.display()
    );
    Edge::secured(region, name, &text).await
}

#[tokio::test]
async fn both_sides_show_who_they_are() {
    let folder = tempfile::tempdir().expect("a folder");
    let (ours, theirs) = (
        Authority::new().expect("an authority"),
        Authority::new().expect("an authority"),
    );
    std::fs::write(folder.path().join("ca.pem"), ours.pem()).expect("written");
    ours.issue(folder.path(), "good", &["edge.test"])
        .expect("issued");
    theirs
        .issue(folder.path(), "strange", &["edge.test"])
        .expect("issued");
    let (region, _running) = region(folder.path(), &ours).await;

    let good = edge(region, folder.path(), "good", "us-east.regions.test").await;
    // It waits three seconds for its NATS before it accepts anybody.
    eventually("the region answers", Duration::from_secs(20), async || {
        (!nobody(&good.post("/x", "x").await)).then_some(())
    })
    .await;

    for (client, name) in [
        ("strange", "us-east.regions.test"),
        ("good", "elsewhere.test"),
    ] {
        let edge = edge(region, folder.path(), client, name).await;
        let answer = edge.post("/x", "x").await;
        assert!(
            answer.text().contains("urn:frontdoor:problem:"),
            "{}",
            answer.text()
        );
        assert!(
            nobody(&answer) && answer.status == 503,
            "{client} {name}: nobody is reached: {}",
            answer.text()
        );
    }
}

/// Whether an answer says that no region was reached.
fn nobody(answer: &Answer) -> bool {
    answer.text().contains("regions-failed")
}

/// Whether the region is reached with this certificate, by an edge that just began.
async fn reached(region: SocketAddr, folder: &Path, client: &str) -> bool {
    let edge = edge(region, folder, client, "us-east.regions.test").await;
    !nobody(&edge.post("/x", "x").await)
}

#[tokio::test]
async fn whom_a_region_lets_in_changes_without_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let (old, new) = (
        Authority::new().expect("an authority"),
        Authority::new().expect("an authority"),
    );
    std::fs::write(folder.join("ca.pem"), old.pem()).expect("written");
    old.issue(folder, "old", &["edge.test"]).expect("issued");
    new.issue(folder, "new", &["edge.test"]).expect("issued");
    let (region, _running) = region(folder, &old).await;
    eventually("the region answers", Duration::from_secs(20), async || {
        reached(region, folder, "old").await.then_some(())
    })
    .await;
    assert!(!reached(region, folder, "new").await, "nobody knows it yet");

    // Half a file is none: what is in use stays.
    std::fs::write(folder.join("edges.pem"), &new.pem()[..200]).expect("written");
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(reached(region, folder, "old").await);

    // Both for a while, as a careful operator does it, and then only the new one.
    let both = format!("{}{}", old.pem(), new.pem());
    std::fs::write(folder.join("edges.pem"), both).expect("written");
    eventually("the new one gets in", Duration::from_secs(20), async || {
        reached(region, folder, "new").await.then_some(())
    })
    .await;
    assert!(reached(region, folder, "old").await);
    std::fs::write(folder.join("edges.pem"), new.pem()).expect("written");
    eventually(
        "the old one does not",
        Duration::from_secs(20),
        async || (!reached(region, folder, "old").await).then_some(()),
    )
    .await;
    assert!(reached(region, folder, "new").await);

    // The region's own certificate, by another authority: whoever trusts only the first one is not deceived.
    new.issue(folder, "region", &["us-east.regions.test"])
        .expect("issued");
    eventually("it is shown", Duration::from_secs(20), async || {
        (!reached(region, folder, "new").await).then_some(())
    })
    .await;
    std::fs::write(folder.join("ca.pem"), new.pem()).expect("written");
    assert!(reached(region, folder, "new").await);
}
