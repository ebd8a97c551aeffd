//! One direction between crates: `protocol` knows nobody, the parts know only `protocol`, `bus` (how to get into NATS),
//! `telemetry` (what a program shows of itself) and `socket` (how many streams share one), the command line knows all.

use crate::code;
use crate::tree::{self, File, Finding};

/// Each crate's manifest and those of ours that it may depend on. Tests may have the sample function to call, and
/// `test-support` and the root's tests may have everything.
const ALLOWED: [(&str, &[&str]); 11] = [
    (
        "Cargo.toml",
        &[
            "protocol",
            "bus",
            "telemetry",
            "invocation",
            "worker",
            "function",
            "ops",
        ],
    ),
    ("regions/protocol/Cargo.toml", &[]),
    ("regions/bus/Cargo.toml", &["protocol"]),
    ("regions/telemetry/Cargo.toml", &["protocol"]),
    ("regions/socket/Cargo.toml", &[]),
    (
        "regions/invocation/Cargo.toml",
        &["protocol", "bus", "telemetry", "socket"],
    ),
    (
        "regions/worker/Cargo.toml",
        &["protocol", "bus", "telemetry", "socket"],
    ),
    ("regions/function/Cargo.toml", &[]),
    ("ops/Cargo.toml", &["protocol"]),
    ("fuzz/Cargo.toml", &["protocol", "invocation", "worker"]),
    (
        "tests/support/Cargo.toml",
        &["protocol", "invocation", "worker", "function", "ops"],
    ),
];

/// What `protocol` must not even be able to name.
const NO_IO: [&str; 9] = [
    "tokio",
    "hyper",
    "axum",
    "async-nats",
    "pingora",
    "hickory",
    "h2",
    "futures",
    "prometheus",
];

fn manifest_findings(file: &File) -> Vec<Finding> {
    let table: toml::Table = match file.text.parse() {
        Ok(table) => table,
        Err(error) => return vec![file.finding(1, format!("not TOML: {error}"))],
    };
    let Some((_, allowed)) = ALLOWED.iter().find(|(path, _)| *path == file.path) else {
        let what = "an unknown crate: say in tests/tidy/crates.rs what it may depend on";
        return vec![file.finding(1, what)];
    };
    let mut findings = Vec::new();
    for section in ["dependencies", "build-dependencies", "dev-dependencies"] {
        let names = table.get(section).and_then(toml::Value::as_table);
        for name in names.into_iter().flat_map(toml::Table::keys) {
            let line = 1 + file
                .text
                .lines()
                .take_while(|l| !l.starts_with(name.as_str()))
                .count();
            if let Some(ours) = name.strip_prefix("frontdoor-") {
                let in_tests = section == "dev-dependencies" && ours == "function";
                if !allowed.contains(&ours) && !in_tests {
                    let what = format!(
                        "must not depend on {name}: move what both need to frontdoor-protocol"
                    );
                    findings.push(file.finding(line, what));
                }
            }
            let in_protocol =
                file.path == "regions/protocol/Cargo.toml" && section != "dev-dependencies";
            if in_protocol && NO_IO.iter().any(|crate_name| name.starts_with(crate_name)) {
                let what = format!(
                    "protocol has no I/O and must not depend on {name}: pass values instead"
                );
                findings.push(file.finding(line, what));
            }
        }
    }
    findings
}

/// Within the root package only the command line names the parts.
fn source_findings(file: &File) -> Vec<Finding> {
    let command_line = ["src/main.rs", "src/cli.rs"].contains(&file.path.as_str())
        || file.path.starts_with("src/cli/");
    if !file.path.starts_with("src/") || command_line {
        return Vec::new();
    }
    const PARTS: [&str; 4] = [
        "frontdoor_invocation",
        "frontdoor_worker",
        "frontdoor_function",
        "frontdoor_ops",
    ];
    code::paths(&code::bare(&file.text))
        .into_iter()
        .filter(|path| PARTS.contains(&path.segments[0].as_str()))
        .map(|path| {
            let what = format!(
                "the edge must not know {}: only src/cli may name it",
                path.segments[0]
            );
            file.finding(path.line, what)
        })
        .collect()
}

#[test]
fn crates_depend_one_way() {
    let mut findings = Vec::new();
    for file in tree::files() {
        if file.path == "Cargo.toml" || file.path.ends_with("/Cargo.toml") {
            findings.extend(manifest_findings(&file));
        } else if file.path.ends_with(".rs") {
            findings.extend(source_findings(&file));
        }
    }
    tree::assert_clean(&findings);
}

#[test]
fn a_wrong_dependency_is_found() {
    let check = |path: &str, text: &str| manifest_findings(&File::new(path, text)).len();
    let worker = "regions/worker/Cargo.toml";
    assert_eq!(
        check(worker, "[dependencies]\nfrontdoor-protocol = \"1\"\n"),
        0
    );
    assert_eq!(
        check(worker, "[dependencies]\nfrontdoor-invocation = \"1\"\n"),
        1
    );
    assert_eq!(
        check(worker, "[dependencies]\nfrontdoor-function = \"1\"\n"),
        1
    );
    assert_eq!(
        check(worker, "[dev-dependencies]\nfrontdoor-function = \"1\"\n"),
        0
    );
    assert_eq!(
        check(
            "regions/protocol/Cargo.toml",
            "[dependencies]\ntokio = \"1\"\n"
        ),
        1
    );
    assert_eq!(check("regions/new/Cargo.toml", ""), 1);
    let found = manifest_findings(&File::new(
        "ops/Cargo.toml",
        "[dependencies]\nfrontdoor-worker = \"1\"",
    ));
    assert_eq!(found[0].line, 2);
}

#[test]
fn an_edge_that_knows_a_part_is_found() {
    let text = "fn f() { frontdoor_worker::run() }";
    assert_eq!(source_findings(&File::new("src/edge.rs", text)).len(), 1);
    assert_eq!(
        source_findings(&File::new("src/cli/service.rs", text)).len(),
        0
    );
}
