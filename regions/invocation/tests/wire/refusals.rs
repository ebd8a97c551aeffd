//! Calls that no container answers: statuses, problems, truth about execution, and how long they take.

use std::time::{Duration, Instant};

use frontdoor_protocol::subject;
use http::header::{AUTHORIZATION, HeaderName};
use http::{HeaderValue, Method, Version};

use crate::client::{Reply, ask, call, empty, get};
use crate::worker::Puller;
use crate::world::{Choices, DOMAIN, FUNCTION, OTHER_KEY, REGION, UNKNOWN, VERSION, World, until};

async fn changed(world: &World, uri: Option<&str>, headers: &[(&str, Option<&str>)]) -> Reply {
    let mut request = call(Method::POST, "/", empty());
    if let Some(uri) = uri {
        *request.uri_mut() = uri.parse().unwrap();
    }
    for (name, value) in headers {
        let name: HeaderName = name.parse().unwrap();
        match value {
            Some(value) => {
                let value = HeaderValue::from_str(value).unwrap();
                request.headers_mut().insert(name, value);
            }
            None => _ = request.headers_mut().remove(name),
        }
    }
    ask(world, Version::HTTP_2, request).await
}

fn check(reply: &Reply, status: u16, execution: &str) {
    assert_eq!(reply.status, status, "{}", reply.text());
    assert_eq!(reply.problem()["status"], status);
    assert_eq!(reply.header("frontdoor-execution"), Some(execution));
    assert_eq!(reply.header("nvcf-status"), Some("errored"));
    assert!(reply.header("nvcf-reqid").is_some());
    assert_eq!(reply.header("frontdoor-region"), Some("us-east"));
}

#[tokio::test]
async fn wrong_requests_are_told_what_is_wrong() {
    let world = World::start().await;
    let bearer = |key: &str| format!("Bearer {key}");
    let auth = AUTHORIZATION.as_str();
    let (wrong, other) = (bearer("wrong"), bearer(OTHER_KEY));
    let unknown = format!("http://{UNKNOWN}.{DOMAIN}/");
    let version = format!("http://{UNKNOWN}.{FUNCTION}.{DOMAIN}/");
    for (uri, header, status) in [
        (None, (auth, None), 401),
        (None, (auth, Some("Basic eDp5")), 401),
        (None, (auth, Some("Bearer ")), 401),
        (None, (auth, Some(&*wrong)), 401),
        (None, (auth, Some(&*other)), 403),
        (Some(&*unknown), ("x-a", None), 404),
        (Some(&*version), ("x-a", None), 404),
        (None, ("nvcf-poll-seconds", Some("soon")), 400),
        (None, ("nvcf-poll-seconds", Some("3601")), 400),
        (None, ("function-id", Some("x")), 400),
        (None, ("function-id", Some(UNKNOWN)), 400),
    ] {
        let reply = changed(&world, uri, &[header]).await;
        check(&reply, status, "not-started");
        assert_eq!(reply.header("www-authenticate").is_some(), status == 401);
    }
    let reply = changed(&world, Some("http://localhost/x"), &[]).await;
    check(&reply, 404, "not-started");
    let detail = reply.problem()["detail"].to_string();
    assert!(
        detail.contains("<function-id>.invocation.localhost"),
        "{detail}"
    );
}

#[tokio::test]
async fn nobody_there_is_said_at_the_deadline() {
    let world = World::start().await;
    let began = Instant::now();
    let reply = changed(&world, None, &[("nvcf-poll-seconds", Some("1"))]).await;
    let took = began.elapsed();
    check(&reply, 504, "not-started");
    let detail = reply.problem()["detail"].to_string();
    assert!(detail.contains("none is known here"), "{detail}");
    assert!(
        (Duration::from_secs(1)..Duration::from_millis(1_500)).contains(&took),
        "{took:?}"
    );
    // Nothing is left for a worker that comes later.
    let jetstream = async_nats::jetstream::new(world.nats_client().await);
    until("an empty queue", || async {
        let name = format!("rq_us-east_{}", VERSION);
        let stream = jetstream.get_stream(name).await.ok()?;
        (stream.cached_info().state.messages == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_slow_container_is_said_to_have_started() {
    let world = World::start().await;
    let puller = Puller::new(&world).await;
    let worker = async {
        let claimed = puller.next().await.claim().await.expect("granted");
        assert!(claimed.caller_left().await);
    };
    let caller = changed(&world, None, &[("nvcf-poll-seconds", Some("1"))]);
    let (reply, ()) = tokio::join!(caller, worker);
    check(&reply, 504, "started");
}

#[tokio::test]
async fn only_trusted_edges_name_calls_and_shorten_waits() {
    let id = "0196f0c2-7e1f-8a55-8a2e-3d1b5f0c9a11";
    let headers = [
        ("nvcf-reqid", Some(id)),
        ("frontdoor-remaining-ms", Some("200")),
        ("nvcf-poll-seconds", Some("1")),
    ];
    let trusting = World::with(Choices {
        trusted: "\"127.0.0.0/8\"",
        ..Choices::default()
    })
    .await;
    let began = Instant::now();
    let reply = changed(&trusting, None, &headers).await;
    assert!(began.elapsed() < Duration::from_millis(900));
    check(&reply, 504, "not-started");
    assert_eq!(reply.header("nvcf-reqid"), Some(id));

    let wary = World::start().await;
    let began = Instant::now();
    let reply = changed(&wary, None, &headers).await;
    assert!(began.elapsed() >= Duration::from_secs(1));
    assert_ne!(reply.header("nvcf-reqid"), Some(id));
}

#[tokio::test]
async fn too_many_waiting_calls_are_turned_away() {
    let world = World::with(Choices {
        waiting: 1,
        ..Choices::default()
    })
    .await;
    let puller = Puller::new(&world).await;
    let first = ask(&world, Version::HTTP_2, call(Method::POST, "/", empty()));
    let second = async {
        let work = puller.next().await;
        let reply = changed(&world, None, &[]).await;
        check(&reply, 429, "not-started");
        assert_eq!(reply.header("retry-after"), Some("1"), "nothing ends yet");
        let mut claimed = work.claim().await.expect("granted");
        claimed.head(200, &[]).await;
        claimed.finish().await.expect("the caller has everything");
    };
    let (reply, ()) = tokio::join!(first, second);
    assert_eq!(reply.status, 200);
}

#[tokio::test]
async fn one_accounts_flood_keeps_no_other_out() {
    let hash = hex::encode(<sha2::Sha256 as sha2::Digest>::digest("neighbour"));
    let world = World::with(Choices {
        account: Some(2),
        auth: format!("[[keys]]\nname = \"neighbour\"\nsha256 = {hash:?}\nfunctions = [\"*\"]\n"),
        ..Choices::default()
    })
    .await;
    let puller = Puller::new(&world).await;
    let neighbour = [("authorization", Some("Bearer neighbour"))];
    let calls = async {
        tokio::join!(
            changed(&world, None, &[]),
            changed(&world, None, &[]),
            async {
                until("both are here", || async {
                    let line = "frontdoor_invocation_queued_calls 2";
                    world.metric(line).await.then_some(())
                })
                .await;
                let third = changed(&world, None, &[]).await;
                check(&third, 429, "not-started");
                assert!(third.header("retry-after").is_some());
                assert_eq!(
                    third.problem()["type"],
                    "urn:frontdoor:problem:too-many-calls-of-account"
                );
                changed(&world, None, &neighbour).await
            }
        )
    };
    let worker = async {
        // Not before all three wait.
        until("the neighbour's is here", || async {
            let line = "frontdoor_invocation_queued_calls 3";
            world.metric(line).await.then_some(())
        })
        .await;
        for _ in 0..3 {
            let mut claimed = puller.next().await.claim().await.expect("granted");
            claimed.head(200, &[]).await;
            claimed.finish().await.expect("the caller has everything");
        }
    };
    let ((first, second, other), ()) = tokio::join!(calls, worker);
    assert_eq!([first.status, second.status, other.status], [200; 3]);
    // Their room is given back.
    let worker = async {
        let mut claimed = puller.next().await.claim().await.expect("granted");
        claimed.head(200, &[]).await;
        claimed.finish().await.expect("the caller has everything");
    };
    let (reply, ()) = tokio::join!(changed(&world, None, &[]), worker);
    assert_eq!(reply.status, 200);
}

#[tokio::test]
async fn a_call_with_the_id_of_a_queued_one_is_a_conflict() {
    let world = World::with(Choices {
        trusted: "\"127.0.0.0/8\"",
        ..Choices::default()
    })
    .await;
    let puller = Puller::new(&world).await;
    let headers = [("nvcf-reqid", Some("0196f0c2-7e1f-8a55-8a2e-3d1b5f0c9a11"))];
    let first = changed(&world, None, &headers);
    let second = async {
        let work = puller.next().await;
        let reply = changed(&world, None, &headers).await;
        check(&reply, 409, "started");
        let mut claimed = work.claim().await.expect("the first is untouched");
        claimed.head(200, &[]).await;
        claimed.finish().await.expect("the caller has everything");
    };
    let (reply, ()) = tokio::join!(first, second);
    assert_eq!(reply.status, 200);
}

#[tokio::test]
async fn a_full_queue_is_said_to_be_full() {
    let world = World::start().await;
    let jetstream = async_nats::jetstream::new(world.nats_client().await);
    let name = format!("rq_us-east_{}", VERSION);
    let stream = jetstream.get_stream(&name).await.unwrap();
    let small = async_nats::jetstream::stream::Config {
        max_messages: 1,
        ..stream.cached_info().config.clone()
    };
    jetstream.update_stream(small).await.unwrap();
    let puller = Puller::new(&world).await;
    let first = changed(&world, None, &[]);
    let second = async {
        until("a queued call", || async {
            let stream = jetstream.get_stream(&name).await.ok()?;
            (stream.cached_info().state.messages == 1).then_some(())
        })
        .await;
        let reply = changed(&world, None, &[]).await;
        check(&reply, 429, "not-started");
        let mut claimed = puller.next().await.claim().await.expect("granted");
        claimed.head(200, &[]).await;
        claimed.finish().await.expect("the caller has everything");
    };
    let (reply, ()) = tokio::join!(first, second);
    assert_eq!(reply.status, 200);
}

#[tokio::test]
async fn without_nats_calls_are_refused_at_once_and_taken_again_later() {
    let mut world = World::with(Choices {
        patience: "0s",
        ..Choices::default()
    })
    .await;
    let front = world.front;
    let killed = Instant::now();
    let port = world.nats.port;
    world.nats.kill();
    let health = until("bad health", || async {
        let reply = get(front, "localhost", "/health").await?;
        (reply.status == 503).then_some(reply)
    })
    .await;
    assert!(killed.elapsed() < Duration::from_secs(2));
    assert_eq!(health.header("frontdoor-execution"), Some("not-started"));
    let began = Instant::now();
    let reply = changed(&world, None, &[]).await;
    check(&reply, 503, "not-started");
    assert!(began.elapsed() < Duration::from_millis(200));

    // A new, empty server: the queues are made again and calls go on.
    world.nats = crate::world::Nats::start(Some(port)).await;
    until("good health", || async {
        let reply = get(front, "localhost", "/health").await?;
        (reply.status == 200).then_some(())
    })
    .await;
    let puller = Puller::new(&world).await;
    let worker = async {
        let mut claimed = puller.next().await.claim().await.expect("granted");
        claimed.head(200, &[]).await;
        claimed.finish().await.expect("the caller has everything");
    };
    let (reply, ()) = tokio::join!(changed(&world, None, &[]), worker);
    assert_eq!(reply.status, 200);
}

#[tokio::test]
async fn a_waiting_call_learns_that_nats_is_lost() {
    let mut world = World::with(Choices {
        patience: "300ms",
        ..Choices::default()
    })
    .await;
    let mut request = call(Method::POST, "/", empty());
    let patience = HeaderValue::from_static("20");
    request.headers_mut().insert("nvcf-poll-seconds", patience);
    let front = world.front;
    let caller = tokio::spawn(async move {
        let mut connection = crate::client::Connection::open(front, Version::HTTP_2)
            .await
            .unwrap();
        Reply::read(connection.send(request).await.unwrap()).await
    });
    until("a queued call", || async {
        let line = "frontdoor_invocation_queued_calls 1";
        world.metric(line).await.then_some(())
    })
    .await;
    let killed = Instant::now();
    world.nats.kill();
    let reply = caller.await.unwrap().unwrap();
    check(&reply, 503, "not-started");
    assert!(killed.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn a_frozen_nats_costs_two_seconds_at_most() {
    let world = World::start().await;
    world.nats.freeze();
    let began = Instant::now();
    let reply = changed(&world, None, &[]).await;
    check(&reply, 503, "not-started");
    assert!(began.elapsed() < Duration::from_millis(2_500));
}

#[tokio::test]
async fn a_deleted_stream_is_made_again_by_the_next_call() {
    let world = World::start().await;
    let jetstream = async_nats::jetstream::new(world.nats_client().await);
    let name = format!("rq_us-east_{}", VERSION);
    jetstream.delete_stream(name).await.unwrap();
    let caller = changed(&world, None, &[("nvcf-poll-seconds", Some("5"))]);
    let worker = async {
        let puller = until("a new consumer", || async {
            let name = format!("rq_us-east_{}", VERSION);
            jetstream.get_stream(name).await.ok()?;
            Some(Puller::new(&world).await)
        })
        .await;
        let mut claimed = puller.next().await.claim().await.expect("granted");
        claimed.head(200, &[]).await;
        claimed.finish().await.expect("the caller has everything");
    };
    let (reply, ()) = tokio::join!(caller, worker);
    assert_eq!(reply.status, 200);
}

#[tokio::test]
async fn a_deleted_consumer_is_made_again_soon() {
    let world = World::start().await;
    let jetstream = async_nats::jetstream::new(world.nats_client().await);
    let (region, version) = (REGION.parse().unwrap(), VERSION.parse().unwrap());
    let stream = jetstream
        .get_stream(subject::work_stream(&region, version))
        .await
        .unwrap();
    let name = subject::work_consumer(&region, version);
    stream.delete_consumer(&name).await.unwrap();
    assert!(stream.consumer_info(&name).await.is_err());
    let began = Instant::now();
    until("the consumer", || async {
        stream.consumer_info(&name).await.ok()
    })
    .await;
    assert!(began.elapsed() < Duration::from_secs(6));
}
