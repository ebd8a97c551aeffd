//! The texts, parsed back: what is written must say what the contract between the parts says.

use std::path::PathBuf;

use super::*;
use crate::local::plan::Block;

fn regions() -> Vec<RegionName> {
    ["us-east", "eu-west"]
        .map(|n| n.parse().expect("valid"))
        .to_vec()
}

fn plan() -> Plan {
    Plan::new(Block::pick(0x0d01), regions()).expect("valid")
}

fn facts() -> Facts {
    Facts {
        function: "0196f0c2-7e1f-7a55-8a2e-3d1b5f0c9a11"
            .parse()
            .expect("valid"),
        version: "0196f0c2-7e1f-7a55-8a2e-3d1b5f0c9a12"
            .parse()
            .expect("valid"),
        api_key: "fd-all".into(),
        api_key_none: "fd-none".into(),
        admin_token: "admin".into(),
    }
}

fn passwords() -> HubPasswords {
    HubPasswords {
        edge: "ep".into(),
        leaf: "lp".into(),
    }
}

fn table(text: &str) -> toml::Table {
    toml::from_str(text).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

#[test]
fn invocation_and_worker_say_what_the_contract_says() {
    let (plan, facts) = (plan(), facts());
    let (region, at) = plan.each().next().expect("one");
    let invocation = table(&invocation(region, &at, &facts));
    assert_eq!(
        invocation["attach_url"].as_str(),
        Some("http://127.77.1.11:8080")
    );
    assert_eq!(invocation["admin"].as_str(), Some("127.77.1.11:9902"));
    let keys = invocation["keys"].as_array().expect("keys");
    assert_eq!(
        keys[0]["sha256"].as_str(),
        Some(hex::encode(Sha256::digest("fd-all")).as_str()),
        "the key itself is in no file but api_key"
    );
    assert_eq!(keys[1]["functions"].as_array().map(Vec::len), Some(0));
    let worker = table(&worker(region, &at, &facts));
    assert_eq!(worker["container"]["protocol"].as_str(), Some("h2c"));
    assert_eq!(worker["function"], invocation["functions"][0]["id"]);
    assert_eq!(worker["version"], invocation["functions"][0]["versions"][0]);
}

#[test]
fn the_edge_resolves_each_region_by_name() {
    let edge = table(&edge(
        &plan(),
        EdgePorts {
            https: 8443,
            http: 0,
            admin: 9901,
        },
        &passwords(),
    ));
    assert_eq!(edge["listen"]["https"].as_str(), Some("127.0.0.1:8443"));
    assert_eq!(edge["listen"]["http"].as_str(), Some("127.0.0.1:0"));
    assert_eq!(
        edge["resolver"]["servers"][0].as_str(),
        Some("127.77.1.2:5353")
    );
    let endpoints: Vec<_> = edge["regions"]
        .as_array()
        .expect("regions")
        .iter()
        .map(|r| r["endpoint"].as_str())
        .collect();
    assert_eq!(
        endpoints,
        [
            Some("http://us-east.regions.frontdoor.test:8080"),
            Some("http://eu-west.regions.frontdoor.test:8080")
        ]
    );
}

#[test]
fn dns_points_at_the_front_and_the_front_at_the_region() {
    let delays = BTreeMap::from([(regions()[1].clone(), Duration::from_millis(40))]);
    let dns: DnsFile = toml::from_str(&dns(&plan()).expect("text")).expect("read back");
    let wan: WanFile = toml::from_str(&wan(&plan(), &delays).expect("text")).expect("read back");
    assert_eq!(
        wan.regions
            .iter()
            .map(|r| r.delay.0.as_millis())
            .collect::<Vec<_>>(),
        [0, 40]
    );
    for line in wan.regions {
        let std::net::IpAddr::V4(front) = line.listen.ip() else {
            panic!("IPv4")
        };
        assert_eq!(dns.records[&line.name], Answer::Addresses(vec![front]));
        assert_eq!(
            line.target,
            plan()
                .region(&line.name)
                .expect("planned")
                .invocation
                .into()
        );
    }
}

#[test]
fn an_edge_may_say_what_the_shipped_hub_lets_it_say() {
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/nats/hub.conf");
    let shipped = std::fs::read_to_string(shipped).expect("shipped");
    let (_, edge) = shipped.split_once("$EDGE_NKEY").expect("an edge's user");
    let (_, list) = edge.split_once("allow: [").expect("a list");
    let (list, _) = list
        .split_once("\n                        ]")
        .expect("its end");
    let says: Vec<&str> = list
        .lines()
        .filter_map(|line| line.trim().strip_prefix('"')?.strip_suffix('"'))
        .collect();
    assert_eq!(says, EDGE_SAYS);
    let hub = hub(&plan(), &PathBuf::from("/tmp/a"), &passwords());
    assert!(says.iter().all(|may| hub.contains(&quoted(may))), "{hub}");
}

#[test]
fn nothing_in_a_path_can_leave_its_string() {
    let (plan, store) = (plan(), PathBuf::from("/tmp/a \"b\\c"));
    let (region, at) = plan.each().next().expect("one");
    let text = nats(region, &at, &store, &passwords());
    assert!(text.contains(r#"store_dir: "/tmp/a \"b\\c""#), "{text}");
}

#[test]
fn every_part_but_the_function_has_a_file_of_its_own() {
    let all = PartId::all(&regions());
    let names: std::collections::BTreeSet<_> = all.iter().filter_map(name).collect();
    assert_eq!(names.len(), all.len() - 2);
    assert!(
        names.contains("us-east-nats.conf") && names.contains("edge.toml"),
        "{names:?}"
    );
}
