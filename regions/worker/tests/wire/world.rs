//! A region in a test: real nats-server, real sample function, stand-in invocation service, and the worker.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use frontdoor_function::{Options, Server};
use frontdoor_worker::config::{self, Settings};
use frontdoor_worker::{RunError, Worker};
use http::{Request, Uri};
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::invocation::{Ask, Invocation, eventually};
use crate::nats::NatsServer;

pub(crate) struct World {
    pub(crate) nats: NatsServer,
    pub(crate) invocation: Invocation,
    pub(crate) shutdown: CancellationToken,
    pub(crate) worker: JoinHandle<Result<(), RunError>>,
    admin: String,
    journal: tempfile::NamedTempFile,
    function: JoinHandle<()>,
}

/// What differs between worlds.
pub(crate) struct Plan {
    pub(crate) slots: usize,
    pub(crate) protocol: &'static str,
    pub(crate) claims: bool,
    pub(crate) grace: &'static str,
    /// Another container than the sample function.
    pub(crate) container: Option<SocketAddr>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            slots: 8,
            protocol: "http1",
            claims: true,
            grace: "10s",
            container: None,
        }
    }
}

impl World {
    pub(crate) async fn start(plan: Plan) -> Self {
        let nats = NatsServer::start();
        let journal = tempfile::NamedTempFile::new().unwrap();
        let server = Server::bind(Options {
            listen: "127.0.0.1:0".parse().unwrap(),
            journal: Some(journal.path().to_owned()),
        })
        .await
        .unwrap();
        let function_addr = server.local_addr().unwrap();
        let container = plan.container.unwrap_or(function_addr);
        let function = tokio::spawn(server.serve(CancellationToken::new()));
        let settings = settings(&nats.url(), &container.to_string(), &plan);
        let region = settings.region.clone();
        let version = settings.version;
        let invocation = Invocation::start(plan.claims, &nats.url(), region, version).await;
        let worker = Worker::bind(settings).await.unwrap();
        let admin = format!("http://{}", worker.admin_addr().unwrap());
        let shutdown = CancellationToken::new();
        let world = Self {
            worker: tokio::spawn(worker.run(shutdown.clone())),
            nats,
            invocation,
            shutdown,
            admin,
            journal,
            function,
        };
        world.ready().await;
        world
    }

    pub(crate) async fn ready(&self) {
        eventually("ready", async || self.admin("/ready").await.0 == 200).await;
    }

    pub(crate) async fn admin(&self, path: &str) -> (u16, String) {
        let client = Client::builder(TokioExecutor::new()).build_http();
        let uri: Uri = format!("{}{path}", self.admin).parse().unwrap();
        let request = Request::get(uri).body(Empty::<Bytes>::new()).unwrap();
        let response = client.request(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    /// The value of a metric, labels included in the name.
    pub(crate) async fn metric(&self, name: &str) -> u64 {
        let text = self.admin("/metrics").await.1;
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.map_or(0, |value| value.trim().parse().unwrap())
    }

    pub(crate) async fn counted(&self, outcome: &str, times: u64) {
        let name = format!("frontdoor_worker_items_total{{outcome=\"{outcome}\"}}");
        eventually(outcome, async || self.metric(&name).await == times).await;
    }

    pub(crate) fn executed(&self) -> usize {
        std::fs::read_to_string(self.journal.path())
            .unwrap()
            .lines()
            .count()
    }

    pub(crate) async fn executing(&self, calls: usize) {
        eventually("calls reach the container", async || {
            self.executed() == calls
        })
        .await;
    }

    /// The container dies, its port with it.
    pub(crate) fn kill_function(&self) {
        self.function.abort();
    }

    pub(crate) async fn stopped(self) {
        let stopped = tokio::time::timeout(Duration::from_secs(20), self.worker).await;
        stopped.expect("stops in time").unwrap().unwrap();
        self.function.abort();
    }

    /// Stops the worker, which must succeed whatever the test did to it.
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.stopped().await;
    }
}

/// A worker's settings, by way of a file as an operator would write it.
pub(crate) fn settings(nats: &str, container: &str, plan: &Plan) -> Settings {
    let toml = format!(
        r#"
        region = "us-east"
        function = "{}"
        function_name = "echo"
        version = "{}"
        admin = "127.0.0.1:0"
        slots = {}
        nats = {{ url = "{nats}" }}
        container = {{ url = "http://{container}", protocol = "{}" }}
        stop = {{ grace = "{}" }}
        "#,
        uuid::Uuid::new_v4(),
        uuid::Uuid::new_v4(),
        plan.slots,
        plan.protocol,
        plan.grace,
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), toml).unwrap();
    config::load(file.path()).unwrap()
}

pub(crate) fn get(path: &str) -> Ask {
    Ask {
        method: "GET",
        path: path.into(),
        headers: vec![
            ("host", "f.invocation.localhost".into()),
            ("nvcf-feature-disable-worker-compatibility", "true".into()),
        ],
        body: Bytes::new(),
        chunked: false,
        refuse: false,
        deadline_ms: None,
        whole: false,
    }
}

pub(crate) fn post(path: &str, body: impl Into<Bytes>) -> Ask {
    Ask {
        method: "POST",
        body: body.into(),
        ..get(path)
    }
}

/// A call through the API of NVCF, whose caller waits in windows of so many seconds.
pub(crate) fn through_api(path: &str, window: u64) -> Ask {
    Ask {
        headers: vec![
            ("host", "api.invocation.localhost".into()),
            ("nvcf-poll-seconds", window.to_string()),
        ],
        ..get(path)
    }
}

pub(crate) fn json(bytes: &Bytes) -> Value {
    serde_json::from_slice(bytes).unwrap()
}
