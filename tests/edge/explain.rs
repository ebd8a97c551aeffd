//! Why a call went where it went, and the page that shows it: what is kept, what is not, and what a browser may do with it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use test_support::client::{Client, Protocol, full};
use test_support::eventually::eventually;
use test_support::region::{Region, reply};

use crate::harness::Edge;

const KEEP_ALL: &str = "explain = { share = 1.0 }";
const KEEP_TROUBLE: &str = "explain = { share = 0.0 }";

async fn answering(status: u16, headers: &'static [(&'static str, &'static str)]) -> Region {
    Region::start(move |_| async move { reply(status, headers, "x") })
        .await
        .expect("a port")
}

async fn edge(first: &Region, second: &Region, more: &str) -> Edge {
    let regions = [("a-first", first.address), ("b-second", second.address)];
    let edge = Edge::configured(&regions, more).await;
    edge.health("a-first", "up").await;
    edge.health("b-second", "up").await;
    edge
}

/// The explanation of a call, which is there a moment after its answer.
async fn explained(edge: &Edge, id: &str) -> Value {
    eventually("it is kept", Duration::from_secs(5), async || {
        let answer = edge.admin(&format!("/explain/{id}")).await;
        answer.status.is_success().then(|| answer.json())
    })
    .await
}

#[tokio::test]
async fn a_call_is_explained_by_what_its_decision_saw() {
    let (first, second) = (answering(200, &[]).await, answering(200, &[]).await);
    let edge = edge(&first, &second, KEEP_ALL).await;
    let answer = edge.post("/echo", "x").await;
    let told = explained(&edge, answer.header("nvcf-reqid")).await;
    let call = &told["call"];
    assert_eq!(call["id"], answer.header("nvcf-reqid"));
    assert_eq!(
        (&call["kept"], &call["status"]),
        (&json!("sampled"), &json!(200))
    );
    let choice = &call["decisions"][0];
    assert_eq!(choice["taken"], true);
    let went = choice["region"].as_str().expect("a region");
    assert_eq!(went == "a-first", first.calls() > second.calls());
    let table = &told["tables"][0];
    assert_eq!(table["agrees"], true);
    let regions: BTreeSet<&str> = table["regions"]
        .as_array()
        .expect("regions")
        .iter()
        .map(|line| line["region"].as_str().expect("a name"))
        .collect();
    assert_eq!(regions, BTreeSet::from(["a-first", "b-second"]));
    assert!(table["regions"][0]["parts"]["rtt"].is_number());

    // What was kept is enough to decide again elsewhere, after a way through JSON.
    let call: frontdoor::explain::Call = serde_json::from_value(call.clone()).expect("a call");
    assert_eq!(call.decisions[0].agrees(), Some(true));
    let list: Value = edge.admin("/decisions?last=5").await.json();
    assert_eq!(list["decisions"][0]["regions"], json!([went]));
    edge.stopped().await;
}

#[tokio::test]
async fn what_moved_or_failed_is_kept_and_what_went_well_only_by_chance() {
    let first = answering(503, &[("frontdoor-execution", "not-started")]).await;
    let second = answering(200, &[]).await;
    let edge = edge(&first, &second, KEEP_TROUBLE).await;
    let (mut moved, mut well) = (None, None);
    for _ in 0..200 {
        let before = first.calls();
        let answer = edge.post("/echo", "x").await;
        assert_eq!(answer.status.as_u16(), 200);
        let id = answer.header("nvcf-reqid").to_owned();
        if first.calls() > before {
            moved = Some(id);
        } else {
            well = Some(id);
        }
        if moved.is_some() && well.is_some() {
            break;
        }
    }
    let told = explained(&edge, &moved.expect("one of them moved")).await;
    assert_eq!(told["call"]["kept"], "moved");
    let decisions = told["call"]["decisions"].as_array().expect("decisions");
    let went: Vec<&Value> = decisions.iter().map(|d| &d["region"]).collect();
    assert_eq!(went, [&json!("a-first"), &json!("b-second")]);
    assert_eq!(decisions[1]["because"], "not-started");
    assert!(
        told["tables"][0].is_null(),
        "nobody thought of keeping it then"
    );
    let tried = told["tables"][1]["regions"].as_array().expect("regions");
    assert!(
        tried
            .iter()
            .any(|l| l["region"] == "a-first" && l["excluded"] == "tried"),
        "{tried:?}"
    );
    if let Some(well) = well {
        let answer = edge.admin(&format!("/explain/{well}")).await;
        assert_eq!(answer.status.as_u16(), 404);
        let detail = answer.json()["detail"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        for word in ["Another edge", "0%", "[explain]"] {
            assert!(detail.contains(word), "{detail}");
        }
    }
    assert_eq!(edge.admin("/explain/nonsense").await.status.as_u16(), 400);
    edge.stopped().await;
}

#[tokio::test]
async fn a_call_without_any_region_left_is_kept_with_its_table() {
    let both = answering(503, &[("frontdoor-execution", "not-started")]).await;
    let edge = Edge::start(&[("a-only", both.address)]).await;
    let answer = edge.post("/echo", "x").await;
    assert_eq!(answer.status.as_u16(), 503);
    let told = explained(&edge, answer.header("nvcf-reqid")).await;
    assert_eq!(told["call"]["kept"], "failed");
    assert_eq!(told["call"]["stop"], "no-region");
    let last = told["tables"]
        .as_array()
        .and_then(|t| t.last())
        .expect("a table");
    assert_eq!(last["agrees"], true);
    assert_eq!(last["regions"][0]["excluded"], "tried");
    edge.stopped().await;
}

#[tokio::test]
async fn the_page_is_whole_and_may_load_nothing_from_elsewhere() {
    let edge = Edge::unready(&[("a", ([127, 0, 0, 1], 9).into())]).await;
    for (path, kind) in [
        ("/", "text/html"),
        ("/page.css", "text/css"),
        ("/page.js", "text/javascript"),
        ("/openapi.json", "application/json"),
    ] {
        let answer = edge.admin(path).await;
        assert_eq!(answer.status.as_u16(), 200, "{path}");
        assert!(answer.header("content-type").starts_with(kind), "{path}");
        let policy = answer.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none';"), "{policy}");
        assert!(
            !policy.contains("unsafe") && !policy.contains("http"),
            "{policy}"
        );
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("referrer-policy"), "no-referrer");
        assert!(!answer.text().is_empty());
    }
    // Nothing from elsewhere, nothing in line, no markup made of data, no token where it would stay.
    let [html, css, script] = [
        edge.admin("/"),
        edge.admin("/page.css"),
        edge.admin("/page.js"),
    ];
    let (html, css, script) = (html.await.text(), css.await.text(), script.await.text());
    assert!(!html.contains("<script>") && !html.contains("<style") && !html.contains(" style="));
    for word in ["src=\"http", "href=\"http", "href=\"/", "src=\"/"] {
        assert!(!html.contains(word), "{word}");
    }
    assert!(!css.contains("url(") && !css.contains("@import"));
    for word in [
        "innerHTML",
        "insertAdjacentHTML",
        "localStorage",
        "sessionStorage",
        "eval(",
        "token=",
    ] {
        assert!(!script.contains(word), "{word}");
    }
    edge.stopped().await;
}

/// Reads events until one fits; gives it and when it came.
async fn until(
    body: &mut hyper::body::Incoming,
    text: &mut String,
    fits: impl Fn(&Value) -> bool,
) -> Value {
    loop {
        while let Some((event, rest)) = text.split_once("\n\n") {
            let picture = serde_json::from_str(event.trim_start_matches("data: ")).expect("JSON");
            *text = rest.to_owned();
            if fits(&picture) {
                return picture;
            }
        }
        let frame = tokio::time::timeout(Duration::from_secs(10), body.frame()).await;
        let frame = frame.expect("in time").expect("no end").expect("no error");
        text.push_str(&String::from_utf8_lossy(frame.data_ref().expect("data")));
    }
}

#[tokio::test]
async fn events_come_at_once_each_second_and_at_a_change_and_end_with_the_edge() {
    let (first, second) = (answering(200, &[]).await, answering(200, &[]).await);
    let edge = edge(&first, &second, KEEP_ALL).await;
    edge.post("/echo", "x").await;
    let mut client = Client::plain(edge.ports.admin, Protocol::H1)
        .await
        .expect("a connection");
    let request = http::Request::get("/events")
        .header("host", "admin")
        .body(full(""))
        .expect("valid");
    let answer = client.send(request).await.expect("an answer");
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let (mut body, mut text, asked) = (answer.into_body(), String::new(), Instant::now());
    let picture = until(&mut body, &mut text, |_| true).await;
    println!("the first picture came after {:?}", asked.elapsed());
    assert_eq!(picture["regions"][0]["name"], "a-first");
    assert_eq!(picture["orders"], false);
    assert_eq!(picture["functions"]["known"], 0);
    until(&mut body, &mut text, |p| p["decisions"][0]["status"] == 200).await;
    until(&mut body, &mut text, |p| {
        p["regions"].as_array().is_some_and(|all| {
            all.iter().any(|r| r["share"].as_f64() > Some(0.0))
                && all.iter().all(|r| r["rtt"][0].is_number())
        })
    })
    .await;
    drop(second);
    let down = until(&mut body, &mut text, |p| {
        p["regions"][1]["health"] == "down"
    })
    .await;
    assert_eq!(down["regions"][0]["health"], "up");
    edge.begin_stop();
    let end = async { while let Some(Ok(_)) = body.frame().await {} };
    tokio::time::timeout(Duration::from_secs(10), end)
        .await
        .expect("it ends with the edge");
    edge.stopped().await;
}

#[tokio::test]
async fn there_is_room_for_few_listeners_and_one_that_leaves_makes_room() {
    let edge = Edge::unready(&[("a", ([127, 0, 0, 1], 9).into())]).await;
    let listen = async || {
        let mut client = Client::plain(edge.ports.admin, Protocol::H1)
            .await
            .expect("a connection");
        let request = http::Request::get("/events")
            .header("host", "admin")
            .body(full(""))
            .expect("valid");
        let answer = client.send(request).await.expect("an answer");
        (client, answer)
    };
    let mut watching = Vec::new();
    for _ in 0..32 {
        let listener = listen().await;
        assert_eq!(listener.1.status().as_u16(), 200);
        watching.push(listener);
    }
    let (_client, answer) = listen().await;
    assert_eq!(answer.status().as_u16(), 503);
    assert_eq!(answer.headers()["retry-after"], "10");
    watching.clear();
    eventually("there is room", Duration::from_secs(10), async || {
        (listen().await.1.status().as_u16() == 200).then_some(())
    })
    .await;
    edge.stopped().await;
}
