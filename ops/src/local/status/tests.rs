//! What people get to read.

use std::time::Duration;

use frontdoor_protocol::names::RegionName;
use frontdoor_protocol::span::Span;
use serde_json::json;

use super::*;
use crate::local::view::{Phase, RegionView};

fn view() -> StackView {
    let region: RegionName = "us-east".parse().expect("valid");
    let parts = PartId::all(std::slice::from_ref(&region))
        .into_iter()
        .zip(100..)
        .map(|(id, pid)| PartView {
            name: id.to_string(),
            state: State::Up,
            pid: Some(pid),
            ending: None,
            asked: false,
            log: vec![],
        });
    StackView {
        phase: Phase::Running,
        regions: vec![RegionView {
            name: region,
            wan: Span(Duration::from_millis(2)),
        }],
        parts: parts.collect(),
    }
}

fn with_dead_worker(asked: bool) -> StackView {
    let mut view = view();
    let worker = view
        .parts
        .iter_mut()
        .find(|p| p.name == "us-east/worker")
        .expect("there");
    worker.state = State::Dead;
    worker.pid = None;
    worker.asked = asked;
    worker.ending = Some("killed by SIGKILL".into());
    worker.log = vec!["last words".into()];
    view
}

#[test]
fn a_table_that_lines_up() {
    let seen = seen(
        &json!({"regions": [{"name": "us-east", "health": "up", "share": 1.0}]}),
        &mut BTreeMap::new(),
    );
    assert_eq!(
        table(&view(), &seen),
        "region   wan  nats    invocation  worker  function  edge sees\n\
         us-east  2ms  up 103  up 104      up 105  up 106    up 100 %\n\
         hub up 100   dns up 101   wan up 102   edge up 107\n"
    );
    let dead = table(&with_dead_worker(false), &Seen::new());
    assert!(
        dead.contains("us-east/worker: dead, killed by SIGKILL\n  | last words\n"),
        "{dead}"
    );
    assert!(dead.contains("dead    up 106    -\n"), "{dead}");
}

#[test]
fn only_changes_are_told() {
    assert!(changes(&view(), &view()).is_empty());
    assert_eq!(
        changes(&view(), &with_dead_worker(false)),
        ["us-east/worker: dead, killed by SIGKILL", "  | last words"]
    );
    assert_eq!(
        changes(&view(), &with_dead_worker(true)),
        ["us-east/worker: dead, killed by SIGKILL as asked"]
    );
    assert_eq!(
        changes(&with_dead_worker(true), &view()),
        ["us-east/worker: up 105"]
    );
    let mut slower = view();
    slower.regions[0].wan = Span(Duration::from_millis(40));
    assert_eq!(changes(&view(), &slower), ["us-east: wan 40ms (was 2ms)"]);
}

#[test]
fn the_edge_is_quoted_as_far_as_it_says_something() {
    let mut totals = BTreeMap::new();
    let mut check = |regions: Value| -> Vec<String> {
        let seen = seen(&json!({ "regions": regions }), &mut totals);
        seen.into_iter()
            .map(|(name, view)| format!("{name}: {}", view.to_text()))
            .collect()
    };
    assert!(check(Value::Null).is_empty());
    assert_eq!(check(json!([{"name": "a"}])), ["a: -"]);
    assert_eq!(check(json!([{"name": "a", "health": "down"}])), ["a: down"]);
    assert_eq!(
        check(json!([{"name": "a", "health": "up", "share": 0.25}])),
        ["a: up 25 %"]
    );
    let both = |a: u32, b: u32| json!([{"name": "a", "served": a}, {"name": "b", "served": b}]);
    check(both(100, 0));
    assert_eq!(check(both(103, 1)), ["a: 75 %", "b: 25 %"]);
    assert_eq!(check(both(103, 1)), ["a: -", "b: -"], "nothing was called");
    assert_eq!(
        check(both(1, 2))[0],
        "a: 50 %",
        "a new edge counts from zero: 1 and 2 - 1"
    );
}

#[test]
fn an_orderly_end_is_not_news() {
    let mut stopping = with_dead_worker(true);
    stopping.phase = Phase::Stopping;
    assert_eq!(
        changes(&view(), &stopping).len(),
        1,
        "one that had to be killed is"
    );
    for part in stopping.parts.iter_mut().filter(|p| p.state == State::Dead) {
        part.ending = Some(WELL.to_owned());
    }
    assert!(changes(&view(), &stopping).is_empty());
}

#[test]
fn the_curl_lines_can_be_pasted() {
    let endpoints = json!({
        "edge": {"https": "https://localhost:8443", "http": "http://localhost:8080", "admin": "http://localhost:9901"},
        "functions": [{"id": "0196f0c2-7e1f-7a55-8a2e-3d1b5f0c9a11"}],
    });
    let lines = how_to_call(&endpoints, ".local");
    assert!(
        lines.contains(
            r#"  curl --cacert .local/ca.pem https://0196f0c2-7e1f-7a55-8a2e-3d1b5f0c9a11.invocation.localhost:8443/echo -H "Authorization: Bearer $(cat .local/api_key)" -H 'Content-Type: application/json' -d '{"message":"hello"}'"#
        ),
        "{lines}"
    );
    assert!(
        lines.contains("curl http://localhost:8080/echo -H 'Host: 0196f0c2-"),
        "{lines}"
    );
    assert_eq!(shell_quoted("my dir/it's"), r"'my dir/it'\''s'");
}
