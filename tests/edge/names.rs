//! Names: DNS fails, lies and dies, and no call notices; an edge starts without it from what it knew.

use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use test_support::client::{Client, Protocol, full};
use test_support::eventually::eventually;
use test_support::region::{Region, reply};

use crate::harness::{Edge, post};

/// The local stack's DNS server, as a process of its own.
struct Dns {
    server: SocketAddr,
    admin: SocketAddr,
    child: Child,
    _folder: tempfile::TempDir,
}

fn free() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address")
}

// === impl Dns ===

impl Dns {
    async fn start(answer: Value) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (server, admin) = (free(), free());
        let config = folder.path().join("dns.toml");
        let text = format!(
            "listen = \"{server}\"\nadmin = \"{admin}\"\nzone = \"test\"\nttl = \"1s\"\n[records]\nus-east = {answer}\n"
        );
        std::fs::write(&config, text).expect("written");
        let child = Command::new(env!("CARGO_BIN_EXE_frontdoor"))
            .args(["local-dns", "-c"])
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        let dns = Self {
            server,
            admin,
            child,
            _folder: folder,
        };
        eventually("DNS answers", Duration::from_secs(10), async || {
            Client::plain(admin, Protocol::H1).await.ok()
        })
        .await;
        dns
    }

    /// From now on the region's name answers this: a list of addresses, or a fault's name.
    async fn answer(&self, answer: Value) {
        let mut admin = Client::plain(self.admin, Protocol::H1)
            .await
            .expect("admin");
        let body = json!({ "us-east": answer }).to_string();
        let request = http::Request::put("/records")
            .header("host", "dns")
            .header("content-type", "application/json")
            .body(full(body))
            .expect("valid");
        let answer = admin.call(request).await.expect("an answer");
        assert!(answer.status.is_success(), "{}", answer.text());
    }

    fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.kill();
    }
}

/// An edge whose one region is a name, at this port.
async fn edge(server: SocketAddr, port: u16, more: &str) -> Edge {
    let config = format!(
        "{more}\nresolver = {{ servers = [\"{server}\"], timeout = \"200ms\", max_ttl = \"1s\" }}\n\
         regions = [{{ name = \"us-east\", endpoint = \"http://us-east.test:{port}\" }}]"
    );
    Edge::configured(&[], &config).await
}

async fn region(address: &str) -> Region {
    Region::start_on(address.parse().expect("an address"), |_| async {
        reply(200, &[], "ok")
    })
    .await
    .expect("a port")
}

/// Addresses that the edge has for its region, with their health.
async fn addresses(edge: &Edge) -> Vec<(String, String)> {
    let world: Value = edge.admin("/regions").await.json();
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let endpoints = world["regions"][0]["endpoints"].as_array().cloned();
    endpoints
        .unwrap_or_default()
        .iter()
        .map(|e| (text(&e["address"]), text(&e["health"])))
        .collect()
}

/// Calls for so long; every one has to be answered.
async fn all_answered(edge: &Edge, time: Duration) {
    let end = std::time::Instant::now() + time;
    while std::time::Instant::now() < end {
        assert_eq!(edge.post("/echo", "x").await.status.as_u16(), 200);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn whatever_dns_does_calls_are_answered() {
    let first = region("127.0.0.1:0").await;
    let port = first.address.port();
    let mut dns = Dns::start(json!(["127.0.0.1"])).await;
    let edge = edge(dns.server, port, "").await;
    edge.health("us-east", "up").await;
    for answer in [json!("servfail"), json!("nxdomain"), json!([])] {
        dns.answer(answer).await;
        all_answered(&edge, Duration::from_millis(1500)).await;
    }
    // A dead address beside the good one, then alone.
    for answer in [json!(["127.0.0.1", "127.99.0.9"]), json!(["127.99.0.9"])] {
        dns.answer(answer).await;
        eventually("the edge has heard", Duration::from_secs(10), async || {
            let all = addresses(&edge).await;
            all.iter()
                .any(|(a, h)| a.starts_with("127.99") && h == "down")
                .then_some(())
        })
        .await;
        all_answered(&edge, Duration::from_millis(1500)).await;
    }
    let good = ("127.0.0.1:".to_owned() + &port.to_string(), "up".to_owned());
    assert!(addresses(&edge).await.contains(&good));
    // A real move: the old address goes as soon as the new one is known to work.
    let second = region(&format!("127.99.0.10:{port}")).await;
    dns.answer(json!(["127.99.0.10"])).await;
    eventually("the move is done", Duration::from_secs(10), async || {
        let all = addresses(&edge).await;
        (all == [(second.address.to_string(), "up".to_owned())]).then_some(())
    })
    .await;
    all_answered(&edge, Duration::from_millis(300)).await;
    assert!(second.calls() > 0);
    dns.kill();
    all_answered(&edge, Duration::from_secs(2)).await;
    assert!(edge.counter("resolves_total", "failed").await >= 2.0);
    edge.stopped().await;
}

#[tokio::test]
async fn a_cold_start_without_dns_serves_from_the_last_known_good() {
    let region = region("127.0.0.1:0").await;
    let port = region.address.port();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("state.json");
    let more = format!("state_file = {:?}", file.display().to_string());
    let mut dns = Dns::start(json!(["127.0.0.1"])).await;
    let before = edge(dns.server, port, &more).await;
    before.health("us-east", "up").await;
    eventually("the file is there", Duration::from_secs(5), async || {
        file.exists().then_some(())
    })
    .await;
    before.stopped().await;
    dns.kill();

    let begun = std::time::Instant::now();
    let after = edge(dns.server, port, &more).await;
    eventually("a call is answered", Duration::from_secs(5), async || {
        let answer = after
            .client(Protocol::H2)
            .await
            .call(post("/echo", "x"))
            .await;
        (answer.ok()?.status == 200).then_some(())
    })
    .await;
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(3), "{took:?}");
    after.stopped().await;
    // A file that makes no sense is not worse than none.
    std::fs::write(&file, b"\xff{").expect("written");
    let unknowing = edge(dns.server, port, &more).await;
    assert_eq!(unknowing.post("/echo", "x").await.status.as_u16(), 503);
    unknowing.stopped().await;
}
