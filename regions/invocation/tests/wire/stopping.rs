//! The order of a stop, and the start without or with a wrong NATS.

use std::time::{Duration, Instant};

use frontdoor_invocation::{RunError, config};
use frontdoor_protocol::report::Report;
use futures_util::StreamExt as _;
use http::{Method, Version};
use tokio_util::sync::CancellationToken;

use crate::client::{Connection, Reply, ask, call, empty, full, get};
use crate::interop::{begun, done};
use crate::polls::poll;
use crate::worker::{Puller, bring};
use crate::world::{Choices, World, until};

#[tokio::test]
async fn a_stop_finishes_what_runs_and_what_is_queued() {
    let mut world = World::with(Choices {
        notice: "300ms",
        ..Choices::default()
    })
    .await;
    let puller = Puller::new(&world).await;
    let front = world.front;
    let caller = || {
        tokio::spawn(async move {
            let mut connection = Connection::open(front, Version::HTTP_2).await.unwrap();
            let request = call(Method::POST, "/", empty());
            Reply::read(connection.send(request).await.unwrap()).await
        })
    };
    let (one, two) = (caller(), caller());
    let running = puller.next().await;
    let queued = puller.next().await;
    let mut running = running.claim().await.expect("granted");

    let began = Instant::now();
    world.shutdown.cancel();
    until("bad health", || async {
        let reply = get(front, "localhost", "/health").await?;
        (reply.status == 503 && reply.text().contains("draining")).then_some(())
    })
    .await;
    assert!(began.elapsed() < Duration::from_millis(250), "at once");
    let ready = get(world.admin, "localhost", "/ready").await.unwrap();
    assert_eq!(ready.status, 503);
    assert!(ready.text().contains("draining"));

    // After the notice new calls are refused, but workers may still attach.
    until("refused calls", || async {
        let mut request = call(Method::POST, "/", empty());
        let header = http::HeaderValue::from_static("1");
        request.headers_mut().insert("nvcf-poll-seconds", header);
        let reply = ask(&world, Version::HTTP_2, request).await;
        (reply.status == 503).then(|| {
            assert_eq!(reply.header("frontdoor-execution"), Some("not-started"));
            assert!(reply.header("retry-after").is_some());
        })
    })
    .await;
    let mut queued = queued.claim().await.expect("granted while draining");
    for claimed in [&mut running, &mut queued] {
        claimed.head(200, &[]).await;
        claimed.data("finished").await;
    }
    running.finish().await.expect("the caller has everything");
    queued.finish().await.expect("the caller has everything");
    for caller in [one, two] {
        let reply = caller.await.unwrap().unwrap();
        assert_eq!((reply.status, reply.text().as_str()), (200, "finished"));
    }
    world.stopped().await.expect("in order");
    assert!(get(front, "localhost", "/health").await.is_none());
}

#[tokio::test]
async fn an_idle_service_stops_after_the_notice() {
    let mut world = World::start().await;
    let began = Instant::now();
    world.shutdown.cancel();
    world.stopped().await.expect("in order");
    assert!(
        began.elapsed() < Duration::from_secs(1),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn what_outlasts_the_grace_is_cut() {
    let mut world = World::with(Choices {
        grace: "200ms",
        ..Choices::default()
    })
    .await;
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
    world.shutdown.cancel();
    let (read, stopped) = tokio::join!(Reply::read(response.unwrap()), world.stopped());
    assert!(read.is_err(), "never a clean end");
    stopped.expect("in order");
    assert!(claimed.caller_left().await);
}

#[tokio::test]
async fn what_is_queued_at_the_end_of_the_grace_is_told_so() {
    for (workers, said) in [("claiming", "not-started"), ("late", "started")] {
        let mut world = World::with(Choices {
            grace: "200ms",
            workers,
            ..Choices::default()
        })
        .await;
        let puller = Puller::new(&world).await;
        let caller = |version| {
            let front = world.front;
            tokio::spawn(async move {
                let mut connection = Connection::open(front, version).await.unwrap();
                let sent = connection.send(call(Method::POST, "/", empty())).await;
                Reply::read(sent.expect("no reset")).await.unwrap()
            })
        };
        let callers = [Version::HTTP_11, Version::HTTP_2].map(caller);
        for _ in 0..2 {
            puller.next().await;
        }
        world.shutdown.cancel();
        for caller in callers {
            let reply = caller.await.unwrap();
            assert_eq!(reply.status, 503);
            assert_eq!(reply.header("frontdoor-execution"), Some(said));
        }
        world.stopped().await.expect("in order");
    }
}

#[tokio::test]
async fn a_result_does_not_wait_for_nats() {
    let world = World::with(Choices {
        workers: "late",
        ..Choices::default()
    })
    .await;
    let (_, id, mut asked) = begun(&world, "pexec", "in").await;
    let worker = async {
        let question = asked.next().await;
        // Time for its acknowledgement to come through.
        tokio::time::sleep(Duration::from_millis(200)).await;
        world.nats.freeze();
        let frozen = Instant::now();
        bring(&question, full(done("1"))).await.unwrap();
        frozen
    };
    let (reply, frozen) = tokio::join!(poll(&world, "pexec", &id, "20"), worker);
    let took = frozen.elapsed();
    assert_eq!((reply.status, reply.text().as_str()), (200, "1"));
    assert!(took < Duration::from_secs(1), "{took:?}");
    world.nats.thaw();
}

#[tokio::test]
async fn reports_come_every_second_and_when_a_drain_begins() {
    let world = World::with(Choices {
        notice: "2s",
        ..Choices::default()
    })
    .await;
    let nats = world.nats_client().await;
    let mut reports = nats.subscribe("fd.report.us-east").await.unwrap();
    let mut next = async || {
        let report = tokio::time::timeout(Duration::from_secs(3), reports.next());
        Report::decode(&report.await.expect("in time").unwrap().payload).unwrap()
    };
    let (one, two) = (next().await, next().await);
    assert_eq!((two.seq, two.epoch), (one.seq + 1, one.epoch));
    assert!(!two.draining);
    let began = Instant::now();
    world.shutdown.cancel();
    let three = next().await;
    assert!(three.draining && began.elapsed() < Duration::from_millis(500));
}

#[tokio::test]
async fn a_queue_of_another_kind_is_refused_at_start() {
    let mut world = World::start().await;
    world.shutdown.cancel();
    world.stopped().await.expect("in order");
    let jetstream = async_nats::jetstream::new(world.nats_client().await);
    let name = format!("rq_us-east_{}", crate::world::VERSION);
    jetstream.delete_stream(&name).await.unwrap();
    let wrong = async_nats::jetstream::stream::Config {
        subjects: vec![format!("rq.us-east.{}.>", crate::world::VERSION)],
        name,
        ..Default::default()
    };
    jetstream.create_stream(wrong).await.unwrap();
    let settings = config::load(&world.file()).unwrap();
    let error = frontdoor_invocation::run(settings, CancellationToken::new())
        .await
        .expect_err("refused");
    assert!(matches!(error, RunError::Stream(_)));
    assert!(error.to_string().contains("retention"), "{error}");
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let world = World::start().await;
    let settings = config::load(&world.file()).unwrap();
    let error = frontdoor_invocation::run(settings, CancellationToken::new())
        .await
        .expect_err("taken");
    assert!(error.to_string().contains(&world.front.to_string()));
}
