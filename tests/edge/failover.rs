//! What moves to another region, what does not, and what the caller sees.

use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::BodyExt as _;
use test_support::client::{Protocol, full};
use test_support::region::{Region, Reply, reply};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::harness::{Edge, post, request};

/// A region that answers with its own name and how much body it got.
async fn good(name: &'static str) -> Region {
    Region::start(move |request| async move {
        let body = request
            .into_body()
            .collect()
            .await
            .map(|b| b.to_bytes().len());
        reply(
            200,
            &[("x-region", name)],
            format!("{name} {}", body.unwrap_or_default()),
        )
    })
    .await
    .expect("a port")
}

/// A region that gives every call the same answer, without reading its body.
async fn always(make: impl Fn() -> Reply + Send + Sync + Copy + 'static) -> Region {
    Region::start(move |_| async move { make() })
        .await
        .expect("a port")
}

/// Two regions that share calls.
async fn edge(first: &Region, second: &Region) -> Edge {
    Edge::start(&[("a-first", first.address), ("b-second", second.address)]).await
}

/// Sends calls until one was tried in `first`, and returns that one's answer.
async fn through_first(
    edge: &Edge,
    first: &Region,
    make: impl Fn() -> http::Request<test_support::client::Body>,
) -> test_support::client::Answer {
    for _ in 0..200 {
        let before = first.calls();
        let answer = edge
            .client(Protocol::H2)
            .await
            .call(make())
            .await
            .expect("an answer");
        if first.calls() > before {
            return answer;
        }
    }
    panic!("no call in 200 went to the first region");
}

#[tokio::test]
async fn what_a_platform_did_not_start_moves() {
    for status in [404, 429, 502, 503, 504] {
        let first = Region::start(move |_| async move {
            reply(
                status,
                &[("frontdoor-execution", "not-started")],
                "declined",
            )
        })
        .await
        .expect("a port");
        let second = good("b").await;
        let edge = edge(&first, &second).await;
        let answer = through_first(&edge, &first, || post("/echo", "hello")).await;
        assert_eq!(
            (answer.status.as_u16(), answer.text()),
            (200, "b 5".into()),
            "after {status}"
        );
        assert!(edge.counter("moves_total", "not-started").await >= 1.0);
    }
}

#[tokio::test]
async fn what_was_started_or_is_the_callers_fault_does_not_move() {
    let cases: [(u16, &[(&str, &str)]); 6] = [
        (502, &[("frontdoor-execution", "started")]),
        (503, &[("frontdoor-execution", "perhaps")]),
        (503, &[]),
        (401, &[("frontdoor-execution", "not-started")]),
        (403, &[("frontdoor-execution", "not-started")]),
        (422, &[]),
    ];
    for (status, headers) in cases {
        let first = Region::start(move |_| async move { reply(status, headers, "as it is") })
            .await
            .expect("a port");
        let second = good("b").await;
        let edge = edge(&first, &second).await;
        let answer = through_first(&edge, &first, || post("/echo", "hello")).await;
        assert_eq!(
            (answer.status.as_u16(), answer.text()),
            (status, "as it is".into())
        );
        assert_eq!(edge.counter("moves_total", "").await, 0.0);
    }
}

#[tokio::test]
async fn a_platforms_5xx_counts_as_failed_and_its_no_as_declined() {
    for (status, execution, outcome) in [
        (504, Some("not-started"), "failed"),
        (503, Some("not-started"), "failed"),
        (502, Some("not-started"), "failed"),
        (502, Some("started"), "failed"),
        (429, Some("not-started"), "declined"),
        (401, Some("not-started"), "declined"),
        // What is asked for is not offered.
        (501, Some("not-started"), "declined"),
        // The function takes longer than its caller waits.
        (504, Some("started"), "declined"),
        // A container's own.
        (500, None, "answered"),
    ] {
        let header = execution.map(|execution| ("frontdoor-execution", execution));
        let region =
            Region::start(move |_| async move { reply(status, header.as_slice(), "as it is") })
                .await
                .expect("a port");
        let edge = Edge::start(&[("a-only", region.address)]).await;
        let answer = edge.post("/echo", "hello").await;
        assert_eq!(answer.status.as_u16(), status);
        let label = format!("outcome=\"{outcome}\"");
        test_support::eventually::eventually(
            &format!("{status} counts as {outcome}"),
            Duration::from_secs(5),
            async || (edge.counter("requests_total", &label).await == 1.0).then_some(()),
        )
        .await;
        for label in ["region=\"a-only\"", ""] {
            let counted = edge.counter("requests_total", label).await;
            assert_eq!(counted, 1.0, "{status} {label}");
        }
    }
}

#[tokio::test]
async fn the_last_regions_own_answer_is_passed_on() {
    let no = || {
        reply(
            429,
            &[("frontdoor-execution", "not-started"), ("retry-after", "7")],
            "full",
        )
    };
    let (first, second) = (always(no).await, always(no).await);
    let edge = edge(&first, &second).await;
    let answer = edge.post("/echo", "hello").await;
    assert_eq!(
        (
            answer.status.as_u16(),
            answer.text(),
            answer.header("retry-after")
        ),
        (429, "full".into(), "7")
    );
    assert_eq!(
        (first.calls(), second.calls()),
        (1, 1),
        "each was asked once"
    );
}

#[tokio::test]
async fn a_refused_connection_moves_and_is_noticed() {
    let first = good("a").await;
    let second = good("b").await;
    let edge = edge(&first, &second).await;
    drop(first);
    let mut client = edge.client(Protocol::H2).await;
    for _ in 0..20 {
        let answer = client
            .call(post("/echo", "hello"))
            .await
            .expect("an answer");
        assert_eq!((answer.status.as_u16(), answer.text()), (200, "b 5".into()));
    }
    edge.health("a-first", "down").await;
}

#[tokio::test]
async fn a_lost_connection_moves_only_what_may_run_twice() {
    let first = Region::start(|_| async {
        // Long enough to be cut while it is held.
        tokio::time::sleep(Duration::from_secs(60)).await;
        reply(200, &[], "too late")
    })
    .await
    .expect("a port");
    let address = first.address;
    let edge = Edge::start(&[("a-first", address)]).await;
    let mut post_client = edge.client(Protocol::H2).await;
    let mut get_client = edge.client(Protocol::H2).await;
    let posted = tokio::spawn(async move { post_client.call(post("/echo", "hello")).await });
    let got = tokio::spawn(async move {
        get_client
            .call(request("GET", "/thing").body(full("")).expect("valid"))
            .await
    });
    test_support::eventually::eventually(
        "both calls are held",
        Duration::from_secs(5),
        async || (first.calls() == 2).then_some(()),
    )
    .await;
    drop(first);
    let posted = posted.await.expect("no panic").expect("an answer");
    assert_eq!(posted.status, 502);
    assert_eq!(
        posted.json()["type"],
        "urn:frontdoor:problem:may-have-run",
        "{}",
        posted.text()
    );
    assert!(posted.text().contains("Idempotency-Key"));
    let got = got.await.expect("no panic").expect("an answer");
    assert_eq!(
        got.json()["type"],
        "urn:frontdoor:problem:may-have-run",
        "it may move, but there is nowhere to go, and that it did not run would be a lie"
    );
}

#[tokio::test]
async fn an_idempotency_key_lets_a_lost_call_move() {
    let first = Region::start(|_| async {
        tokio::time::sleep(Duration::from_secs(60)).await;
        reply(200, &[], "too late")
    })
    .await
    .expect("a port");
    let second = good("b").await;
    let edge = edge(&first, &second).await;
    let mut calls = tokio::task::JoinSet::new();
    let client = edge.client(Protocol::H2).await;
    for n in 0..20 {
        let mut sender = client.h2();
        calls.spawn(async move {
            let call = request("POST", "/echo").header("idempotency-key", n.to_string());
            sender
                .send_request(call.body(full("hello")).expect("valid"))
                .await
                .map(|r| r.status().as_u16())
        });
    }
    test_support::eventually::eventually(
        "some calls are held",
        Duration::from_secs(5),
        async || (first.calls() > 0).then_some(()),
    )
    .await;
    drop(first);
    while let Some(status) = calls.join_next().await {
        assert_eq!(status.expect("no panic").expect("an answer"), 200);
    }
}

/// A way to a region that can fall silent: connections stay open, and nothing goes through any more.
async fn way(target: SocketAddr) -> (SocketAddr, watch::Sender<bool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let (freeze, frozen) = watch::channel(false);
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let mut frozen = frozen.clone();
            tokio::spawn(async move {
                let Ok(mut far) = TcpStream::connect(target).await else {
                    return;
                };
                let froze = tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut near, &mut far) => false,
                    frozen = frozen.wait_for(|frozen| *frozen) => frozen.is_ok(),
                };
                if froze {
                    std::future::pending::<()>().await;
                }
            });
        }
    });
    (address, freeze)
}

#[tokio::test]
async fn calls_leave_a_region_that_falls_silent() {
    let first = Region::start(|_| async {
        tokio::time::sleep(Duration::from_secs(60)).await;
        reply(200, &[], "too late")
    })
    .await
    .expect("a port");
    let second = good("b").await;
    let (silent, freeze) = way(first.address).await;
    let edge = Edge::start(&[("a-first", silent), ("b-second", second.address)]).await;
    let mut calls = tokio::task::JoinSet::new();
    let client = edge.client(Protocol::H2).await;
    for _ in 0..20 {
        let mut sender = client.h2();
        calls.spawn(async move {
            let call = request("GET", "/thing").body(full("")).expect("valid");
            sender.send_request(call).await.map(|r| r.status().as_u16())
        });
    }
    test_support::eventually::eventually(
        "some calls are held",
        Duration::from_secs(5),
        async || (first.calls() > 0).then_some(()),
    )
    .await;
    freeze.send_replace(true);
    let started = std::time::Instant::now();
    while let Some(status) = calls.join_next().await {
        assert_eq!(status.expect("no panic").expect("an answer"), 200);
    }
    // Asked after half a second, suspect a second later; the connection itself would be closed after five.
    assert!(
        started.elapsed() < Duration::from_secs(4),
        "{:?}",
        started.elapsed()
    );
    let label = "failure=\"lost\",region=\"a-first\"";
    let lost = edge.counter("attempts_failed_total", label).await;
    assert!(lost >= 1.0, "{lost} are counted");
}

#[tokio::test]
async fn a_call_is_not_given_to_a_way_with_nobody_behind_it() {
    let first = good("a").await;
    let (open, _freeze) = way(first.address).await;
    let edge = Edge::start(&[("a-first", open)]).await;
    drop(first);
    edge.health("a-first", "down").await;
    // Nothing else is left, so it is tried all the same: the way takes the connection, and then closes it.
    let mut client = edge.client(Protocol::H2).await;
    let answer = client.call(post("/echo", "hello")).await;
    let answer = answer.expect("an answer");
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert_eq!(
        answer.json()["type"],
        "urn:frontdoor:problem:regions-failed",
        "provably not begun: {}",
        answer.text()
    );
}

#[tokio::test]
async fn bodies_are_sent_again_up_to_the_replay_limit() {
    // Not 503: that would make the region suspect, and take the calls away that this is about.
    let decline = || reply(429, &[("frontdoor-execution", "not-started")], "declined");
    let first = Region::start(move |request| async move {
        // The whole body is taken before the region declines: the worst case for a replay.
        let _ = request.into_body().collect().await;
        decline()
    })
    .await
    .expect("a port");
    let second = good("b").await;
    let edge = edge(&first, &second).await;
    for length in [0, 1, 60_000, 300_000, 1 << 20] {
        let body = vec![7; length];
        let kept = through_first(&edge, &first, || post("/echo", body.clone())).await;
        assert_eq!(
            (kept.status.as_u16(), kept.text()),
            (200, format!("b {length}"))
        );
    }
    let large = through_first(&edge, &first, || post("/echo", vec![7; (1 << 20) + 1])).await;
    assert_eq!(
        (large.status.as_u16(), large.text()),
        (429, "declined".into()),
        "never a body without its beginning"
    );
}

#[tokio::test]
async fn nowhere_to_go_is_an_honest_503() {
    let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
    let edge = Edge::unready(&[("us-east", nobody)]).await;
    edge.health("us-east", "down").await;
    let answer = edge.post("/echo", "hello").await;
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert_eq!(
        answer.json()["type"],
        "urn:frontdoor:problem:regions-failed"
    );
    assert_eq!(edge.admin("/ready").await.status, 503);
}
