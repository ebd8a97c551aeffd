//! Answers that take their time: events pass as they come, breaks are seen, callers may leave.

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use http::{Method, Version};
use http_body_util::BodyExt as _;

use crate::client::{Connection, Reply, call, empty};
use crate::worker::Puller;
use crate::world::{VERSION, World};

const BOTH: [Version; 2] = [Version::HTTP_11, Version::HTTP_2];

#[tokio::test]
async fn events_pass_as_they_come() {
    let world = World::start().await;
    let puller = Puller::new(&world).await;
    for version in BOTH {
        let mut connection = Connection::open(world.front, version).await.unwrap();
        let sent = connection.send(call(Method::POST, "/", empty()));
        let (response, mut claimed) = tokio::join!(sent, async {
            let mut claimed = puller.next().await.claim().await.expect("granted");
            let headers = [("content-type", "text/event-stream")];
            claimed.head(200, &headers).await;
            claimed
        });
        let mut body = response.unwrap().into_body();
        // Each event is sent only once the one before it was seen: nothing waits for more.
        for n in 0..20 {
            let event = format!("data: {n}\n\n");
            claimed.data(event.clone()).await;
            let frame = tokio::time::timeout(Duration::from_secs(2), body.frame());
            let frame = frame.await.expect("in time").unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), event);
        }
        let (ended, finished) = tokio::join!(body.collect(), claimed.finish());
        assert!(ended.expect("a clean end").to_bytes().is_empty());
        finished.expect("the caller has everything");
    }
}

#[tokio::test]
async fn a_broken_answer_never_ends_clean() {
    let world = World::start().await;
    let puller = Puller::new(&world).await;
    for version in BOTH {
        for length in [&[][..], &[("content-length", "100")]] {
            let mut connection = Connection::open(world.front, version).await.unwrap();
            let sent = connection.send(call(Method::POST, "/", empty()));
            let (response, mut claimed) = tokio::join!(sent, async {
                let mut claimed = puller.next().await.claim().await.expect("granted");
                claimed.head(200, length).await;
                claimed
            });
            claimed.data("some").await;
            let mut body = response.unwrap().into_body();
            assert!(body.frame().await.unwrap().is_ok());
            claimed.break_off().await;
            let end = tokio::time::timeout(Duration::from_secs(5), body.collect());
            assert!(
                end.await.expect("in time").is_err(),
                "{version:?} {length:?}"
            );
        }
    }
}

#[tokio::test]
async fn an_answer_shorter_than_announced_never_ends_clean() {
    let world = World::start().await;
    let puller = Puller::new(&world).await;
    for version in BOTH {
        let mut connection = Connection::open(world.front, version).await.unwrap();
        let sent = connection.send(call(Method::POST, "/", empty()));
        let (response, claimed) = tokio::join!(sent, async {
            let mut claimed = puller.next().await.claim().await.expect("granted");
            claimed.head(200, &[("content-length", "100")]).await;
            claimed.data("some").await;
            claimed
        });
        let (read, finished) = tokio::join!(Reply::read(response.unwrap()), claimed.finish());
        assert!(read.is_err(), "{version:?}");
        assert!(finished.is_err(), "{version:?}");
    }
}

#[tokio::test]
async fn a_worker_lost_before_the_head_is_a_502() {
    let world = World::start().await;
    let puller = Puller::new(&world).await;
    let mut connection = Connection::open(world.front, Version::HTTP_2)
        .await
        .unwrap();
    let sent = connection.send(call(Method::POST, "/", empty()));
    let (response, ()) = tokio::join!(sent, async {
        let claimed = puller.next().await.claim().await.expect("granted");
        claimed.break_off().await;
    });
    let reply = Reply::read(response.unwrap()).await.unwrap();
    assert_eq!(reply.status, 502);
    assert_eq!(reply.header("frontdoor-execution"), Some("started"));
}

/// A caller leaves: while the call is queued, while it runs, in the middle of the answer.
#[tokio::test]
async fn a_caller_that_leaves_cancels_its_call() {
    let world = World::start().await;
    let nats = world.nats_client().await;
    let mut cancels = nats
        .subscribe(format!("nvcf.cancel.{VERSION}"))
        .await
        .unwrap();
    nats.flush().await.unwrap();
    let puller = Puller::new(&world).await;
    for version in BOTH {
        for stage in 0..3 {
            let mut connection = Connection::open(world.front, version).await.unwrap();
            let request = call(Method::POST, "/", empty());
            let mut sent = Box::pin(connection.send(request));
            let work = tokio::select! {
                _ = &mut sent => panic!("no answer yet"),
                work = puller.next() => work,
            };
            let mut claimed = None;
            if stage > 0 {
                claimed = Some(work.claim().await.expect("granted"));
            }
            if stage > 1 {
                claimed.as_mut().unwrap().head(200, &[]).await;
                let response = (&mut sent).await.unwrap();
                assert_eq!(response.status(), 200);
                drop(response);
            }
            drop(sent);
            drop(connection);
            let cancel = tokio::time::timeout(Duration::from_secs(5), cancels.next());
            let cancel = cancel.await.expect("in time").unwrap();
            assert_eq!(cancel.payload, work.item.request_id);
            match claimed {
                Some(claimed) => assert!(claimed.caller_left().await),
                None => assert!(work.claim().await.is_err()),
            }
        }
    }
}

#[tokio::test]
async fn a_slow_caller_slows_its_worker_and_nobody_else() {
    let world = World::start().await;
    let puller = Puller::new(&world).await;
    let mut connection = Connection::open(world.front, Version::HTTP_2)
        .await
        .unwrap();
    let sent = connection.send(call(Method::POST, "/", empty()));
    let (response, claimed) = tokio::join!(sent, async {
        let mut claimed = puller.next().await.claim().await.expect("granted");
        claimed.head(200, &[]).await;
        claimed
    });
    let response = response.unwrap();
    // Nobody reads; far more than all windows and buffers would hold must not fit.
    let piece = vec![0_u8; 64 * 1024];
    let mut sent = 0;
    let stalled = loop {
        let data = claimed.body.send_data(piece.clone().into());
        match tokio::time::timeout(Duration::from_millis(500), data).await {
            Ok(result) => result.unwrap(),
            Err(_) => break true,
        }
        sent += piece.len();
        if sent > 64 * 1024 * 1024 {
            break false;
        }
    };
    assert!(stalled, "{sent} bytes went nowhere");
    drop(response);
    let began = Instant::now();
    assert!(claimed.caller_left().await);
    assert!(began.elapsed() < Duration::from_secs(2));
}
