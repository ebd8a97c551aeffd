//! Streams: events as they come, broken ones broken, and a caller's leave is noticed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream;
use http::Response;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use test_support::client::{Protocol, full};
use test_support::eventually::eventually;
use test_support::region::{Region, Reply};

use crate::harness::{Edge, request};

/// An answer of `count` events, 20 ms apart, that breaks off at the end if told to.
fn events(count: u32, breaks: bool) -> Reply {
    let frames = stream::unfold(0, move |n| async move {
        if n == count {
            let error = breaks.then(|| Err(std::io::Error::other("the worker died")));
            return error.map(|e| (e, n + 1));
        }
        if n > count {
            return None;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        Some((
            Ok(Frame::data(Bytes::from(format!("data: {n}\n\n")))),
            n + 1,
        ))
    });
    Response::builder()
        .header("content-type", "text/event-stream")
        .body(http_body_util::combinators::BoxBody::new(StreamBody::new(
            Box::pin(sync(frames)),
        )))
        .expect("valid")
}

/// The boxed body must be `Sync`; the stream is only ever polled by one task.
fn sync<S>(stream: S) -> impl stream::Stream<Item = S::Item> + Send + Sync
where
    S: stream::Stream + Send + 'static,
    S::Item: Send + 'static,
{
    let (tx, rx) = tokio::sync::mpsc::channel(1);
    tokio::spawn(async move {
        let mut stream = Box::pin(stream);
        while let Some(item) = futures_util::StreamExt::next(&mut stream).await {
            if tx.send(item).await.is_err() {
                return;
            }
        }
    });
    stream::unfold(rx, |mut rx| async move {
        rx.recv().await.map(|item| (item, rx))
    })
}

#[tokio::test]
async fn events_arrive_one_by_one() {
    let region = Region::start(|_| async { events(10, false) })
        .await
        .expect("a port");
    let edge = Edge::start(&[("us-east", region.address)]).await;
    for protocol in [Protocol::H1, Protocol::H2] {
        let mut client = edge.client(protocol).await;
        let started = Instant::now();
        let mut body = client
            .send(request("POST", "/sse").body(full("{}")).expect("valid"))
            .await
            .expect("a head")
            .into_body();
        let (mut seen, mut first) = (0, None);
        while let Some(frame) = body.frame().await {
            let data = frame.expect("whole").into_data().expect("data");
            first.get_or_insert_with(|| started.elapsed());
            seen += data.windows(5).filter(|w| w == b"data:").count();
        }
        assert_eq!(seen, 10);
        assert!(
            first.expect("events") < Duration::from_millis(150),
            "the first event waited for the others: {first:?}"
        );
        assert!(started.elapsed() >= Duration::from_millis(200));
    }
}

#[tokio::test]
async fn a_stream_that_breaks_never_ends_cleanly() {
    let region = Region::start(|_| async { events(3, true) })
        .await
        .expect("a port");
    let edge = Edge::start(&[("us-east", region.address)]).await;
    for protocol in [Protocol::H1, Protocol::H2] {
        let mut client = edge.client(protocol).await;
        let answer = client
            .call(request("POST", "/sse").body(full("{}")).expect("valid"))
            .await;
        let error = answer.expect_err("a broken stream must not look whole");
        assert!(!error.to_string().contains("within a minute"), "{error}");
    }
    eventually("both are counted", Duration::from_secs(2), async || {
        (edge.counter("requests_total", "broken").await >= 2.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_container_that_breaks_off_does_not_condemn_its_region() {
    let region = Region::start(|_| async { events(0, true) })
        .await
        .expect("a port");
    let edge = Edge::start(&[("us-east", region.address)]).await;
    let mut client = edge.client(Protocol::H2).await;
    for _ in 0..40 {
        let call = request("POST", "/sse").body(full("{}")).expect("valid");
        client.call(call).await.expect_err("it breaks off");
    }
    eventually("all are counted", Duration::from_secs(2), async || {
        (edge.counter("requests_total", "broken").await >= 40.0).then_some(())
    })
    .await;
    // Tallies are collected ten times a second.
    tokio::time::sleep(Duration::from_millis(300)).await;
    edge.health("us-east", "up").await;
    let transitions = edge.counter("transitions_total", "").await;
    assert!(
        (transitions - 1.0).abs() < f64::EPSILON,
        "it came up, and that is all: {transitions}"
    );
}

#[tokio::test]
async fn a_caller_that_leaves_frees_the_region_at_once() {
    let left = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&left);
    let region = Region::start(move |_| {
        let guard = OnDrop(Arc::clone(&told));
        async move {
            let _guard = guard;
            tokio::time::sleep(Duration::from_secs(60)).await;
            events(0, false)
        }
    })
    .await
    .expect("a port");
    let edge = Edge::start(&[("us-east", region.address)]).await;
    let mut client = edge.client(Protocol::H2).await;
    let call = tokio::spawn(async move {
        client
            .call(request("POST", "/x").body(full("{}")).expect("valid"))
            .await
    });
    eventually(
        "the region holds the call",
        Duration::from_secs(2),
        async || (region.calls() == 1).then_some(()),
    )
    .await;
    call.abort();
    let started = Instant::now();
    eventually("the region was told", Duration::from_secs(2), async || {
        left.load(Ordering::SeqCst).then_some(())
    })
    .await;
    assert!(
        started.elapsed() < Duration::from_millis(200),
        "{:?}",
        started.elapsed()
    );
    eventually("it is counted", Duration::from_secs(2), async || {
        (edge.counter("requests_total", "gone").await >= 1.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_slow_reader_holds_up_nobody() {
    // More than the window of a whole connection to a region once was.
    const LARGE: usize = 16 << 20;
    let region = Region::start(|request| async move {
        let large = request.uri().path() == "/large";
        test_support::region::reply(
            200,
            &[],
            if large {
                vec![7; LARGE]
            } else {
                b"ok".to_vec()
            },
        )
    })
    .await
    .expect("a port");
    let edge = Edge::start(&[("us-east", region.address)]).await;
    let mut unread = Vec::new();
    for _ in 0..8 {
        let mut slow = edge.client(Protocol::H2).await;
        let call = request("GET", "/large").body(full("")).expect("valid");
        let body = slow.send(call).await.expect("a head").into_body();
        unread.push((slow, body));
    }
    for _ in 0..20 {
        let answer = tokio::time::timeout(Duration::from_secs(2), edge.post("/small", "x")).await;
        assert_eq!(answer.expect("not held up").text(), "ok");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for (_slow, body) in unread {
        let body = body.collect().await.expect("whole").to_bytes();
        assert_eq!(
            body.len(),
            LARGE,
            "and a slow reader gets all of it in the end"
        );
    }
}

struct OnDrop(Arc<AtomicBool>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
