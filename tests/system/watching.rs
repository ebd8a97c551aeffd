//! What operators watch with, on a running stack: Prometheus scrapes it, every panel shows something, and drills fire the
//! alerts that they should. Needs Debian's package `prometheus`, which `ops/setup --tests` installs.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use test_support::client::{Client, Protocol, full};
use test_support::eventually::eventually;
use test_support::load::Load;
use test_support::world::World;

use crate::{NEAR_AND_FAR, world};

/// A Prometheus that watches a stack; killed when dropped.
struct Prometheus {
    server: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

const MISSING: &str =
    "prometheus and promtool are needed: run `ops/setup --tests`, or `apt-get install prometheus`";

fn ops() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("ops")
}

fn files(folder: &str, end: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(ops().join(folder)).expect("a folder");
    let mut files: Vec<PathBuf> = entries.map(|e| e.expect("readable").path()).collect();
    files.retain(|path| path.to_string_lossy().ends_with(end));
    files.sort();
    assert!(!files.is_empty(), "{folder}");
    files
}

fn promtool(args: &[&str], files: &[PathBuf]) {
    let out = Command::new("promtool")
        .args(args)
        .args(files)
        .output()
        .expect(MISSING);
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    );
    assert!(out.status.success(), "{said}");
}

// === impl Prometheus ===

impl Prometheus {
    /// Watches with the configuration that the stack itself wrote, only quicker, and with our alerts, which wait for one
    /// second at most.
    fn start(world: &World) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let written = std::fs::read_to_string(world.dir.join("prometheus.yml"))
            .expect("written by the stack");
        let mut rules = String::new();
        for file in files("alerts", ".yml") {
            let text = std::fs::read_to_string(&file).expect("readable");
            let quick = text
                .lines()
                .map(|line| match line.trim().strip_prefix("for: ") {
                    Some(_) => "        for: 1s\n".to_owned(),
                    None => format!("{line}\n"),
                });
            let name = file
                .file_name()
                .expect("a name")
                .to_string_lossy()
                .into_owned();
            std::fs::write(folder.path().join(&name), quick.collect::<String>()).expect("written");
            rules.push_str(&format!("  - {name}\n"));
        }
        let config = format!("{}rule_files:\n{rules}", written.replace(": 5s", ": 500ms"));
        std::fs::write(folder.path().join("prometheus.yml"), config).expect("written");
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|l| l.local_addr())
            .expect("a port")
            .port();
        let log = std::fs::File::create(folder.path().join("log")).expect("a file");
        let server = Command::new("prometheus")
            .current_dir(folder.path())
            .args([
                "--config.file=prometheus.yml",
                "--storage.tsdb.path=data",
                "--log.level=warn",
            ])
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log)
            .spawn()
            .expect(MISSING);
        Self {
            server,
            port,
            _folder: folder,
        }
    }

    async fn ask(&self, path: &str) -> anyhow::Result<Value> {
        let address = ([127, 0, 0, 1], self.port).into();
        let mut client = Client::plain(address, Protocol::H1).await?;
        let request = http::Request::get(path)
            .header("host", "prometheus")
            .body(full(""))?;
        Ok(client.call(request).await?.json())
    }

    /// How many series of an expression have a number now: a quantile of nothing is none, and shows nothing.
    async fn series(&self, expr: &str) -> anyhow::Result<usize> {
        let encoded: String = expr.bytes().map(|b| format!("%{b:02X}")).collect();
        let answer = self.ask(&format!("/api/v1/query?query={encoded}")).await?;
        anyhow::ensure!(answer["status"] == "success", "{expr}: {answer}");
        let number = |series: &&Value| {
            let value = series["value"][1].as_str().and_then(|v| v.parse().ok());
            value.is_some_and(f64::is_finite)
        };
        let result = answer["data"]["result"].as_array();
        Ok(result.map_or(0, |all| all.iter().filter(number).count()))
    }

    /// The alerts that fire.
    async fn firing(&self) -> anyhow::Result<Vec<Value>> {
        let answer = self.ask("/api/v1/alerts").await?;
        let all = answer["data"]["alerts"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        Ok(all.into_iter().filter(|a| a["state"] == "firing").collect())
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// Every expression of every panel, with the dashboard and the panel it is in.
fn expressions() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for file in files("dashboards", ".json") {
        let text = std::fs::read(&file).expect("readable");
        let dashboard: Value = serde_json::from_slice(&text).expect("JSON");
        // A row that is collapsed holds its panels.
        let panels = dashboard["panels"].as_array().expect("panels").iter();
        let panels = panels.flat_map(|panel| {
            let inner = panel["panels"].as_array().into_iter().flatten();
            std::iter::once(panel).chain(inner)
        });
        for panel in panels {
            for target in panel["targets"].as_array().into_iter().flatten() {
                let expr = target["expr"].as_str().expect("an expression");
                let expr = expr
                    .replace("$__rate_interval", "10s")
                    .replace("$region", "us-east");
                found.push((format!("{}: {}", dashboard["title"], panel["title"]), expr));
            }
        }
    }
    assert!(found.len() > 30, "{}", found.len());
    found
}

#[test]
fn the_alert_rules_are_right_and_do_what_they_say() {
    promtool(&["check", "rules"], &files("alerts", ".yml"));
    promtool(&["test", "rules"], &files("alerts/tests", ".yml"));
}

/// A drill, run as an operator runs it, on this stack.
fn drill(world: &World, name: &str) -> Child {
    Command::new(&world.binary)
        .args([
            "drill",
            name,
            "--short",
            "--rate",
            "50",
            "--large-every",
            "0",
            // Not whichever is busiest: one that is still returning from the drill before is not.
            "--region",
            "us-east",
        ])
        .arg("--dir")
        .arg(&world.dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("runs")
}

/// Runs a drill; its alert must fire while it lasts, not before, and not for long after it.
async fn fires(
    world: &World,
    prometheus: &Prometheus,
    name: &str,
    alert: &str,
    region: Option<&str>,
) {
    let is = |found: &Value| {
        found["labels"]["alertname"] == alert
            && region.is_none_or(|region| found["labels"]["region"] == region)
    };
    let calm = prometheus.firing().await.expect("an answer");
    assert!(!calm.iter().any(is), "{alert} before {name}: {calm:?}");
    let running = drill(world, name);
    eventually(
        &format!("{name}: {alert} fires"),
        Duration::from_secs(40),
        async || {
            let firing = prometheus.firing().await.ok()?;
            firing.iter().any(is).then_some(())
        },
    )
    .await;
    let firing = prometheus.firing().await.expect("an answer");
    let none_left = |a: &Value| a["labels"]["alertname"] == "NoRegionLeft";
    assert!(!firing.iter().any(none_left), "{firing:?}");
    let ended = tokio::task::spawn_blocking(|| running.wait_with_output());
    let ended = ended.await.expect("no panic").expect("ends");
    // What it found is for `drills.rs` to judge, which has the machine to itself.
    let said = String::from_utf8_lossy(&ended.stdout);
    assert!(
        said.contains(name),
        "{said}{}",
        String::from_utf8_lossy(&ended.stderr)
    );
    eventually(
        &format!("{name}: {alert} is over"),
        Duration::from_secs(40),
        async || {
            let firing = prometheus.firing().await.ok()?;
            (!firing.iter().any(is)).then_some(())
        },
    )
    .await;
}

#[tokio::test]
async fn every_panel_shows_something_and_drills_fire_their_alerts() {
    // Its calls go through the queue, so that there is something to see there.
    let queued = ["--set", "us-east/worker:standby=0"];
    let args: Vec<&str> = NEAR_AND_FAR.iter().chain(&queued).copied().collect();
    let world = world(&args);
    let prometheus = Prometheus::start(&world);
    let load = Load::start(&world, 50, &[]).await.expect("a load");
    for (panel, expr) in expressions() {
        eventually(
            &format!("{panel} shows data: {expr}"),
            Duration::from_secs(30),
            async || (prometheus.series(&expr).await.ok()? > 0).then_some(()),
        )
        .await;
    }
    load.end().await;
    for (name, alert, region) in [
        ("region-kill", "RegionDown", Some("us-east")),
        ("region-nats-loss", "RegionBusDown", Some("us-east")),
        ("nats-hub-loss", "BusDown", None),
    ] {
        fires(&world, &prometheus, name, alert, region).await;
    }
}
