//! The shipped file, the defaults, and what each rule says of a wrong value.

use std::path::Path;
use std::time::Duration;

use frontdoor_bus::Login;
use frontdoor_protocol::config::parse;

use super::*;

const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/worker.toml");

fn check(change: &[(&str, &str)]) -> Result<Settings, String> {
    let mut text = std::fs::read_to_string(SHIPPED).expect("shipped");
    for (from, to) in change {
        assert!(text.contains(from), "the shipped file has no {from}");
        text = text.replacen(from, to, 1);
    }
    parse::<file::File, _>("worker.toml", &text).map_err(|error| error.to_string())
}

#[test]
fn the_shipped_file_is_valid() {
    let settings = load(Path::new(SHIPPED)).expect("valid");
    assert_eq!(settings.slots, 64);
    assert_eq!(settings.grace, Duration::from_secs(3600));
    assert_eq!(settings.container.protocol, Protocol::Http1);
    assert_eq!(settings.container.authority.as_str(), "127.0.0.1:8000");
    assert!(matches!(settings.nats.login, Login::None));
}

#[test]
fn the_commented_keys_are_real() {
    let with_file = check(&[("# credentials_file", "credentials_file")]).expect("valid");
    assert!(matches!(with_file.nats.login, Login::Credentials(_)));
    let with_user = check(&[("# user", "user"), ("# password", "password")]).expect("valid");
    let shown = format!("{with_user:?}");
    assert!(
        shown.contains("user worker") && !shown.contains('…'),
        "{shown}"
    );
}

#[test]
fn what_is_left_out_has_a_default() {
    let settings = check(&[
        ("health_path = \"/health\"", ""),
        ("protocol = \"http1\"", ""),
        ("[stop]", ""),
        ("grace = \"1h\"", ""),
    ])
    .expect("valid");
    assert_eq!(settings.container.health_path, "/health");
    assert_eq!(settings.grace, Duration::from_secs(3600));
}

#[test]
fn a_broken_rule_is_named() {
    for (from, to, key) in [
        ("slots = 64", "slots = 0", "slots"),
        ("# threads = 1", "threads = 0", "threads"),
        ("slots = 64", "slots = 10001", "slots"),
        ("slots = 64", "slots = 64\nslot = 1", "slot"),
        ("# user", "user", "nats"),
        ("nats://", "nats://user:secret@", "nats.url"),
        ("nats://127.0.0.1:4222", "ftp://a", "nats.url"),
        (
            "http://127.0.0.1:8000",
            "https://127.0.0.1:8000",
            "container.url",
        ),
        (
            "http://127.0.0.1:8000",
            "http://127.0.0.1:8000/v1",
            "container.url",
        ),
        ("http://127.0.0.1:8000", "127.0.0.1:8000", "container.url"),
        ("\"/health\"", "\"health\"", "container.health_path"),
        ("protocol = \"http1\"", "protocol = \"http3\"", "protocol"),
        ("\"us-east\"", "\"us.east\"", "region"),
        ("\"echo\"", "\"a\\nb\"", "function_name"),
        ("\"1h\"", "\"1\"", "grace"),
    ] {
        let error = check(&[(from, to)]).expect_err(to);
        assert!(error.contains(key), "{to}: {error}");
    }
}
