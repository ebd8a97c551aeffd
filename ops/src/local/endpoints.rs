//! `endpoints.json`: all that a caller, a test or a drill needs to know of a running stack. (pure)
//!
//! Its shape is a promise to those readers: fields are only ever added.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use frontdoor_protocol::names::RegionName;
use frontdoor_protocol::span::Span;
use serde_json::{Map, Value, json};

use super::files::{DOMAIN, Facts};
use super::folder::CA;
use super::parts::{PartId, RegionPart};
use super::plan::Plan;
use super::process::Identity;
use super::specs::EdgeAddresses;

/// The file's content. A part that is not running has no `pid`.
pub(super) fn endpoints(
    plan: &Plan,
    facts: &Facts,
    edge: &EdgeAddresses,
    processes: &BTreeMap<PartId, Identity>,
    delays: &BTreeMap<RegionName, Duration>,
) -> Value {
    let pid = |id: &PartId| processes.get(id).map(|process| process.pid);
    let mut regions = Map::new();
    for (name, at) in plan.each() {
        let pid = |part| pid(&PartId::In(name.clone(), part));
        let region = json!({
            "wan": Span(delays.get(name).copied().unwrap_or_default()),
            "front": at.front.to_string(),
            "invocation": {
                "url": format!("http://{}", at.invocation),
                "admin": format!("http://{}", at.invocation_admin),
                "pid": pid(RegionPart::Invocation),
            },
            "nats": {"url": format!("nats://{}", at.nats), "monitor": format!("http://{}", at.monitor), "pid": pid(RegionPart::Nats)},
            "worker": {"admin": format!("http://{}", at.worker_admin), "pid": pid(RegionPart::Worker)},
            "function": {"url": format!("http://{}", at.function), "pid": pid(RegionPart::Function)},
        });
        regions.insert(name.to_string(), region);
    }
    json!({
        "edge": {
            "https": format!("https://localhost:{}", edge.https.port()),
            "http": format!("http://localhost:{}", edge.http.port()),
            "admin": format!("http://localhost:{}", edge.admin.port()),
            "admin_token": facts.admin_token,
            "pid": pid(&PartId::Edge),
        },
        "domain": DOMAIN,
        "ca": CA,
        "api_key": facts.api_key,
        "api_keys": {"none": facts.api_key_none},
        "functions": [{"name": "echo", "id": facts.function, "versions": [facts.version]}],
        "hub": {"url": format!("nats://{}", plan.hub()), "pid": pid(&PartId::Hub)},
        "dns": {"addr": plan.dns().to_string(), "admin": format!("http://{}", plan.dns_admin()), "pid": pid(&PartId::Dns)},
        "wan": {"admin": format!("http://{}", plan.wan_admin()), "pid": pid(&PartId::Wan)},
        "regions": regions,
    })
}

/// `prometheus.yml`: where Prometheus finds every part of this stack.
pub(super) fn prometheus(plan: &Plan, edge: &EdgeAddresses) -> String {
    let mut text = format!(
        "# prometheus --config.file=prometheus.yml watches this stack. The alerts are ops/alerts/*.yml of the repository:\n\
         # name them as rule_files.\n\
         global:\n  scrape_interval: 5s\n  evaluation_interval: 5s\n\
         scrape_configs:\n  - job_name: frontdoor-edge\n    static_configs:\n      - targets: [\"{}\"]\n",
        edge.admin
    );
    for job in ["invocation", "worker"] {
        // Writing to a String cannot fail.
        let _ = write!(text, "  - job_name: frontdoor-{job}\n    static_configs:\n");
        for (name, at) in plan.each() {
            let admin = match job {
                "worker" => at.worker_admin,
                _ => at.invocation_admin,
            };
            let _ = write!(
                text,
                "      - targets: [\"{admin}\"]\n        labels: {{ region: \"{name}\" }}\n"
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::plan::Block;

    #[test]
    fn says_what_readers_were_promised() {
        let region: RegionName = "us-east".parse().expect("valid");
        let plan = Plan::new(Block::pick(0x0d01), vec![region.clone()]).expect("valid");
        let facts = Facts {
            function: "0196f0c2-7e1f-7a55-8a2e-3d1b5f0c9a11"
                .parse()
                .expect("valid"),
            version: "0196f0c2-7e1f-7a55-8a2e-3d1b5f0c9a12"
                .parse()
                .expect("valid"),
            api_key: "fd-all".into(),
            api_key_none: "fd-none".into(),
            admin_token: "admin".into(),
        };
        let at = |port| std::net::SocketAddr::from(([127, 0, 0, 1], port));
        let edge = EdgeAddresses {
            https: at(8443),
            http: at(8080),
            admin: at(9901),
        };
        let me = Identity::of(std::process::id()).expect("alive");
        let processes =
            BTreeMap::from([(PartId::In(region.clone(), RegionPart::Worker), me.clone())]);
        let delays = BTreeMap::from([(region, Duration::from_millis(2))]);
        let found = endpoints(&plan, &facts, &edge, &processes, &delays);
        for (path, wanted) in [
            ("/edge/https", json!("https://localhost:8443")),
            ("/edge/http", json!("http://localhost:8080")),
            ("/edge/admin", json!("http://localhost:9901")),
            ("/domain", json!("invocation.localhost")),
            ("/ca", json!("ca.pem")),
            ("/api_key", json!("fd-all")),
            ("/api_keys/none", json!("fd-none")),
            (
                "/functions/0/id",
                json!("0196f0c2-7e1f-7a55-8a2e-3d1b5f0c9a11"),
            ),
            (
                "/functions/0/versions/0",
                json!("0196f0c2-7e1f-7a55-8a2e-3d1b5f0c9a12"),
            ),
            ("/hub/url", json!("nats://127.77.1.1:4222")),
            ("/dns/addr", json!("127.77.1.2:5353")),
            ("/regions/us-east/wan", json!("2ms")),
            (
                "/regions/us-east/invocation/url",
                json!("http://127.77.1.11:8080"),
            ),
            (
                "/regions/us-east/nats/url",
                json!("nats://127.77.1.11:4222"),
            ),
            ("/regions/us-east/worker/pid", json!(me.pid)),
            (
                "/regions/us-east/function/url",
                json!("http://127.77.1.11:8000"),
            ),
            ("/regions/us-east/function/pid", Value::Null),
        ] {
            assert_eq!(found.pointer(path), Some(&wanted), "{path}");
        }
    }
}
