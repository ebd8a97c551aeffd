//! Versions, and the real server with the real files: it takes them, and only `fd.>` crosses from a region.

use std::os::unix::fs::PermissionsExt as _;

use async_nats::{Client, ConnectOptions};
use futures_util::StreamExt as _;
use tokio::process::Child;
use tokio::time::Instant;

use super::*;
use crate::local::files::{self, HubPasswords};
use crate::local::{block, http};

#[test]
fn versions_are_read_and_compared() {
    for (text, version) in [
        ("nats-server: v2.15.1\n", Some(Version(2, 15))),
        ("nats-server: v2.9.10", Some(Version(2, 9))),
        ("nats-server: v2.12.0-RC.1", Some(Version(2, 12))),
        ("", None),
        ("usage: x", None),
    ] {
        assert_eq!(Version::parse(text), version, "{text}");
    }
    assert!(Version(2, 9) < OLDEST && Version(2, 11) >= OLDEST && Version(3, 0) > OLDEST);
}

#[tokio::test]
async fn an_old_server_is_refused_with_a_way_out() {
    let dir = tempfile::tempdir().expect("folder");
    let old = dir.path().join("nats-server");
    std::fs::write(&old, "#!/bin/sh\necho nats-server: v2.9.10\n").expect("written");
    std::fs::set_permissions(&old, std::fs::Permissions::from_mode(0o755)).expect("executable");
    let error = find(Some(&old), Path::new("x"))
        .await
        .expect_err("refused")
        .to_string();
    assert!(
        error.contains("2.9") && error.contains("2.11") && error.contains("make setup"),
        "{error}"
    );
}

/// A hub and one region's server; both end with this value.
struct Servers {
    hub: String,
    region: String,
    password: String,
    _children: [Child; 2],
    _dir: tempfile::TempDir,
    _lock: std::net::TcpListener,
}

impl Servers {
    async fn start() -> Self {
        let name = "us-east".parse().expect("valid");
        let (plan, lock) = block::claim(std::slice::from_ref(&name)).expect("block");
        let dir = tempfile::tempdir().expect("folder");
        let passwords = HubPasswords {
            edge: "edge-password".into(),
            leaf: "leaf-password".into(),
        };
        let at = plan.region(&name).expect("planned");
        let server = for_tests().await;
        let run = async |file: &str, text: String, monitor: String| {
            let config = dir.path().join(file);
            std::fs::write(&config, text).expect("written");
            let log = std::fs::File::create(config.with_extension("log")).expect("log");
            let child = Command::new(&server)
                .arg("-c")
                .arg(&config)
                .stderr(log)
                .kill_on_drop(true)
                .spawn();
            let url = format!("http://{monitor}/healthz");
            if let Err(error) = http::until_ok(&url, Duration::from_secs(10)).await {
                panic!(
                    "{error}\n{}",
                    std::fs::read_to_string(config.with_extension("log")).expect("log")
                );
            }
            child.expect("started")
        };
        let hub = run(
            "hub.conf",
            files::hub(&plan, &dir.path().join("hub"), &passwords),
            plan.hub_monitor().to_string(),
        )
        .await;
        let text = files::nats(&name, &at, &dir.path().join("store"), &passwords);
        // No delay lines here: the leaf goes straight to the hub.
        let text = text.replace(&at.leaf.to_string(), &plan.hub_leaf().to_string());
        let region = run("region.conf", text, at.monitor.to_string()).await;
        let leafs = format!("http://{}/leafz", at.monitor);
        let limit = Instant::now() + Duration::from_secs(10);
        loop {
            let (_, body) = http::send("GET", &leafs, None, None)
                .await
                .expect("answered");
            let leafs: serde_json::Value = serde_json::from_slice(&body).expect("json");
            if leafs["leafnodes"] == 1 {
                break;
            }
            assert!(Instant::now() < limit, "the leaf never joined: {leafs}");
        }
        Self {
            hub: plan.hub().to_string(),
            region: at.nats.to_string(),
            password: passwords.edge,
            _children: [hub, region],
            _dir: dir,
            _lock: lock,
        }
    }

    async fn edge(&self) -> Client {
        let options = ConnectOptions::with_user_and_password("edge".into(), self.password.clone());
        options.connect(&self.hub).await.expect("connected")
    }

    async fn inside(&self) -> Client {
        async_nats::connect(&self.region).await.expect("connected")
    }
}

/// Whether a message on `subject` gets from one client to the other, where both sides may try what they like.
async fn crosses(from: &Client, to: &Client, subject: &str) -> bool {
    let mut heard = to.subscribe(subject.to_owned()).await.expect("subscribed");
    // `fd.fence` is known to cross: once it has, what was sent before it would have as well.
    let mut fence = to.subscribe("fd.fence").await.expect("subscribed");
    to.flush().await.expect("flushed");
    let limit = Instant::now() + Duration::from_secs(5);
    loop {
        from.publish(subject.to_owned(), "x".into())
            .await
            .expect("published");
        from.publish("fd.fence", "x".into())
            .await
            .expect("published");
        let passed = timeout(Duration::from_millis(100), fence.next()).await;
        if passed.is_ok() {
            return timeout(Duration::from_millis(20), heard.next())
                .await
                .is_ok();
        }
        assert!(Instant::now() < limit, "not even fd.fence crosses");
    }
}

#[tokio::test]
async fn only_chatter_crosses_between_a_region_and_the_hub() {
    let servers = Servers::start().await;
    let (edge, inside) = (servers.edge().await, servers.inside().await);
    for (from, to, way) in [(&inside, &edge, "out"), (&edge, &inside, "in")] {
        assert!(crosses(from, to, "fd.report").await, "chatter goes {way}");
        for subject in ["rq.work", "$JS.API.INFO", "_INBOX.abc", "fdx.y", "anything"] {
            assert!(!crosses(from, to, subject).await, "{subject} goes {way}");
        }
    }
}

#[tokio::test]
async fn jetstream_stays_in_the_region_and_has_its_name() {
    let servers = Servers::start().await;
    let (edge, inside) = (servers.edge().await, servers.inside().await);
    let account = inside
        .request("$JS.us-east.API.INFO", "".into())
        .await
        .expect("by its domain");
    let account: serde_json::Value = serde_json::from_slice(&account.payload).expect("json");
    assert_eq!(account["domain"], "us-east");
    let outside = timeout(
        Duration::from_millis(300),
        edge.request("$JS.us-east.API.INFO", "".into()),
    )
    .await;
    assert!(!matches!(outside, Ok(Ok(_))), "{outside:?}");
}

#[tokio::test]
async fn a_request_over_chatter_needs_an_inbox_of_its_own() {
    let servers = Servers::start().await;
    let inside = servers.inside().await;
    let mut asked = inside.subscribe("fd.ask").await.expect("subscribed");
    inside.flush().await.expect("flushed");
    let ask = async |prefix: &str| {
        let options =
            ConnectOptions::with_user_and_password("edge".into(), servers.password.clone());
        let edge = options
            .custom_inbox_prefix(prefix)
            .connect(&servers.hub)
            .await
            .expect("connected");
        timeout(
            Duration::from_millis(500),
            edge.request("fd.ask", "?".into()),
        )
        .await
        .is_ok_and(|a| a.is_ok())
    };
    let answer = async {
        while let Some(question) = asked.next().await {
            if let Some(inbox) = question.reply {
                inside.publish(inbox, "!".into()).await.expect("published");
            }
        }
    };
    let questions = async {
        // Interest needs a moment to cross; the good case is retried until it works, and then the bad one must fail.
        let limit = Instant::now() + Duration::from_secs(5);
        while !ask("fd.inbox.edge").await {
            assert!(Instant::now() < limit, "no answer over fd.");
        }
        assert!(!ask("_INBOX").await, "ordinary inboxes stay home");
    };
    tokio::select! {
        () = answer => {}
        () = questions => {}
    }
}
