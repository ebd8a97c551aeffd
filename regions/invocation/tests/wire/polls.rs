//! NVCF's API: calls by path, answers that are asked for later, and JSON around both.

use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{Method, Request, StatusCode, Version};
use serde_json::json;

use crate::client::{BoxBody, Connection, Reply, ask, call, empty, full};
use crate::worker::{Feed, Puller, Work};
use crate::world::{DOMAIN, FUNCTION, KEY, OTHER_KEY, UNKNOWN, VERSION, World};

pub(crate) fn by_path(method: Method, path: &str, window: &str, body: BoxBody) -> Request<BoxBody> {
    Request::builder()
        .method(method)
        .uri(format!("http://api.{DOMAIN}/v2/nvcf/{path}"))
        .header(AUTHORIZATION, format!("Bearer {KEY}"))
        .header("nvcf-poll-seconds", window)
        .body(body)
        .unwrap()
}

pub(crate) async fn invoke(world: &World, kind: &str, window: &str, body: BoxBody) -> Reply {
    let path = format!("{kind}/functions/{FUNCTION}");
    let request = by_path(Method::POST, &path, window, body);
    ask(world, Version::HTTP_2, request).await
}

pub(crate) async fn poll(world: &World, kind: &str, id: &str, window: &str) -> Reply {
    let request = by_path(Method::GET, &format!("{kind}/status/{id}"), window, empty());
    ask(world, Version::HTTP_11, request).await
}

/// Invokes with a window of a second, lets it pass, and pulls the work: its id and the item.
async fn put_aside(world: &World, puller: &Puller) -> (String, Work) {
    let reply = invoke(world, "pexec", "1", full("in")).await;
    assert_eq!((reply.status, reply.body.len()), (202, 0));
    assert_eq!(reply.header("nvcf-status"), Some("in-progress"));
    assert_eq!(reply.header("frontdoor-execution"), None);
    let work = puller.next().await;
    let id = reply.header("nvcf-reqid").unwrap().to_owned();
    assert_eq!(id, work.item.request_id);
    (id, work)
}

#[tokio::test]
async fn an_answer_within_the_window_is_given_at_once() {
    let world = World::start().await;
    let puller = Puller::new(&world).await;
    for path in [
        format!("pexec/functions/{FUNCTION}"),
        format!("pexec/functions/{FUNCTION}/versions/{VERSION}"),
    ] {
        let worker = async {
            let work = puller.next().await;
            assert_eq!(work.item.request_path, "/", "the function's one path");
            assert_eq!(work.item.request_method, "POST");
            assert_eq!(work.inline(), b"hello");
            assert_eq!(
                work.request_header("nvcf-feature-disable-worker-compatibility"),
                None
            );
            assert_eq!(work.request_header("nvcf-poll-seconds"), Some("3600"));
            let mut claimed = work.claim().await.expect("granted");
            claimed.head(200, &[("content-length", "5")]).await;
            claimed.data("world").await;
            claimed.finish().await.expect("the caller has everything");
            work.item.request_id.clone()
        };
        let request = by_path(Method::POST, &path, "20", full("hello"));
        let (reply, id) = tokio::join!(ask(&world, Version::HTTP_2, request), worker);
        assert_eq!((reply.status, reply.text().as_str()), (200, "world"));
        assert_eq!(reply.header("nvcf-reqid"), Some(&*id));
        let again = poll(&world, "pexec", &id, "1").await;
        assert_eq!(again.status, 404, "it was given");
        assert_eq!(again.header("frontdoor-execution"), Some("not-started"));
        assert_eq!(
            again.problem()["type"],
            "urn:frontdoor:problem:unknown-request"
        );
    }
}

#[tokio::test]
async fn an_answer_after_the_window_is_kept_until_it_is_fetched() {
    let world = World::start().await;
    let puller = Puller::new(&world).await;
    let (id, work) = put_aside(&world, &puller).await;
    let early = poll(&world, "pexec", &id, "1").await;
    assert_eq!((early.status, early.body.len()), (202, 0));
    assert_eq!(early.header("nvcf-reqid"), Some(&*id));

    let mut claimed = work.claim().await.expect("granted: the call goes on");
    claimed.head(201, &[("x-mine", "kept")]).await;
    claimed.data("out").await;
    // The worker is done before anybody comes for the answer.
    claimed.finish().await.expect("taken in");
    let answer = poll(&world, "pexec", &id, "20").await;
    assert_eq!((answer.status, answer.text().as_str()), (201, "out"));
    assert_eq!(answer.header("x-mine"), Some("kept"));
    assert_eq!(answer.header("nvcf-status"), Some("fulfilled"));
    assert_eq!(answer.header("nvcf-reqid"), Some(&*id));
    assert_eq!(poll(&world, "pexec", &id, "1").await.status, 404, "once");
}

#[tokio::test]
async fn a_poll_that_waits_gets_the_answer_when_it_comes() {
    let world = World::start().await;
    let puller = Puller::new(&world).await;
    let (id, work) = put_aside(&world, &puller).await;
    let worker = async {
        let mut claimed = work.claim().await.expect("granted");
        tokio::time::sleep(Duration::from_millis(200)).await;
        claimed.head(422, &[("content-type", "text/plain")]).await;
        claimed.data("no").await;
        claimed.finish().await.expect("the caller has everything");
    };
    let (answer, ()) = tokio::join!(poll(&world, "pexec", &id, "20"), worker);
    assert_eq!((answer.status, answer.text().as_str()), (422, "no"));
    assert_eq!(answer.header("nvcf-status"), Some("errored"));
}

#[tokio::test]
async fn a_failure_after_the_window_is_told_to_who_asks() {
    let world = World::start().await;
    let puller = Puller::new(&world).await;
    let (id, work) = put_aside(&world, &puller).await;
    work.claim().await.expect("granted").break_off().await;
    let answer = poll(&world, "pexec", &id, "20").await;
    assert_eq!(answer.status, 502);
    assert_eq!(answer.header("frontdoor-execution"), Some("started"));
    assert_eq!(poll(&world, "pexec", &id, "1").await.status, 404, "once");
}

#[tokio::test]
async fn a_large_answer_waits_at_its_worker_and_arrives_whole() {
    let world = World::start().await;
    let puller = Puller::new(&world).await;
    let (id, work) = put_aside(&world, &puller).await;
    let body: Vec<u8> = (0..8 << 20_u32).map(|n: u32| n.to_le_bytes()[1]).collect();
    let worker = async {
        let mut claimed = work.claim().await.expect("granted");
        claimed.head(200, &[]).await;
        for piece in body.chunks(64 * 1024) {
            claimed.data(piece.to_vec()).await;
        }
        claimed.finish().await.expect("the caller has everything");
    };
    let caller = async {
        // Time for the worker to run into the bound.
        tokio::time::sleep(Duration::from_millis(300)).await;
        poll(&world, "pexec", &id, "20").await
    };
    let (answer, ()) = tokio::join!(caller, worker);
    assert_eq!(answer.status, 200);
    assert!(answer.body[..] == body[..], "{}", answer.body.len());
}

#[tokio::test]
async fn only_who_may_call_the_function_may_ask() {
    let world = World::start().await;
    let puller = Puller::new(&world).await;
    let (id, work) = put_aside(&world, &puller).await;
    let mut claimed = work.claim().await.expect("granted");
    claimed.head(200, &[]).await;
    claimed.finish().await.expect("taken in");
    for (key, status) in [(Some(OTHER_KEY), 403), (Some("unknown"), 401), (None, 401)] {
        for id in [id.as_str(), UNKNOWN] {
            let path = format!("pexec/status/{id}");
            let mut request = by_path(Method::GET, &path, "1", empty());
            request.headers_mut().remove(AUTHORIZATION);
            if let Some(key) = key {
                let value = format!("Bearer {key}").parse().unwrap();
                request.headers_mut().insert(AUTHORIZATION, value);
            }
            let reply = ask(&world, Version::HTTP_2, request).await;
            let unknown = id == UNKNOWN && key.is_some();
            assert_eq!(reply.status, if unknown { 404 } else { status }, "{key:?}");
        }
    }
    assert_eq!(
        poll(&world, "pexec", &id, "1").await.status,
        200,
        "still there"
    );
}

#[tokio::test]
async fn who_leaves_before_the_window_ends_has_no_call_any_more() {
    let world = World::start().await;
    let puller = Puller::new(&world).await;
    let path = format!("pexec/functions/{FUNCTION}");
    let mut connection = Connection::open(world.front, Version::HTTP_2)
        .await
        .unwrap();
    let request = by_path(Method::POST, &path, "60", full("in"));
    let asked = connection.send(request);
    let work = tokio::select! {
        _ = asked => panic!("nobody answers"),
        work = puller.next() => work,
    };
    drop(connection);
    crate::world::until("the claim to be refused", || async {
        matches!(work.claim().await, Err(StatusCode::GONE)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_body_that_is_still_on_its_way_cannot_be_put_aside() {
    let world = World::start().await;
    let (feed, body) = Feed::new();
    feed.send_data(vec![0; 40 * 1024].into()).await.unwrap();
    let reply = invoke(&world, "pexec", "1", body).await;
    assert_eq!(reply.status, 504, "{}", reply.text());
    drop(feed);
    // Neither is a call by host, whatever its body.
    let mut request = call(Method::POST, "/", full("in"));
    request
        .headers_mut()
        .insert("nvcf-poll-seconds", http::HeaderValue::from_static("1"));
    assert_eq!(ask(&world, Version::HTTP_2, request).await.status, 504);
}

#[tokio::test]
async fn exec_wraps_and_unwraps() {
    let world = World::start().await;
    let puller = Puller::new(&world).await;
    let wrapped = json!({
        "requestHeader": {"pollDurationSeconds": 1},
        "requestBody": {"message": "x".repeat(40_000)},
    });
    let reply = invoke(&world, "exec", "20", full(wrapped.to_string())).await;
    assert_eq!(reply.status, 202);
    let id = reply.header("nvcf-reqid").unwrap();
    let progress: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!(progress, json!({"reqId": id, "status": "in-progress"}));

    let work = puller.next().await;
    assert_eq!(
        work.request_header("content-type"),
        Some("application/json")
    );
    assert_eq!(work.request_header("nvcf-poll-seconds"), Some("3600"));
    let mut claimed = work.claim().await.expect("granted");
    let rest = work.fetch(Version::HTTP_11).await.unwrap();
    let whole = [work.inline(), &rest.body[..]].concat();
    let length = whole.len().to_string();
    assert_eq!(work.request_header("content-length"), Some(&*length));
    let inside: serde_json::Value = serde_json::from_slice(&whole).unwrap();
    assert_eq!(inside, wrapped["requestBody"]);
    let ok = [
        ("content-type", "application/json"),
        ("content-length", "7"),
    ];
    claimed.head(200, &ok).await;
    claimed.data(r#"{"a":1}"#).await;
    claimed.finish().await.expect("taken in");

    let answer = poll(&world, "exec", id, "20").await;
    assert_eq!(answer.status, 200);
    let answer: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    let expected = json!({
        "reqId": id, "status": "fulfilled", "percentComplete": 100, "response": {"a": 1},
    });
    assert_eq!(answer, expected);
}

#[tokio::test]
async fn an_answer_that_cannot_be_wrapped_counts_as_what_its_caller_got() {
    let world = World::start().await;
    let puller = Puller::new(&world).await;
    let long = format!("\"{}\"", "x".repeat(5 << 20));
    let cases = [
        ("20", "no JSON", 1),
        ("1", "no JSON", 2),
        ("20", long.as_str(), 3),
    ];
    for (window, answer, refused) in cases {
        let caller = async {
            let reply = invoke(&world, "exec", window, full(r#"{"requestBody":1}"#)).await;
            match reply.status {
                202 => poll(&world, "exec", reply.header("nvcf-reqid").unwrap(), "20").await,
                _ => reply,
            }
        };
        let worker = async {
            let work = puller.next().await;
            if window == "1" {
                // Time for the caller's window to end.
                tokio::time::sleep(Duration::from_millis(1_200)).await;
            }
            let mut claimed = work.claim().await.expect("granted");
            claimed.head(200, &[]).await;
            for piece in answer.as_bytes().chunks(64 * 1024) {
                if claimed.body.send_data(piece.to_vec().into()).await.is_err() {
                    break;
                }
            }
            let _ = claimed.finish().await;
        };
        let (reply, ()) = tokio::join!(caller, worker);
        assert_eq!(reply.status, 502, "{}", reply.text());
        let problem = reply.problem();
        assert_eq!(problem["type"], "urn:frontdoor:problem:not-wrapped");
        for (outcome, count) in [("worker", refused), ("answered", 0), ("caller_left", 0)] {
            let line = format!("frontdoor_invocation_calls_total{{outcome=\"{outcome}\"}} {count}");
            assert!(world.metric(&line).await, "{line}");
        }
    }
}

#[tokio::test]
async fn what_the_api_does_not_take_is_said() {
    let world = World::start().await;
    let long = json!({"requestBody": "x".repeat(2 << 20)}).to_string();
    let assets = json!({"requestHeader": {"inputAssetReferences": [UNKNOWN]}}).to_string();
    for (body, status, kind) in [
        (long, 400, "bad-wrapping"),
        ("{".to_owned(), 400, "bad-wrapping"),
        (assets, 501, "no-assets"),
    ] {
        let reply = invoke(&world, "exec", "5", full(body)).await;
        assert_eq!(reply.status, status, "{kind}");
        let problem = reply.problem();
        assert_eq!(problem["type"], format!("urn:frontdoor:problem:{kind}"));
    }
    let path = format!("pexec/functions/{FUNCTION}");
    let mut request = by_path(Method::POST, &path, "5", empty());
    let asset = http::HeaderValue::from_static(UNKNOWN);
    request
        .headers_mut()
        .insert("nvcf-input-asset-references", asset);
    assert_eq!(ask(&world, Version::HTTP_2, request).await.status, 501);

    let wrong = by_path(Method::GET, &path, "5", empty());
    let reply = ask(&world, Version::HTTP_2, wrong).await;
    assert_eq!((reply.status, reply.header("allow")), (405, Some("POST")));
    for path in ["pexec/functions/x", "pexec/status/x"] {
        let method = if path.contains("status") {
            Method::GET
        } else {
            Method::POST
        };
        let wrong = by_path(method, path, "5", empty());
        assert_eq!(
            ask(&world, Version::HTTP_2, wrong).await.status,
            400,
            "{path}"
        );
    }
    let unknown = by_path(
        Method::POST,
        &format!("pexec/functions/{UNKNOWN}"),
        "5",
        empty(),
    );
    assert_eq!(ask(&world, Version::HTTP_2, unknown).await.status, 404);
}
