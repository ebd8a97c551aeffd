//! The shipped file, the defaults, and what each rule says of a wrong value.

use std::path::Path;
use std::time::Duration;

use super::*;

const SHIPPED: &str = include_str!("../../../../config/invocation.toml");

fn check(text: &str) -> Result<Settings, String> {
    config::parse::<file::File, Settings>("invocation.toml", text).map_err(|e| e.to_string())
}

#[test]
fn the_shipped_file_is_valid_and_shows_every_default() {
    let shipped = check(SHIPPED).expect("valid");
    assert_eq!(shipped.limits.waiting, 10_000);
    assert_eq!(shipped.polling.keep, Duration::from_secs(3600));
    assert_eq!(shipped.functions[0].invocation_path, "/");
    assert_eq!(shipped.stop.notice, Duration::from_secs(1));
    assert_eq!(shipped.stop.grace, Duration::from_secs(3600));
    assert_eq!(shipped.attach_url, "http://127.0.0.1:8080");
    assert_eq!(shipped.auth.keys[0].scope, Scope::All);
    let without = check(
        &SHIPPED
            .replace("waiting = 10000", "")
            .replace("keep = \"1h\"", "")
            .replace("notice = \"1s\"", "")
            .replace("grace = \"1h\"", ""),
    )
    .expect("valid");
    assert_eq!(without.limits.waiting, shipped.limits.waiting);
    assert_eq!(without.polling.keep, shipped.polling.keep);
    assert_eq!(without.stop.notice, shipped.stop.notice);
    assert_eq!(without.stop.grace, shipped.stop.grace);
}

#[test]
fn a_broken_rule_names_its_key() {
    for (from, to, key) in [
        ("waiting = 10000", "waiting = 0", "limits.waiting"),
        ("# threads = 1", "threads = 0", "threads"),
        (
            "domain = \"invocation.localhost\"",
            "domain = \".x\"",
            "domain",
        ),
        (
            "attach_url = \"http://127.0.0.1:8080\"",
            "attach_url = \"https://127.0.0.1:8080\"",
            "attach_url",
        ),
        (
            "attach_url = \"http://127.0.0.1:8080\"",
            "attach_url = \"http://127.0.0.1:8080/x\"",
            "attach_url",
        ),
        (
            "url = \"nats://127.0.0.1:4222\"",
            "url = \"127.0.0.1:4222\"",
            "nats.url",
        ),
        (
            "url = \"nats://127.0.0.1:4222\"",
            "url = \"nats://127.0.0.1:4222\"\nuser = \"x\"",
            "nats.user",
        ),
        (
            "functions = [\"*\"]",
            "functions = [\"echo\"]",
            "keys[0].functions",
        ),
        ("sha256 = \"", "sha256 = \"0", "keys[0].sha256"),
        ("# account = 1000", "account = 0", "limits.account"),
        ("# account = 1000", "account = 10001", "limits.account"),
        ("keep = \"1h\"", "keep = \"25h\"", "polling.keep"),
        (
            "# invocation_path = \"/\"",
            "invocation_path = \"echo\"",
            "functions[0].invocation_path",
        ),
        (
            "listen = \"127.0.0.1:8080\"",
            "listen = \"127.0.0.1:9902\"",
            "admin",
        ),
    ] {
        assert!(SHIPPED.contains(from), "{from}");
        let error = check(&SHIPPED.replace(from, to)).expect_err(to);
        assert!(error.contains(&format!("key `{key}`")), "{to}: {error}");
    }
}

#[test]
fn late_workers_are_declared_per_function() {
    assert_eq!(
        check(SHIPPED).expect("valid").functions[0].workers,
        Workers::Claiming
    );
    let key = "# workers = \"claiming\"";
    assert!(SHIPPED.contains(key));
    let late = check(&SHIPPED.replace(key, "workers = \"late\"")).expect("valid");
    assert_eq!(late.functions[0].workers, Workers::Late);
    let error = check(&SHIPPED.replace(key, "workers = \"lazy\"")).expect_err("unknown");
    assert!(error.contains("lazy"), "{error}");
}

#[test]
fn unknown_keys_are_refused() {
    let error = check(&format!("made_up = 1\n{SHIPPED}")).expect_err("unknown");
    assert!(error.contains("made_up"), "{error}");
}

#[test]
fn who_decides_is_checked() {
    let check_auth = |text: &str| {
        let (from, to) = ("[auth]\n", format!("[auth]\n{text}\n"));
        assert!(SHIPPED.contains(from));
        check(&SHIPPED.replace(from, &to)).map(|settings| settings.auth)
    };
    let auth = check_auth("").expect("valid");
    assert!(auth.authority.is_none() && auth.keys_file.is_none());
    assert_eq!(auth.cache, 100_000);
    assert_eq!(auth.ttl, Duration::from_secs(60));
    let auth = check_auth("http = { url = \"http://h:1/a\" }").expect("valid");
    let Some(Authority::Http { uri, timeout, .. }) = auth.authority else {
        panic!("{auth:?}")
    };
    assert_eq!(uri.path(), "/a");
    assert_eq!(timeout, Duration::from_secs(2));
    let auth = check_auth("grpc = { url = \"https://h:1\", ca = \"ca.pem\" }").expect("valid");
    let Some(Authority::Grpc { ca, .. }) = auth.authority else {
        panic!("{auth:?}")
    };
    assert_eq!(ca.as_deref(), Some(Path::new("ca.pem")));
    for (text, key) in [
        ("http = { url = \"ftp://h/a\" }", "auth.http.url"),
        (
            "http = { url = \"http://h/a\", ca = \"ca.pem\" }",
            "auth.http.ca",
        ),
        ("http = { url = \"h:1\" }", "auth.http.url"),
        ("grpc = { url = \"http://h:1/path\" }", "auth.grpc.url"),
        (
            "http = { url = \"http://h\" }\ngrpc = { url = \"http://h\" }",
            "auth",
        ),
        (
            "http = { url = \"http://h\", timeout = \"0s\" }",
            "auth.http.timeout",
        ),
    ] {
        let error = check_auth(text).expect_err(text);
        assert!(error.contains(&format!("key `{key}`")), "{text}: {error}");
    }
}

#[test]
fn a_keys_file_is_checked_at_start_and_never_quoted() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("invocation.toml");
    let text = SHIPPED.replace("[auth]\n", "[auth]\nkeys_file = \"keys.toml\"\n");
    std::fs::write(&path, text).expect("written");
    let hash = "ab".repeat(32);
    let good = format!("[[keys]]\nname = \"a\"\nsha256 = \"{hash}\"\nfunctions = [\"*\"]\n");
    let twice = format!("{good}{good}");
    let known = good.replace(&hash, &shipped_hash());
    for (keys, part) in [
        (None, "keys.toml: cannot be read"),
        (Some(""), ""),
        (Some(&*good), ""),
        (Some(&*twice), "key `keys[1].sha256`: is given twice"),
        (
            Some(&*known),
            "key `keys[0].sha256`: is given in invocation",
        ),
        (
            Some("[[keys]]\nname = \"a\"\nkey = \"fdk_secret\"\n"),
            "line 3",
        ),
        (Some("keys = fdk_secret"), "line 1"),
    ] {
        if let Some(keys) = keys {
            std::fs::write(folder.path().join("keys.toml"), keys).expect("written");
        }
        match load(&path) {
            Ok(_) => assert_eq!(part, "", "{keys:?}"),
            Err(error) => {
                let error = error.to_string();
                assert!(
                    !part.is_empty() && error.contains(part),
                    "{keys:?}: {error}"
                );
                assert!(!error.contains("secret"), "{error}");
            }
        }
    }
}

fn shipped_hash() -> String {
    check(SHIPPED).expect("valid").auth.keys[0].hash.to_string()
}

#[test]
fn keys_expire_when_the_file_says_so() {
    let with = |text: &str| {
        let from = "functions = [\"*\"]";
        check(&SHIPPED.replace(from, &format!("{from}\nexpires = {text}")))
    };
    let settings = with("\"2027-01-31T12:00:00Z\"").expect("valid");
    assert!(settings.auth.keys[0].expires.is_some());
    let error = with("\"soon\"").expect_err("no time");
    assert!(error.contains("RFC 3339"), "{error}");
}

#[test]
fn passwords_are_not_printed() {
    let text = SHIPPED.replace(
        "url = \"nats://127.0.0.1:4222\"",
        "url = \"nats://127.0.0.1:4222\"\nuser = \"x\"\npassword = \"hunter2\"",
    );
    let settings = check(&text).expect("valid");
    assert!(!format!("{settings:?}").contains("hunter2"));
}
