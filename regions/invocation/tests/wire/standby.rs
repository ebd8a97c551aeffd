//! The short way: a worker's standing stream gets a call without the queue, and what may be said when that fails.

use std::time::{Duration, Instant};

use bytes::BytesMut;
use frontdoor_protocol::attach::handover::{self, Handover};
use frontdoor_protocol::attach::{CLAIM, PATH, STANDBY, WORKER};
use frontdoor_protocol::envelope::WorkerInvokeFunctionRequest;
use frontdoor_protocol::presence::{self, ServicePresence, WorkerPresence};
use frontdoor_protocol::subject;
use futures_util::StreamExt as _;
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use http::{Method, Request, Response, Version};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use prost::Message as _;
use tokio::task::JoinSet;

use crate::client::{BoxBody, Connection, ask, call, empty, full};
use crate::worker::{Feed, Puller, head};
use crate::world::{REGION, VERSION, World, until};

/// A stand-in worker with one standing stream.
struct Stand {
    feed: Feed,
    connection: Connection,
    request: Option<Request<BoxBody>>,
    /// Says that it takes calls, until this is dropped.
    speaks: JoinSet<()>,
}

/// A call that came by it.
struct Got {
    item: WorkerInvokeFunctionRequest,
    feed: Feed,
    response: Response<Incoming>,
    _connection: Connection,
}

async fn ticket(world: &World) -> String {
    let client = world.nats_client().await;
    let own = subject::service_presence(&REGION.parse().unwrap());
    let mut said = client.subscribe(own).await.unwrap();
    let said = tokio::time::timeout(Duration::from_secs(5), said.next()).await;
    let said = ServicePresence::decode(&said.expect("in time").unwrap().payload).unwrap();
    assert!(said.taking);
    assert_eq!(said.attach_url, format!("http://{}", world.front));
    said.ticket
}

impl Stand {
    async fn new(world: &World, ticket: &str, worker: u128) -> Self {
        let mut stand = Self::silent(world, ticket, worker).await;
        let client = world.nats_client().await;
        stand.speaks.spawn(async move {
            let version = VERSION.parse().unwrap();
            let own = subject::worker_presence(&REGION.parse().unwrap(), version);
            let said = WorkerPresence {
                worker: uuid::Uuid::from_u128(worker),
                version,
                standing: presence::Standing::Ready,
                slots: 1,
                free: 1,
                service: Duration::ZERO,
            };
            loop {
                let said = said.encode().into();
                client.publish(own.clone(), said).await.unwrap();
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        });
        let deaf = "frontdoor_invocation_workers 0";
        until("it is heard", || async {
            (!world.metric(deaf).await).then_some(())
        })
        .await;
        stand
    }

    /// One that says nothing of itself.
    async fn silent(world: &World, ticket: &str, worker: u128) -> Self {
        let (feed, body) = Feed::new();
        let request = Request::post(format!("http://{}{PATH}", world.front))
            .header(AUTHORIZATION, format!("Bearer {ticket}"))
            .header(STANDBY, "1")
            .header(WORKER, uuid::Uuid::from_u128(worker).to_string())
            .header("function-version-id", VERSION)
            .body(body)
            .unwrap();
        Self {
            feed,
            connection: Connection::open(world.front, Version::HTTP_2)
                .await
                .unwrap(),
            request: Some(request),
            speaks: JoinSet::new(),
        }
    }

    /// The service's answer, whatever it is.
    async fn answer(&mut self) -> Response<Incoming> {
        let request = self.request.take().unwrap();
        self.connection.send(request).await.unwrap()
    }

    async fn got(mut self) -> Got {
        let mut response = self.answer().await;
        assert_eq!(response.headers().get(CLAIM).unwrap(), "granted");
        let mut bytes = BytesMut::new();
        loop {
            let frame = response.body_mut().frame().await.unwrap().unwrap();
            bytes.extend_from_slice(&frame.into_data().unwrap());
            if let Some(handed) = Handover::decode(&bytes).unwrap() {
                assert!(handed.deadline_ms > 0);
                return Got {
                    item: WorkerInvokeFunctionRequest::decode(handed.item).unwrap(),
                    feed: self.feed,
                    response,
                    _connection: self.connection,
                };
            }
        }
    }
}

impl Got {
    async fn send(&self, bytes: impl Into<bytes::Bytes>) {
        self.feed.send_data(bytes.into()).await.unwrap();
    }

    /// Whether the service says that the caller has everything.
    async fn ended(self) -> bool {
        drop(self.feed);
        let ended = self.response.into_body().collect();
        let ended = tokio::time::timeout(Duration::from_secs(5), ended).await;
        ended.expect("in time").is_ok()
    }
}

async fn standing(world: &World, streams: usize) {
    let line = format!("frontdoor_invocation_standing_streams {streams}");
    until(&line, || async { world.metric(&line).await.then_some(()) }).await;
}

fn post(body: BoxBody) -> Request<BoxBody> {
    call(Method::POST, "/", body)
}

#[tokio::test]
async fn a_call_goes_straight_to_a_standing_stream() {
    let world = World::start().await;
    let ticket = ticket(&world).await;
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let worker = async {
            let got = Stand::new(&world, &ticket, 1).await.got().await;
            assert_eq!(got.item.request_body.as_deref(), Some(&b"ping"[..]));
            got.send(head(201, &[("x-a", "1")])).await;
            got.send("pong").await;
            let mut trailers = HeaderMap::new();
            trailers.insert("x-sum", HeaderValue::from_static("1"));
            got.feed.send_trailers(trailers).await.unwrap();
            assert!(got.ended().await, "the caller has everything");
        };
        let caller = async {
            standing(&world, 1).await;
            ask(&world, version, post(full("ping"))).await
        };
        let (reply, ()) = tokio::join!(caller, worker);
        assert_eq!((reply.status, reply.text().as_str()), (201, "pong"));
        assert_eq!(reply.header("frontdoor-execution"), None);
        if version == Version::HTTP_2 {
            assert_eq!(reply.trailers.unwrap().get("x-sum").unwrap(), "1");
        }
    }
    assert!(
        world
            .metric("frontdoor_invocation_attaches_total{outcome=\"handed\"} 2")
            .await
    );
    assert!(
        world
            .metric("frontdoor_invocation_publish_seconds_count 0")
            .await,
        "no queue"
    );
}

#[tokio::test]
async fn a_long_body_follows_by_get_attach() {
    let world = World::start().await;
    let ticket = ticket(&world).await;
    let body = vec![b'x'; 100_000];
    let worker = async {
        let got = Stand::new(&world, &ticket, 1).await.got().await;
        let config = got.item.attach().unwrap();
        let token = config.request_authorization_token.clone().unwrap();
        let mut connection = Connection::open(world.front, Version::HTTP_2)
            .await
            .unwrap();
        let fetch = Request::get(format!("{}{PATH}", config.target_uri))
            .header(AUTHORIZATION, format!("Bearer {token}"))
            .body(empty())
            .unwrap();
        let rest = connection.send(fetch).await.unwrap().into_body();
        let rest = rest.collect().await.unwrap().to_bytes();
        let inline = got.item.request_body.as_ref().map_or(0, Vec::len);
        got.send(head(200, &[])).await;
        got.send((inline + rest.len()).to_string()).await;
        assert!(got.ended().await);
    };
    let caller = async {
        standing(&world, 1).await;
        ask(&world, Version::HTTP_2, post(full(body.clone()))).await
    };
    let (reply, ()) = tokio::join!(caller, worker);
    assert_eq!(reply.text(), body.len().to_string());
}

#[tokio::test]
async fn what_a_worker_gives_back_takes_the_queues_way() {
    let world = World::start().await;
    let ticket = ticket(&world).await;
    let puller = Puller::new(&world).await;
    let full_worker = async {
        let got = Stand::new(&world, &ticket, 1).await.got().await;
        got.send(handover::returned().encode()).await;
        got.ended().await;
        let mut claimed = puller.next().await.claim().await.expect("still to be had");
        claimed.head(200, &[]).await;
        claimed.finish().await.expect("the caller has everything");
    };
    let caller = async {
        standing(&world, 1).await;
        ask(&world, Version::HTTP_2, post(empty())).await
    };
    let (reply, ()) = tokio::join!(caller, full_worker);
    assert_eq!(reply.status, 200);
    assert!(
        world
            .metric("frontdoor_invocation_attaches_total{outcome=\"returned\"} 1")
            .await
    );
}

#[tokio::test]
async fn a_worker_that_says_nothing_gets_nothing() {
    let world = World::start().await;
    let ticket = ticket(&world).await;
    let puller = Puller::new(&world).await;
    let mut frozen = Stand::silent(&world, &ticket, 1).await;
    let queue = async {
        let mut claimed = puller.next().await.claim().await.expect("to be had");
        claimed.head(200, &[]).await;
        claimed.finish().await.expect("the caller has everything");
    };
    let caller = async {
        standing(&world, 1).await;
        ask(&world, Version::HTTP_2, post(empty())).await
    };
    let called = async { tokio::join!(caller, queue).0 };
    tokio::select! {
        _ = frozen.answer() => panic!("it got a call"),
        reply = called => assert_eq!(reply.status, 200),
    }
}

#[tokio::test]
async fn a_worker_lost_with_a_call_may_have_run_it_and_the_caller_hears_at_once() {
    let world = World::start().await;
    let ticket = ticket(&world).await;
    let worker = async {
        let got = Stand::new(&world, &ticket, 1).await.got().await;
        // The connection goes with it.
        drop(got);
    };
    let caller = async {
        standing(&world, 1).await;
        let began = Instant::now();
        let reply = ask(&world, Version::HTTP_2, post(empty())).await;
        assert!(began.elapsed() < Duration::from_secs(5), "not a timeout");
        reply
    };
    let (reply, ()) = tokio::join!(caller, worker);
    assert_eq!(reply.status, 502);
    assert_eq!(reply.header("frontdoor-execution"), Some("started"));
}

#[tokio::test]
async fn a_caller_who_leaves_is_told_to_the_worker() {
    let world = World::start().await;
    let ticket = ticket(&world).await;
    let stand = Stand::new(&world, &ticket, 1).await;
    let worker = tokio::spawn(stand.got());
    standing(&world, 1).await;
    let mut connection = Connection::open(world.front, Version::HTTP_2)
        .await
        .unwrap();
    let sent = connection.send(post(empty()));
    let got = tokio::select! {
        got = worker => got.unwrap(),
        _ = sent => panic!("nobody answers"),
    };
    // The request is dropped by now.
    let ended = tokio::time::timeout(Duration::from_secs(2), got.response.into_body().collect());
    assert!(ended.await.expect("at once").is_err());
}

#[tokio::test]
async fn streams_that_went_or_were_taken_back_get_nothing() {
    let world = World::start().await;
    let ticket = ticket(&world).await;
    let mut taken_back = Stand::new(&world, &ticket, 1).await;
    let answer = async {
        standing(&world, 1).await;
        let returned = handover::returned().encode();
        taken_back.feed.send_data(returned.into()).await.unwrap();
    };
    let request = taken_back.request.take().unwrap();
    let (answered, ()) = tokio::join!(taken_back.connection.send(request), answer);
    assert_eq!(answered.unwrap().status(), 410);
    let mut gone = Stand::new(&world, &ticket, 2).await;
    let waiting = async { gone.answer().await };
    tokio::select! {
        _ = waiting => panic!("nothing to get"),
        () = standing(&world, 1) => {}
    }
    drop(gone);
    standing(&world, 0).await;
    let mut request = post(empty());
    let one = HeaderValue::from_static("1");
    request.headers_mut().insert("nvcf-poll-seconds", one);
    let reply = ask(&world, Version::HTTP_2, request).await;
    assert_eq!(reply.status, 504);
    assert_eq!(reply.header("frontdoor-execution"), Some("not-started"));
}

#[tokio::test]
async fn nobody_stands_without_the_ticket_or_at_a_service_that_stops() {
    let mut world = World::start().await;
    let ticket = ticket(&world).await;
    let forged = uuid::Uuid::new_v4().to_string();
    assert_eq!(
        Stand::new(&world, &forged, 1).await.answer().await.status(),
        401
    );
    let mut stand = Stand::new(&world, &ticket, 1).await;
    let stop = async {
        standing(&world, 1).await;
        world.shutdown.cancel();
    };
    let (answer, ()) = tokio::join!(stand.answer(), stop);
    assert_eq!(answer.status(), 410);
    drop((stand, answer));
    world.stopped().await.expect("in order");
}
