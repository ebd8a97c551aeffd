//! Every rule, broken once.

use super::*;

const MINIMAL: &str = r#"
domain = "invocation.example.com"
listen = { https = "0.0.0.0:443", admin = "127.0.0.1:9901" }
tls = { certificates = [{ cert = "c.pem", key = "k.pem" }] }
"#;
const REGION: &str =
    "[[regions]]\nname = \"us-east\"\nendpoint = \"http://us-east.example.com:8080\"\n";

fn check(text: &str) -> Result<Settings, String> {
    frontdoor_protocol::config::parse::<File, Settings>("edge.toml", text)
        .map_err(|e| e.to_string())
}

fn refused(text: &str, key: &str) {
    let error = check(text).expect_err(text);
    assert!(
        error.starts_with("edge.toml: ") && error.contains(key),
        "{error}"
    );
}

#[test]
fn the_least_that_works_has_sane_defaults() {
    let settings = check(&format!("{MINIMAL}{REGION}")).expect("valid");
    assert_eq!(settings.probe.interval, PROBE_INTERVAL);
    assert_eq!(settings.limits, Limits::default());
    assert_eq!(settings.policy, Policy::default());
    assert_eq!(
        settings.regions[0].endpoint.to_string(),
        "us-east.example.com:8080"
    );
    assert_eq!(settings.regions[0].endpoint.literal(), None);
}

#[test]
fn addresses_need_no_dns() {
    for (text, literal) in [
        ("http://127.0.0.1:80", true),
        ("http://[::1]:80", true),
        ("http://x:80", false),
        ("http://_frontdoor._tcp.x", false),
    ] {
        assert_eq!(
            regions::endpoint(text).expect(text).0.literal().is_some(),
            literal,
            "{text}"
        );
    }
}

#[test]
fn broken_rules_are_named() {
    refused(MINIMAL, "regions");
    refused(&format!("{MINIMAL}{REGION}{REGION}"), "regions[1].name");
    refused(&format!("nonsense = 1\n{MINIMAL}{REGION}"), "nonsense");
    let shared = MINIMAL.replace("127.0.0.1:9901", "127.0.0.1:443");
    refused(&format!("{shared}{REGION}"), "listen.admin");
    for endpoint in [
        "us-east:80",
        "ftp://x:1",
        "http://x",
        "http://:1",
        "http://x:0",
        "http://x:99999",
        "http://_srv._tcp.x:80",
    ] {
        refused(
            &format!("{MINIMAL}[[regions]]\nname = \"a\"\nendpoint = \"{endpoint}\"\n"),
            "regions[0].endpoint",
        );
    }
    refused(
        &format!("{MINIMAL}[[regions]]\nname = \"US\"\nendpoint = \"http://x:1\"\n"),
        "region name",
    );
    refused(
        &format!("{MINIMAL}[[regions]]\nname = \"a\"\nendpoint = \"http://x:1\"\nweight = 0\n"),
        "regions[0].weight",
    );
    for (line, key) in [
        ("probe = { interval = \"0s\" }", "probe.interval"),
        ("probe = { path = \"health\" }", "probe.path"),
        ("probe = { interval = \"10\" }", "length of time"),
        (
            "probe = { timeout_min = \"2s\", timeout_max = \"1s\" }",
            "probe.timeout_max",
        ),
        (
            "health = { misses_to_suspect = 0 }",
            "health.misses_to_suspect",
        ),
        ("health = { misses_to_down = 1 }", "health.misses_to_down"),
        ("health = { bad_to_down = 1.5 }", "health.bad_to_down"),
        ("route = { moves = 9 }", "route.moves"),
        ("route = { service = \"0s\" }", "route.service"),
        ("route = { retry_after = \"200ms\" }", "route.retry_after"),
        (
            "steering = { affinity_header = \"a b\" }",
            "steering.affinity_header",
        ),
        (
            "steering = { affinity_cookie = \"a=b\" }",
            "steering.affinity_cookie",
        ),
        (
            "steering = { override_keys = [\"secret\"] }",
            "steering.override_keys",
        ),
        ("route = { peer_ratio = -1.0 }", "route.peer_ratio"),
        ("upstream = { grace = \"99999999999years\" }", "ten years"),
        (
            "resolver = { min_ttl = \"9s\", max_ttl = \"1s\" }",
            "resolver.max_ttl",
        ),
        ("nats = { url = \"http://x\" }", "nats.url"),
        ("nats = { url = \"nats://x\", user = \"a\" }", "nats.user"),
    ] {
        refused(&format!("{line}\n{MINIMAL}{REGION}"), key);
    }
    // A semaphore of so many permits would be a panic.
    let most = "connections = 9223372036854775807, https";
    refused(
        &format!("{}{REGION}", MINIMAL.replace("https", most)),
        "listen.connections",
    );
    refused(
        &format!("{}{REGION}", MINIMAL.replace("invocation.example.com", "")),
        "domain",
    );
}

#[test]
fn passwords_are_not_printed() {
    let text = format!(
        "nats = {{ url = \"nats://x\", user = \"a\", password = \"s3cret\" }}\n{MINIMAL}{REGION}"
    );
    let printed = format!("{:?}", check(&text).expect("valid"));
    assert!(!printed.contains("s3cret"), "{printed}");
}
