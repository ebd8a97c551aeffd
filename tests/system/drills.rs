//! Drills in their short form, run as an operator runs them: the program, a stack of its own, a verdict.

use std::process::Command;

use serde_json::Value;

/// Runs one drill on a stack of its own; returns its figures and how the program ended.
fn drill(name: &str, args: &[&str]) -> (Value, bool, String) {
    drill_at("100", name, args)
}

/// The same with so many calls a second.
fn drill_at(rate: &str, name: &str, args: &[&str]) -> (Value, bool, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("out.json");
    let out = Command::new(env!("CARGO_BIN_EXE_frontdoor"))
        .args([
            "drill",
            name,
            "--short",
            "--rate",
            rate,
            "--large-every",
            "0",
        ])
        .arg("--json")
        .arg(&file)
        .args(args)
        .output()
        .expect("runs");
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&out.stderr),
        String::from_utf8_lossy(&out.stdout)
    );
    let read = std::fs::read(&file).unwrap_or_default();
    let json = serde_json::from_slice(&read).unwrap_or_default();
    (json, out.status.success(), said)
}

const FRESH: [&str; 3] = ["--fresh", "--wan", "us-east=2ms,eu-west=40ms"];

#[test]
fn a_killed_region_passes_its_drill() {
    let (json, ok, said) = drill("region-kill", &FRESH);
    assert!(ok && json["ok"] == true, "{said}");
    let figures = &json["runs"][0]["figures"];
    println!("{figures}");
    assert_eq!(json["runs"][0]["region"], "us-east", "the nearest serves");
    assert!(
        figures["calls"].as_u64().expect("counted") > 500,
        "{figures}"
    );
    assert_eq!(figures["failed_not_started"], 0);
    assert_eq!(figures["twice"], 0);
    assert!(figures["detect_ms"].is_number() && figures["return_ms"].is_number());
}

#[test]
fn a_lost_hub_passes_its_drill() {
    let (json, ok, said) = drill("nats-hub-loss", &FRESH);
    assert!(ok && json["ok"] == true, "{said}");
    let figures = &json["runs"][0]["figures"];
    for name in [
        "failed_not_started",
        "failed_in_doubt",
        "failed_started",
        "twice",
    ] {
        assert_eq!(figures[name], 0, "{name}");
    }
}

/// 40 event streams and 100 calls a second, while the edge is replaced three times.
#[test]
fn an_upgraded_edge_passes_its_drill() {
    let (json, ok, said) = drill("edge-upgrade", &FRESH);
    println!("{said}");
    assert!(ok && json["ok"] == true, "{said}");
    assert!(said.contains("0 of 40 event streams were cut"), "{said}");
    let figures = &json["runs"][0]["figures"];
    for name in [
        "failed_not_started",
        "failed_in_doubt",
        "failed_started",
        "twice",
    ] {
        assert_eq!(figures[name], 0, "{name}");
    }
}

/// What operators do on purpose, under 300 calls a second: not one fails, and none runs twice.
fn costs_nothing(name: &str) {
    let (json, ok, said) = drill_at("300", name, &FRESH);
    println!("{said}");
    assert!(ok && json["ok"] == true, "{said}");
    let figures = &json["runs"][0]["figures"];
    assert!(
        figures["calls"].as_u64().expect("counted") > 2000,
        "{figures}"
    );
    for name in [
        "failed_not_started",
        "failed_in_doubt",
        "failed_started",
        "twice",
    ] {
        assert_eq!(figures[name], 0, "{name}");
    }
}

#[test]
fn a_reloaded_configuration_costs_no_call() {
    costs_nothing("config-reload");
}

#[test]
fn a_replaced_certificate_costs_no_call() {
    costs_nothing("cert-rotate");
}

#[test]
fn a_drained_region_costs_no_call() {
    costs_nothing("drain");
}

#[test]
fn what_cannot_be_drilled_says_why() {
    let (_, ok, said) = drill("region-kill", &["--endpoints", "no/such/endpoints.json"]);
    assert!(!ok && said.contains("frontdoor local up"), "{said}");
    let (_, ok, said) = drill("region-kil", &[]);
    assert!(!ok && said.contains("drill list"), "{said}");
}
