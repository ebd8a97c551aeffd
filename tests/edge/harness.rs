//! An edge in this process, on free ports, and how to call it; in `process.rs`, one in a process of its own.

pub(crate) mod process;

use std::net::SocketAddr;
use std::time::Duration;

use frontdoor::edge::Start;
use http::Request;
use serde_json::Value;
use test_support::client::{Answer, Body, Client, Protocol, full};
use test_support::edge::{DOMAIN, FUNCTION, Ports, read_ports, write_config};
use test_support::eventually::eventually;
use test_support::tls::Authority;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Probes and verdicts fast enough for a test, no hold-down, and all regions peers, so that each gets some calls.
pub(crate) const QUICK: &str = "health = { hold_down = \"0s\", good_to_return = 3, ramp = \"0s\" }\nprobe = { interval = \"50ms\" }\n\
                     route = { peer_margin = \"1s\" }\nstop = { notice = \"0s\", grace = \"10s\" }";

pub(crate) struct Edge {
    pub(crate) ports: Ports,
    pub(crate) authority: Authority,
    stop: CancellationToken,
    task: Option<JoinHandle<Result<(), frontdoor::edge::EdgeError>>>,
    pub(crate) folder: tempfile::TempDir,
}

impl Edge {
    /// An edge in front of these regions, ready.
    pub(crate) async fn start(regions: &[(&str, SocketAddr)]) -> Self {
        let edge = Self::unready(regions).await;
        eventually("the edge is ready", Duration::from_secs(5), async || {
            edge.admin("/ready").await.status.is_success().then_some(())
        })
        .await;
        for (name, _) in regions {
            edge.health(name, "up").await;
        }
        edge
    }

    /// An edge that may have no region to talk to.
    pub(crate) async fn unready(regions: &[(&str, SocketAddr)]) -> Self {
        Self::configured(regions, "").await
    }

    /// An edge that speaks to one region over TLS, whose certificate has that name.
    pub(crate) async fn secured(region: SocketAddr, name: &str, more: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let authority = Authority::new().expect("an authority");
        let more = format!("{more}\n{QUICK}");
        let config = write_config(folder.path(), &authority, &[("us-east", region)], &more)
            .expect("a configuration");
        let text = std::fs::read_to_string(&config).expect("written");
        let https = format!("endpoint = \"https://{region}\"\nserver_name = \"{name}\"");
        let text = text.replace(&format!("endpoint = \"http://{region}\""), &https);
        std::fs::write(&config, text).expect("written");
        Self::run(folder, authority, &config).await
    }

    /// An edge with a second certificate, for another name.
    pub(crate) async fn also_named(region: (&str, SocketAddr), name: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let authority = Authority::new().expect("an authority");
        let config =
            write_config(folder.path(), &authority, &[region], QUICK).expect("a configuration");
        authority
            .issue(folder.path(), "other", &[name])
            .expect("issued");
        let text = std::fs::read_to_string(&config).expect("written");
        let both = text.replace(
            "key = \"edge.key\" }",
            "key = \"edge.key\" }, { cert = \"other.pem\", key = \"other.key\" }",
        );
        assert_ne!(text, both);
        std::fs::write(&config, both).expect("written");
        Self::run(folder, authority, &config).await
    }

    /// An edge with `more` in its configuration, before its first table.
    pub(crate) async fn configured(regions: &[(&str, SocketAddr)], more: &str) -> Self {
        Self::prepared(regions, more, |_| {}).await
    }

    /// The same, with further files in its folder.
    pub(crate) async fn prepared(
        regions: &[(&str, SocketAddr)],
        more: &str,
        prepare: impl FnOnce(&std::path::Path),
    ) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        prepare(folder.path());
        let authority = Authority::new().expect("an authority");
        let more = format!("{more}\n{QUICK}");
        let config =
            write_config(folder.path(), &authority, regions, &more).expect("a configuration");
        Self::run(folder, authority, &config).await
    }

    /// Its configuration.
    pub(crate) fn config(&self) -> std::path::PathBuf {
        self.folder.path().join("edge.toml")
    }

    /// Whether it has stopped by itself.
    pub(crate) fn is_over(&self) -> bool {
        self.task.as_ref().is_some_and(JoinHandle::is_finished)
    }

    async fn run(
        folder: tempfile::TempDir,
        authority: Authority,
        config: &std::path::Path,
    ) -> Self {
        let settings = frontdoor::config::load(config).expect("a right configuration");
        let (stop, ready) = (CancellationToken::new(), folder.path().join("ready.json"));
        let start = Start {
            ready_file: Some(ready.clone()),
            ..Start::default()
        };
        let task = tokio::spawn(frontdoor::edge::run(settings, start, stop.clone()));
        let ports = eventually("ports are open", Duration::from_secs(5), async || {
            read_ports(&ready)
        })
        .await;
        Self {
            ports,
            authority,
            stop,
            task: Some(task),
            folder,
        }
    }

    pub(crate) async fn client(&self, protocol: Protocol) -> Client {
        let alpn = if protocol == Protocol::H2 {
            "h2"
        } else {
            "http/1.1"
        };
        let config = self.authority.client(&[alpn]).expect("trust");
        Client::with(self.ports.https, &host(), config, protocol)
            .await
            .expect("a connection")
    }

    /// One POST on a connection of its own.
    pub(crate) async fn post(&self, path: &str, body: impl Into<bytes::Bytes>) -> Answer {
        self.client(Protocol::H2)
            .await
            .call(post(path, body))
            .await
            .expect("an answer")
    }

    pub(crate) async fn admin(&self, path: &str) -> Answer {
        let mut client = Client::plain(self.ports.admin, Protocol::H1)
            .await
            .expect("the admin port");
        let request = Request::get(path)
            .header("host", "admin")
            .body(full(""))
            .expect("valid");
        client.call(request).await.expect("an answer")
    }

    /// An order to the admin port.
    pub(crate) async fn order(&self, method: &str, path: &str, token: &str, body: &str) -> Answer {
        let mut client = Client::plain(self.ports.admin, Protocol::H1)
            .await
            .expect("the admin port");
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "admin")
            .header("authorization", format!("Bearer {token}"))
            .body(full(body.to_owned()))
            .expect("valid");
        client.call(request).await.expect("an answer")
    }

    /// One field of a region in `/regions`.
    pub(crate) async fn region(&self, name: &str, field: &str) -> Value {
        let world: Value = self.admin("/regions").await.json();
        let regions = world["regions"].as_array().expect("a list");
        let found = regions.iter().find(|r| r["name"] == name);
        found.expect("the region")[field].clone()
    }

    /// Waits until a region is as well as that.
    pub(crate) async fn health(&self, region: &str, health: &str) {
        eventually(
            &format!("{region} is {health}"),
            Duration::from_secs(10),
            async || {
                let world: Value = self.admin("/regions").await.json();
                let regions = world["regions"].as_array()?;
                regions
                    .iter()
                    .any(|r| r["name"] == region && r["health"] == health)
                    .then_some(())
            },
        )
        .await;
    }

    /// A counter's value, summed over its labels that contain `label`.
    pub(crate) async fn counter(&self, name: &str, label: &str) -> f64 {
        let text = self.admin("/metrics").await.text();
        text.lines()
            .filter(|l| l.starts_with(&format!("frontdoor_edge_{name}")) && l.contains(label))
            .filter_map(|l| l.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    pub(crate) fn begin_stop(&self) {
        self.stop.cancel();
    }

    pub(crate) async fn stopped(mut self) {
        self.stop.cancel();
        let task = self.task.take().expect("runs");
        tokio::time::timeout(Duration::from_secs(15), task)
            .await
            .expect("stops")
            .expect("no panic")
            .expect("no error");
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

pub(crate) fn host() -> String {
    format!("{FUNCTION}.{DOMAIN}")
}

/// A good call of the function.
pub(crate) fn post(path: &str, body: impl Into<bytes::Bytes>) -> Request<Body> {
    request("POST", path).body(full(body)).expect("valid")
}

pub(crate) fn request(method: &str, path: &str) -> http::request::Builder {
    Request::builder()
        .method(method)
        .uri(format!("https://{}{path}", host()))
        .header("host", host())
        .header("authorization", "Bearer key")
}
