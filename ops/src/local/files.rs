//! Every configuration file of the stack, as text. What a part reads is decided by that part; this is where the stack
//! writes it, from the plan and the facts of one state folder. (pure)

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use frontdoor_protocol::names::{FunctionId, RegionName, VersionId};
use frontdoor_protocol::span::Span;
use sha2::{Digest as _, Sha256};

use super::dns::{File as DnsFile, zone::Answer};
use super::parts::{PartId, RegionPart};
use super::plan::{FRONT_PORT, Plan, RegionPlan, ZONE, endpoint_name};
use super::wan::{File as WanFile, Region as WanRegion};

/// The domain under which functions are called.
pub(super) const DOMAIN: &str = "invocation.localhost";
/// How long DNS answers live: short, so that drills with moving addresses need not wait.
const DNS_TTL: Duration = Duration::from_secs(5);
/// Calls one worker runs at once.
const SLOTS: u16 = 64;

/// What an edge may say on the hub: news, and what the bucket of operators' orders takes of JetStream. The same as in
/// `deploy/nats/hub.conf`, which says more.
const EDGE_SAYS: [&str; 10] = [
    "fd.>",
    "$JS.API.INFO",
    "$JS.API.STREAM.INFO.KV_frontdoor-orders",
    "$JS.API.STREAM.CREATE.KV_frontdoor-orders",
    "$JS.API.DIRECT.GET.KV_frontdoor-orders.>",
    "$JS.API.CONSUMER.CREATE.KV_frontdoor-orders",
    "$JS.API.CONSUMER.CREATE.KV_frontdoor-orders.>",
    "$JS.API.CONSUMER.DELETE.KV_frontdoor-orders.*",
    "$JS.FC.KV_frontdoor-orders.>",
    "$KV.frontdoor-orders.*",
];

/// What a state folder keeps from one start to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Facts {
    /// The sample function.
    pub(super) function: FunctionId,
    /// Its one version.
    pub(super) version: VersionId,
    /// The key that may call everything.
    pub(super) api_key: String,
    /// A valid key that may call nothing.
    pub(super) api_key_none: String,
    /// What orders to the edge need.
    pub(super) admin_token: String,
}

/// Passwords of the hub's users, new at each start.
#[derive(Debug, Clone)]
pub(super) struct HubPasswords {
    /// For the edge.
    pub(super) edge: String,
    /// For the regions' leaf nodes.
    pub(super) leaf: String,
}

/// Where the edge listens; port 0 lets the system choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct EdgePorts {
    /// HTTPS.
    pub(super) https: u16,
    /// Plain HTTP.
    pub(super) http: u16,
    /// Admin.
    pub(super) admin: u16,
}

/// The name of a part's configuration file inside of the state folder; the sample function has none.
pub(super) fn name(part: &PartId) -> Option<String> {
    let extension = match part {
        PartId::Hub | PartId::In(_, RegionPart::Nats) => "conf",
        PartId::In(_, RegionPart::Function) => return None,
        PartId::Dns | PartId::Wan | PartId::Edge | PartId::In(_, _) => "toml",
    };
    Some(format!("{}.{extension}", part.file_stem()))
}

/// The hub. Its users hear nothing but `fd.>`, and the leaf's user says nothing else: that is what keeps each region's
/// work, its JetStream API and its inboxes at home.
/// Its JetStream holds one thing: the bucket of operators' orders, which only edges may touch.
pub(super) fn hub(plan: &Plan, store: &Path, passwords: &HubPasswords) -> String {
    let HubPasswords { edge, leaf } = passwords;
    format!(
        r#"server_name: "hub"
listen: "{client}"
http: "{monitor}"
max_payload: 8MB
jetstream {{ domain: "hub", store_dir: {store} }}
leafnodes {{ listen: "{leaf_listen}" }}
edge = {{ publish: [{says}], subscribe: ["fd.>"] }}
chatter = {{ publish: ["fd.>"], subscribe: ["fd.>"] }}
authorization {{
  users = [
    {{ user: "edge", password: "{edge}", permissions: $edge }}
    {{ user: "leaf", password: "{leaf}", permissions: $chatter }}
  ]
}}
"#,
        client = plan.hub(),
        monitor = plan.hub_monitor(),
        leaf_listen = plan.hub_leaf(),
        store = quoted(&store.to_string_lossy()),
        says = EDGE_SAYS.map(quoted).join(", "),
    )
}

/// A region's NATS: a leaf of the hub with a JetStream domain of its own.
pub(super) fn nats(
    region: &RegionName,
    at: &RegionPlan,
    store: &Path,
    passwords: &HubPasswords,
) -> String {
    format!(
        r#"server_name: "{region}"
listen: "{client}"
http: "{monitor}"
max_payload: 8MB
jetstream {{ domain: "{region}", store_dir: {store} }}
leafnodes {{
  reconnect: 1s
  remotes = [ {{ url: "nats-leaf://leaf:{password}@{hub}" }} ]
}}
"#,
        client = at.nats,
        monitor = at.monitor,
        store = quoted(&store.to_string_lossy()),
        password = passwords.leaf,
        hub = at.leaf,
    )
}

/// A region's invocation service.
pub(super) fn invocation(region: &RegionName, at: &RegionPlan, facts: &Facts) -> String {
    let Facts {
        function, version, ..
    } = facts;
    // At `down` nobody calls any more, and a person waits: a short notice, and a grace that ends before the
    // supervisor's own patience does.
    format!(
        r#"region = "{region}"
domain = "{DOMAIN}"
listen = "{listen}"
admin = "{admin}"
attach_url = "http://{listen}"
trusted_edges = ["127.0.0.0/8"]

[nats]
url = "nats://{nats}"

[stop]
notice = "500ms"
grace = "4s"

[[functions]]
id = "{function}"
name = "echo"
versions = ["{version}"]

[[keys]]
name = "local"
sha256 = "{all}"
functions = ["*"]

[[keys]]
name = "none"
sha256 = "{none}"
functions = []
"#,
        listen = at.invocation,
        admin = at.invocation_admin,
        nats = at.nats,
        all = hex::encode(Sha256::digest(&facts.api_key)),
        none = hex::encode(Sha256::digest(&facts.api_key_none)),
    )
}

/// A region's worker.
pub(super) fn worker(region: &RegionName, at: &RegionPlan, facts: &Facts) -> String {
    let Facts {
        function, version, ..
    } = facts;
    format!(
        r#"region = "{region}"
function = "{function}"
function_name = "echo"
version = "{version}"
admin = "{admin}"
slots = {SLOTS}

[nats]
url = "nats://{nats}"

[container]
url = "http://{container}"
health_path = "/health"
protocol = "h2c"

[stop]
grace = "4s"
"#,
        admin = at.worker_admin,
        nats = at.nats,
        container = at.function,
    )
}

/// The edge. A region comes back soon after it is started again, and Ctrl-C is not kept waiting for open streams.
pub(super) fn edge(plan: &Plan, ports: EdgePorts, passwords: &HubPasswords) -> String {
    let mut text = format!(
        r#"domain = "{DOMAIN}"
state_file = "edge.state.json"

[listen]
https = "127.0.0.1:{https}"
http = "127.0.0.1:{http}"
admin = "127.0.0.1:{admin}"

[admin]
token_file = "admin_token"
orders_file = "edge.orders.json"

[tls]
certificates = [{{ cert = "edge.pem", key = "edge.key" }}]

[resolver]
servers = ["{dns}"]

[nats]
url = "nats://{hub}"
user = "edge"
password = "{password}"

[health]
hold_down = "1s"

[explain]
share = 1.0

[stop]
notice = "100ms"
grace = "4s"

[upgrade]
socket = "edge.upgrade.sock"
"#,
        https = ports.https,
        http = ports.http,
        admin = ports.admin,
        dns = plan.dns(),
        hub = plan.hub(),
        password = passwords.edge,
    );
    for region in plan.regions() {
        let endpoint = endpoint_name(region);
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "\n[[regions]]\nname = \"{region}\"\nendpoint = \"http://{endpoint}:{FRONT_PORT}\"\n"
        );
    }
    text
}

/// DNS: each region's endpoint name is its WAN front.
pub(super) fn dns(plan: &Plan) -> Result<String, toml::ser::Error> {
    toml::to_string(&DnsFile {
        listen: plan.dns().into(),
        admin: plan.dns_admin().into(),
        zone: ZONE.to_owned(),
        ttl: Span(DNS_TTL),
        records: plan
            .each()
            .map(|(name, at)| (name.clone(), Answer::Addresses(vec![*at.front.ip()])))
            .collect(),
    })
}

/// The delay lines; a region without a delay has none to speak of.
pub(super) fn wan(
    plan: &Plan,
    delays: &BTreeMap<RegionName, Duration>,
) -> Result<String, toml::ser::Error> {
    toml::to_string(&WanFile {
        admin: plan.wan_admin().into(),
        regions: plan
            .each()
            .map(|(name, at)| WanRegion {
                name: name.clone(),
                listen: at.front.into(),
                target: at.invocation.into(),
                leaf: at.leaf.into(),
                hub: plan.hub_leaf().into(),
                delay: Span(delays.get(name).copied().unwrap_or_default()),
            })
            .collect(),
    })
}

/// Host names and addresses the edge's certificate must be good for. A wildcard covers one label only (RFC 9525 §6.3),
/// so hosts that name a version before the function need one of their own.
pub(super) fn certificate_names(function: FunctionId) -> Vec<String> {
    vec![
        format!("*.{DOMAIN}"),
        DOMAIN.to_owned(),
        "localhost".to_owned(),
        "127.0.0.1".to_owned(),
        format!("*.{function}.{DOMAIN}"),
    ]
}

/// Text as a quoted string of nats-server's configuration.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests;
