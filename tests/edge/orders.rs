//! Operators' orders: who may give them, what the guard refuses, how other edges learn of them, and what outlives a restart.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use test_support::eventually::eventually;
use test_support::region::{Region, reply};

use crate::harness::Edge;

const PATIENCE: Duration = Duration::from_secs(10);

/// Long enough for an edge to find out that its orders are not taken.
const REFUSAL: Duration = Duration::from_secs(20);

/// A hub with JetStream, and one user.
struct Hub {
    child: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Hub {
    /// A hub where an edge may do this.
    fn start(permissions: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("a port")
            .port();
        let store = folder.path().join("store");
        let text = format!(
            "listen: \"127.0.0.1:{port}\"\njetstream {{ domain: hub, store_dir: \"{}\" }}\n\
             accounts {{ CHATTER {{ jetstream: enabled, users: [ {{ user: edge, password: hush\n{permissions} }} ] }} }}\n",
            store.display()
        );
        let file = folder.path().join("hub.conf");
        std::fs::write(&file, text).expect("written");
        let own = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/bin/nats-server");
        let binary = if own.exists() {
            own
        } else {
            PathBuf::from("nats-server")
        };
        let child = Command::new(binary)
            .arg("-c")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nats-server in .tools/bin or on PATH");
        Self {
            child,
            port,
            _folder: folder,
        }
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the shipped hub lets an edge do: all that stands beside its nkey.
fn shipped() -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/nats/hub.conf");
    let text = std::fs::read_to_string(file).expect("shipped");
    let (_, edge) = text.split_once("nkey: $EDGE_NKEY").expect("an edge's user");
    let mut depth = 0_i32;
    let end = edge.find(|c: char| {
        depth += match c {
            '{' => 1,
            '}' => -1,
            _ => 0,
        };
        depth < 0
    });
    edge[..end.expect("the user's end")].to_owned()
}

async fn region() -> Region {
    Region::start(|_| async { reply(200, &[], "ok") })
        .await
        .expect("a port")
}

/// An edge that takes orders with the token `sesame`, in front of two regions.
async fn edge(folder: &Path, regions: [SocketAddr; 2], nats: Option<u16>) -> Edge {
    let token = folder.join("token");
    std::fs::write(&token, "sesame\n").expect("written");
    let mut more = format!(
        "admin = {{ token_file = \"{}\", orders_file = \"{}\" }}",
        token.display(),
        folder.join("orders.json").display()
    );
    if let Some(port) = nats {
        more += &format!(
            "\nnats = {{ url = \"nats://127.0.0.1:{port}\", user = \"edge\", password = \"hush\" }}"
        );
    }
    let [east, west] = regions;
    let edge = Edge::configured(&[("us-east", east), ("eu-west", west)], &more).await;
    edge.health("us-east", "up").await;
    edge.health("eu-west", "up").await;
    edge
}

/// Drains a region until the edge says that the order gets this far.
async fn reaches(edge: &Edge, reach: &str) {
    eventually(reach, REFUSAL, async || {
        let answer = edge
            .order("POST", "/regions/us-east/drain", "sesame", "")
            .await;
        (answer.json()["reach"] == json!(reach)).then_some(())
    })
    .await;
}

async fn draining(edge: &Edge, region: &str, wanted: bool) {
    eventually("the order holds", PATIENCE, async || {
        (edge.region(region, "draining").await == json!(wanted)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_drained_region_gets_no_calls_until_it_is_taken_back() {
    let (east, west) = (region().await, region().await);
    let folder = tempfile::tempdir().expect("a folder");
    let edge = edge(folder.path(), [east.address, west.address], None).await;
    let answer = edge
        .order("POST", "/regions/us-east/drain?by=ann", "sesame", "")
        .await;
    assert_eq!(answer.status.as_u16(), 200);
    let told: Value = answer.json();
    assert_eq!(
        (&told["drain"], &told["shared"], &told["reach"]),
        (&json!(true), &json!(false), &json!("no-nats"))
    );
    draining(&edge, "us-east", true).await;
    let before = east.calls();
    for _ in 0..20 {
        assert_eq!(edge.post("/echo", "x").await.status.as_u16(), 200);
    }
    assert_eq!(east.calls(), before, "a drained region was called");
    edge.order("POST", "/regions/us-east/undrain", "sesame", "")
        .await;
    eventually("calls arrive again", PATIENCE, async || {
        edge.post("/echo", "x").await;
        (east.calls() > before).then_some(())
    })
    .await;
    edge.stopped().await;
}

#[tokio::test]
async fn orders_need_the_token_sense_and_room() {
    let (east, west) = (region().await, region().await);
    let folder = tempfile::tempdir().expect("a folder");
    let edge = edge(folder.path(), [east.address, west.address], None).await;
    let check = async |method: &str, path: &str, token: &str, body: &str| {
        let answer = edge.order(method, path, token, body).await;
        (answer.status.as_u16(), answer.text())
    };
    assert_eq!(
        check("POST", "/regions/us-east/drain", "sesam", "").await.0,
        401
    );
    let (status, text) = check("POST", "/regions/mars/drain", "sesame", "").await;
    assert!(status == 404 && text.contains("us-east"), "{status} {text}");
    for body in [
        "",
        "{}",
        r#"{"weight":-1}"#,
        r#"{"weight":1e9}"#,
        r#"{"weight":1,"x":2}"#,
    ] {
        assert_eq!(
            check("PUT", "/regions/us-east/weight", "sesame", body)
                .await
                .0,
            400,
            "{body}"
        );
    }
    assert_eq!(
        check("POST", "/regions/us-east/drain", "sesame", "")
            .await
            .0,
        200
    );
    draining(&edge, "us-east", true).await;
    let (status, text) = check("POST", "/regions/eu-west/drain", "sesame", "").await;
    assert!(
        status == 409 && text.contains("no other region"),
        "{status} {text}"
    );
    assert_eq!(
        check("POST", "/regions/eu-west/drain?force=true", "sesame", "")
            .await
            .0,
        200
    );
    assert_eq!(
        check(
            "PUT",
            "/regions/eu-west/weight",
            "sesame",
            r#"{"weight":0.5}"#
        )
        .await
        .0,
        200
    );
    eventually("the weight holds", PATIENCE, async || {
        (edge.region("eu-west", "weight").await == json!(0.5)).then_some(())
    })
    .await;
    edge.stopped().await;
    // Without a token nobody gives orders.
    let edge = Edge::start(&[("us-east", east.address)]).await;
    let answer = edge.order("POST", "/regions/us-east/drain", "", "").await;
    assert_eq!(answer.status.as_u16(), 403);
    edge.stopped().await;
}

#[tokio::test]
async fn other_edges_learn_of_orders_and_a_restart_without_nats_keeps_them() {
    let (east, west) = (region().await, region().await);
    let hub = Hub::start(&shipped());
    let folders = [(); 2].map(|()| tempfile::tempdir().expect("a folder"));
    let places = [east.address, west.address];
    let one = edge(folders[0].path(), places, Some(hub.port)).await;
    let two = edge(folders[1].path(), places, Some(hub.port)).await;
    // Shared as soon as the bucket is there.
    eventually("the order is shared", PATIENCE, async || {
        let answer = one
            .order("POST", "/regions/us-east/drain", "sesame", "")
            .await;
        (answer.json()["shared"] == json!(true)).then_some(())
    })
    .await;
    draining(&two, "us-east", true).await;
    two.stopped().await;
    drop(hub);
    reaches(&one, "nats-away").await;
    let two = edge(folders[1].path(), places, None).await;
    draining(&two, "us-east", true).await;
    one.stopped().await;
    two.stopped().await;
}

#[tokio::test]
async fn a_hub_that_takes_no_orders_is_not_called_away() {
    let (east, west) = (region().await, region().await);
    // It carries news, as the shipped one does, and lets nobody touch its JetStream.
    let hub = Hub::start("permissions { publish: \"fd.>\", subscribe: \"fd.>\" }");
    let folder = tempfile::tempdir().expect("a folder");
    let edge = edge(folder.path(), [east.address, west.address], Some(hub.port)).await;
    reaches(&edge, "nats-refuses").await;
    draining(&edge, "us-east", true).await;
    edge.stopped().await;
}
