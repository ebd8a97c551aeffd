//! What operators are given agrees with itself: the list of metrics with the code, alerts with runbooks, and alerts,
//! runbooks and dashboards with the metrics there are.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::tree::{self, File, Finding};

const LIST: &str = "ops/metrics.md";
/// Set to write the list anew instead of comparing.
const UPDATE: &str = "FRONTDOOR_UPDATE";

/// A family as the text format shows it.
#[derive(Debug, Default)]
struct Family {
    kind: String,
    help: String,
    labels: BTreeMap<String, BTreeSet<String>>,
}

fn families(text: &str) -> BTreeMap<String, Family> {
    let mut found: BTreeMap<String, Family> = BTreeMap::new();
    let mut last = String::new();
    for line in text.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|l| l.split_once(' ')) {
            found.entry(name.to_owned()).or_default().help = help.trim_end_matches('.').to_owned();
        } else if let Some((name, kind)) =
            line.strip_prefix("# TYPE ").and_then(|l| l.split_once(' '))
        {
            found.entry(name.to_owned()).or_default().kind = kind.to_owned();
            name.clone_into(&mut last);
        } else if let Some((_, labels)) = line.split_once('{') {
            let labels = labels.split('}').next().unwrap_or_default();
            let family = found.entry(last.clone()).or_default();
            for (name, value) in labels.split(',').filter_map(|l| l.split_once('=')) {
                let values = family.labels.entry(name.to_owned()).or_default();
                values.insert(value.trim_matches('"').to_owned());
            }
        }
    }
    found
}

/// Every part with its families.
fn parts() -> [(&'static str, BTreeMap<String, Family>); 3] {
    let edge = frontdoor::metrics::Metrics::new(&["REGION".to_owned()]).expect("registers");
    edge.certificates.set("FILE", 0);
    let edge = String::from_utf8(edge.render()).expect("text");
    let invocation = frontdoor_invocation::metric_families().expect("registers");
    let worker = frontdoor_worker::metric_families().expect("registers");
    [
        ("Edge", families(&edge)),
        ("Invocation service", families(&invocation)),
        ("Worker", families(&worker)),
    ]
}

fn list() -> String {
    let mut text = "# Metrics\n\nMade from the code by a test; `make metrics` writes it anew. Every part shows its own at \
                    `/metrics` of its\nadmin port. Labels are bounded: no function, caller or request is ever one. \
                    Scrape configuration for a local\nstack: `.local/prometheus.yml`.\n"
        .to_owned();
    for (part, families) in parts() {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "\n## {part}\n\n| name | type | labels | meaning |\n| --- | --- | --- | --- |"
        );
        for (name, family) in families {
            let labels: Vec<String> = family
                .labels
                .iter()
                .filter(|(name, _)| *name != "le")
                .map(|(name, values)| match name.as_str() {
                    "region" | "file" | "version" | "revision" => format!("`{name}`"),
                    name => format!(
                        "`{name}`: {}",
                        values.iter().cloned().collect::<Vec<_>>().join(", ")
                    ),
                })
                .collect();
            let _ = writeln!(
                text,
                "| `{name}` | {} | {} | {} |",
                family.kind,
                labels.join("; "),
                family.help
            );
        }
    }
    text
}

/// Names of ours in a text, without what the text format adds to a histogram's.
fn named(text: &str) -> BTreeSet<String> {
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let mut found = BTreeSet::new();
    for prefix in [
        "frontdoor_edge_",
        "frontdoor_invocation_",
        "frontdoor_worker_",
    ] {
        for (at, _) in text.match_indices(prefix) {
            let name: String = text[at..].chars().take_while(|c| word(*c)).collect();
            let base = ["_bucket", "_sum", "_count"]
                .into_iter()
                .find_map(|end| name.strip_suffix(end));
            found.insert(base.unwrap_or(&name).to_owned());
        }
    }
    found
}

fn alerts(text: &str) -> Vec<&str> {
    text.lines()
        .filter_map(|l| l.trim().strip_prefix("- alert: "))
        .collect()
}

fn unknown_metrics(file: &File, known: &BTreeSet<String>) -> Vec<Finding> {
    let unknown = named(&file.text)
        .into_iter()
        .filter(|name| !known.contains(name));
    unknown
        .map(|name| file.finding(1, format!("`{name}` is no metric of ours: see {LIST}")))
        .collect()
}

#[test]
fn the_list_of_metrics_is_the_codes() {
    let made = list();
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(tree::root().join(LIST), &made).expect("written");
    }
    let kept = std::fs::read_to_string(tree::root().join(LIST)).unwrap_or_default();
    assert!(kept == made, "{LIST} is out of date: run `make metrics`");
}

#[test]
fn metrics_keep_the_conventions() {
    for (part, families) in parts() {
        assert!(families.len() > 5, "{part}");
        for (name, family) in families {
            assert!(!family.help.is_empty(), "{name}: say what it means");
            assert_eq!(
                name.ends_with("_total"),
                family.kind == "counter",
                "{name} is a {}",
                family.kind
            );
            let unit = ["_seconds", "_bytes"]
                .iter()
                .any(|unit| name.ends_with(unit));
            assert!(
                family.kind != "histogram" || unit,
                "{name}: end it with its unit"
            );
            for wrong in ["_ms", "_millis", "_kb", "_percent"] {
                assert!(!name.contains(wrong), "{name}: base units only");
            }
            for label in family.labels.keys() {
                let bounded = [
                    "region", "outcome", "failure", "reason", "stage", "to", "event", "fault",
                    "limit", "file", "version", "revision", "le",
                ];
                assert!(
                    bounded.contains(&label.as_str()),
                    "{name}: is `{label}` bounded? Then add it here"
                );
            }
        }
    }
}

#[test]
fn each_alert_has_its_runbook_and_each_runbook_its_alert() {
    let files = tree::files();
    let rules = || {
        files
            .iter()
            .filter(|f| f.path.starts_with("ops/alerts/") && f.path.matches('/').count() == 2)
    };
    let mut alerted = BTreeSet::new();
    let mut found = Vec::new();
    for file in rules() {
        for alert in alerts(&file.text) {
            alerted.insert(alert.to_owned());
            let runbook = format!("ops/runbooks/{alert}.md");
            if !files.iter().any(|f| f.path == runbook) {
                found.push(file.finding(1, format!("write {runbook}")));
            }
            if !file.text.contains(&format!("runbook: runbooks/{alert}.md")) {
                found.push(file.finding(1, format!("{alert} does not name its runbook")));
            }
        }
    }
    assert!(alerted.len() >= 15, "{alerted:?}");
    for file in files.iter().filter(|f| f.path.starts_with("ops/runbooks/")) {
        let name = file
            .path
            .trim_start_matches("ops/runbooks/")
            .trim_end_matches(".md");
        if !alerted.contains(name) {
            found.push(file.finding(1, "no alert of this name: add it or delete this"));
        }
        for part in ["## What it means", "## How to confirm", "## What to do"] {
            if !file.text.contains(part) {
                found.push(file.finding(1, format!("lacks `{part}`")));
            }
        }
    }
    tree::assert_clean(&found);
}

#[test]
fn alerts_runbooks_and_dashboards_name_real_metrics() {
    let known: BTreeSet<String> = parts()
        .into_iter()
        .flat_map(|(_, families)| families.into_keys())
        .collect();
    let folders = ["ops/alerts/", "ops/runbooks/", "ops/dashboards/"];
    let files = tree::files();
    let given = files
        .iter()
        .filter(|f| folders.iter().any(|folder| f.path.starts_with(folder)));
    let found: Vec<Finding> = given.flat_map(|f| unknown_metrics(f, &known)).collect();
    tree::assert_clean(&found);
}

#[test]
fn the_budget_alerts_use_the_objectives() {
    let text = tree::read("ops/slo.md");
    let block = text
        .split("```toml\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next());
    let slo: toml::Table = block.expect("a block").parse().expect("TOML");
    let number = |name: &str| slo["service"][name].as_float().expect("a number");
    let rules = tree::read("ops/alerts/slo.yml");
    for (share, factor) in [
        ("availability", 14.4),
        ("availability", 6.0),
        ("availability", 1.0),
        ("first_byte", 14.4),
    ] {
        let budget = ((1.0 - number(share)) * 1e6).round() / 1e6;
        let bar = format!("({factor} * {budget})");
        assert_eq!(
            rules.matches(&bar).count(),
            2,
            "{share}: two windows of {bar}"
        );
    }
    let bucket = format!("le=\"{}\"", number("first_byte_s"));
    assert!(rules.contains(&bucket), "{bucket}");
}

#[test]
fn wrong_names_are_found() {
    let known = BTreeSet::from(["frontdoor_edge_a_seconds".to_owned()]);
    let check = |text: &str| unknown_metrics(&File::new("ops/alerts/x.yml", text), &known).len();
    assert_eq!(
        check(
            "rate(frontdoor_edge_a_seconds_bucket{le=\"1\"}[5m]) / frontdoor_edge_a_seconds_count"
        ),
        0
    );
    assert_eq!(check("frontdoor_edge_b_total > 0"), 1);
    assert_eq!(alerts("groups:\n  - alert: A\n    expr: |\n"), ["A"]);
}
