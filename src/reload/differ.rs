//! What differs between two configurations that a running edge cannot change (pure).

use std::net::SocketAddr;

use crate::config::{Listen, RegionSettings, Settings};

/// The first key, in the order of the file, that differs and needs a start.
pub(super) fn fixed(old: &Settings, new: &Settings) -> Option<&'static str> {
    let places = |s: &Settings| -> Vec<RegionSettings> {
        let same = |r: &RegionSettings| RegionSettings {
            weight: 1.0,
            ..r.clone()
        };
        s.regions.iter().map(same).collect()
    };
    [
        ("domain", old.domain == new.domain),
        ("state_file", old.state_file == new.state_file),
        ("listen", same_ports(&old.listen, &new.listen)),
        ("admin", old.admin == new.admin),
        ("resolver", old.resolver == new.resolver),
        ("nats", old.nats == new.nats),
        ("probe", old.probe == new.probe),
        ("upstream", old.upstream == new.upstream),
        ("replay", old.replay == new.replay),
        ("limits", old.calls == new.calls),
        ("explain", old.explain == new.explain),
        ("telemetry", old.telemetry == new.telemetry),
        ("steering", old.steering == new.steering),
        ("stop", old.stop == new.stop),
        ("upgrade", old.upgrade == new.upgrade),
        ("regions", places(old) == places(new)),
    ]
    .into_iter()
    .find_map(|(key, same)| (!same).then_some(key))
}

/// Whether both name the same ports. What the old one left to the system (port 0), the new one may name: whoever learnt
/// the port writes it down, so that a restart keeps it.
fn same_ports(old: &Listen, new: &Listen) -> bool {
    let named = |old: SocketAddr, new: SocketAddr| match old.port() {
        0 => SocketAddr::new(old.ip(), new.port()),
        _ => old,
    };
    let http = old.http.zip(new.http).map(|(old, new)| named(old, new));
    let named = Listen {
        https: named(old.https, new.https),
        http: http.or(old.http),
        admin: named(old.admin, new.admin),
        ..old.clone()
    };
    named == *new
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    const TEXT: &str = r#"domain = "x.test"
[listen]
https = "127.0.0.1:1"
admin = "127.0.0.1:2"
[tls]
certificates = [{ cert = "a.pem", key = "a.key" }]
[[regions]]
name = "a"
endpoint = "http://a.test:80"
"#;

    fn settings(text: &str) -> Settings {
        let dir = tempfile::tempdir().expect("folder");
        let file = dir.path().join("edge.toml");
        std::fs::write(&file, text).expect("written");
        config::load(&file).map_or_else(
            |error| panic!("{error}"),
            |mut settings| {
                // Another folder each time is not what is asked about.
                settings.certificates.clear();
                settings
            },
        )
    }

    #[test]
    fn only_what_needs_a_start_is_fixed() {
        let old = settings(TEXT);
        let cases = [
            ("", "", None),
            (
                "[tls]",
                "[route]\nmoves = 1\n[health]\nramp = \"1s\"\n[tls]",
                None,
            ),
            ("a.pem", "b.pem", None),
            (":80\"", ":80\"\nweight = 2.0", None),
            ("x.test", "y.test", Some("domain")),
            (":1\"", ":3\"", Some("listen")),
            (":1\"", ":0\"", Some("listen")),
            ("a.test", "b.test", Some("regions")),
            ("name = \"a\"", "name = \"b\"", Some("regions")),
            ("[tls]", "[stop]\ngrace = \"1s\"\n[tls]", Some("stop")),
        ];
        for (from, to, key) in cases {
            let new = settings(&TEXT.replacen(from, to, 1));
            assert_eq!(fixed(&old, &new), key, "{from} -> {to}");
        }
    }

    #[test]
    fn a_port_that_was_left_to_the_system_may_be_named() {
        let old = settings(&TEXT.replace(":1\"", ":0\"").replace(":2\"", ":0\""));
        assert_eq!(fixed(&old, &settings(TEXT)), None);
        let other = settings(&TEXT.replace("127.0.0.1:1", "127.0.0.2:1"));
        assert_eq!(fixed(&old, &other), Some("listen"));
    }
}
