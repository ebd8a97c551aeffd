//! A call stays queued whatever becomes of its message: lost with a server, delivered to a dead worker, taken out, its
//! ack lost. And it is run once.

use std::time::{Duration, Instant};

use async_nats::jetstream;
use http::{HeaderValue, Method, StatusCode, Version};
use tokio::task::JoinHandle;

use crate::client::{Connection, Reply, call, empty};
use crate::worker::{Puller, Work};
use crate::world::{Choices, Nats, VERSION, World, until};

/// A caller who waits for 20 s.
fn caller(world: &World, headers: &[(&'static str, &'static str)]) -> JoinHandle<Reply> {
    let front = world.front;
    let mut request = call(Method::POST, "/", empty());
    for (name, value) in [("nvcf-poll-seconds", "20")].iter().chain(headers) {
        let value = HeaderValue::from_static(value);
        request.headers_mut().insert(*name, value);
    }
    tokio::spawn(async move {
        let mut connection = Connection::open(front, Version::HTTP_2).await.unwrap();
        Reply::read(connection.send(request).await.unwrap())
            .await
            .unwrap()
    })
}

async fn serve(work: Work) {
    let mut claimed = work.claim().await.expect("granted");
    claimed.head(200, &[]).await;
    claimed.finish().await.expect("the caller has everything");
    work.ack().await;
}

async fn queued(world: &World, calls: usize) {
    until("queued calls", || async {
        let jetstream = jetstream::new(world.nats_client().await);
        let stream = jetstream.get_stream(format!("rq_us-east_{VERSION}"));
        let messages = stream.await.ok()?.cached_info().state.messages;
        (messages == calls as u64).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_message_that_nobody_claims_goes_to_the_next_worker() {
    let world = World::start().await;
    let puller = Puller::new(&world).await;
    let waiting = caller(&world, &[]);
    // To a worker that dies before it claims.
    let lost = puller.next().await;
    let began = Instant::now();
    let again = puller.next().await;
    let took = began.elapsed();
    assert_eq!(again.item.request_id, lost.item.request_id);
    assert!(
        took > Duration::from_millis(800),
        "not while a claim may come: {took:?}"
    );
    assert!(took < Duration::from_secs(3), "{took:?}");
    serve(again).await;
    // It was alive after all.
    let late = lost.claim().await.err();
    assert!(matches!(
        late,
        Some(StatusCode::GONE | StatusCode::UNAUTHORIZED)
    ));
    lost.ack().await;
    assert_eq!(waiting.await.unwrap().status, 200);
    queued(&world, 0).await;
    assert!(
        world
            .metric("frontdoor_invocation_requeued_calls_total 1")
            .await
    );
}

#[tokio::test]
async fn a_late_worker_gets_a_call_once() {
    let world = World::with(Choices {
        workers: "late",
        ..Choices::default()
    })
    .await;
    let puller = Puller::new(&world).await;
    let waiting = caller(&world, &[("nvcf-poll-seconds", "4")]);
    let _running = puller.next().await;
    assert_eq!(waiting.await.unwrap().status, 504);
    assert!(
        world
            .metric("frontdoor_invocation_requeued_calls_total 0")
            .await
    );
}

#[tokio::test]
async fn a_restart_of_nats_fails_no_call_that_has_not_begun() {
    let mut world = World::with(Choices {
        patience: "10s",
        ..Choices::default()
    })
    .await;
    let mut waiting: Vec<_> = (0..20).map(|_| caller(&world, &[])).collect();
    queued(&world, 20).await;
    let port = world.nats.port;
    world.nats.kill();
    // Those that come while it is away wait as well.
    waiting.extend((0..5).map(|_| caller(&world, &[])));
    world.nats = Nats::start(Some(port)).await;
    queued(&world, 25).await;
    let puller = Puller::new(&world).await;
    for _ in 0..25 {
        serve(puller.next().await).await;
    }
    for caller in waiting {
        let reply = caller.await.unwrap();
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
}

#[tokio::test]
async fn a_lost_ack_costs_no_call_and_runs_none_twice() {
    let world = World::start().await;
    let puller = Puller::new(&world).await;
    world.nats.freeze();
    let waiting = caller(&world, &[]);
    // Longer than the wait for an ack: the call is published more than once.
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    world.nats.thaw();
    serve(puller.next().await).await;
    assert_eq!(waiting.await.unwrap().status, 200);
    queued(&world, 0).await;
}

#[tokio::test]
async fn what_somebody_takes_out_of_the_queue_is_put_there_again() {
    let world = World::start().await;
    let waiting = caller(&world, &[]);
    queued(&world, 1).await;
    let jetstream = jetstream::new(world.nats_client().await);
    let stream = jetstream.get_stream(format!("rq_us-east_{VERSION}"));
    stream.await.unwrap().purge().await.unwrap();
    let puller = Puller::new(&world).await;
    serve(puller.next().await).await;
    assert_eq!(waiting.await.unwrap().status, 200);
}

#[tokio::test]
async fn a_call_that_could_go_elsewhere_does_not_wait_for_nats() {
    let mut world = World::with(Choices {
        trusted: "\"127.0.0.0/8\"",
        patience: "20s",
        ..Choices::default()
    })
    .await;
    let movable = [("frontdoor-movable", "1")];
    let waiting = caller(&world, &movable);
    queued(&world, 1).await;
    let began = Instant::now();
    world.nats.kill();
    for caller in [waiting, caller(&world, &movable)] {
        let reply = caller.await.unwrap();
        assert_eq!(reply.status, 503);
        assert_eq!(reply.header("frontdoor-execution"), Some("not-started"));
    }
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
}

/// NVIDIA's streams know no TTLs; ours drop by themselves what no caller waits for any more.
#[tokio::test]
async fn messages_say_how_long_they_matter_where_the_stream_takes_it() {
    let world = World::start().await;
    let jetstream = jetstream::new(world.nats_client().await);
    let puller = Puller::new(&world).await;
    let waiting = caller(&world, &[]);
    let work = puller.next().await;
    let ttl: u64 = work.header("Nats-TTL").expect("set").parse().unwrap();
    assert!((20..=22).contains(&ttl), "{ttl}");
    serve(work).await;
    assert_eq!(waiting.await.unwrap().status, 200);

    let name = format!("rq_us-east_{VERSION}");
    let mut config = jetstream
        .get_stream(&name)
        .await
        .unwrap()
        .cached_info()
        .config
        .clone();
    assert!(config.allow_message_ttl);
    jetstream.delete_stream(&name).await.unwrap();
    config.allow_message_ttl = false;
    jetstream.create_stream(config).await.unwrap();
    // It is known as what it is once it was looked at.
    let puller = until("the consumer", || async {
        let stream = jetstream.get_stream(&name).await.ok()?;
        stream.consumer_info(format!("{name}_workers")).await.ok()?;
        Some(Puller::new(&world).await)
    })
    .await;
    let waiting = caller(&world, &[]);
    let work = puller.next().await;
    assert_eq!(work.header("Nats-TTL"), None);
    serve(work).await;
    assert_eq!(waiting.await.unwrap().status, 200);
}

#[tokio::test]
async fn the_queue_is_made_as_nvcf_makes_it() {
    use async_nats::jetstream::consumer::AckPolicy;
    use async_nats::jetstream::stream::{DiscardPolicy, RetentionPolicy, StorageType};
    let world = World::start().await;
    let jetstream = jetstream::new(world.nats_client().await);
    let name = format!("rq_us-east_{VERSION}");
    let stream = jetstream.get_stream(&name).await.unwrap();
    let config = &stream.cached_info().config;
    assert_eq!(config.subjects, [format!("rq.us-east.{VERSION}.>")]);
    assert_eq!(config.storage, StorageType::Memory);
    assert_eq!(config.retention, RetentionPolicy::WorkQueue);
    assert_eq!(config.discard, DiscardPolicy::New);
    assert!(config.discard_new_per_subject && config.allow_direct);
    assert_eq!(
        (config.max_messages, config.max_messages_per_subject),
        (100_000, 1)
    );
    assert_eq!(config.max_message_size, 6 << 20);
    assert_eq!(config.duplicate_window, Duration::from_secs(5));
    let consumer = stream
        .consumer_info(format!("{name}_workers"))
        .await
        .unwrap();
    let config = consumer.config;
    assert_eq!(config.ack_policy, AckPolicy::Explicit);
    assert_eq!(config.ack_wait, Duration::from_secs(30));
    assert_eq!(
        (config.max_ack_pending, config.max_waiting),
        (100_000, 100_000)
    );
}
