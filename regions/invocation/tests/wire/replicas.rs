//! Several instances of the service in one region: workers come to the right one, and so do polls.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use http::header::AUTHORIZATION;
use http::{HeaderValue, Method, Request, Version};
use tokio::task::JoinHandle;

use crate::client::{BoxBody, Connection, Reply, call, empty, full, get};
use crate::worker::{Puller, Work};
use crate::world::{DOMAIN, FUNCTION, KEY, OTHER_KEY, Replica, UNKNOWN, World, until};

fn api(method: Method, path: &str, window: &str, body: BoxBody) -> Request<BoxBody> {
    Request::builder()
        .method(method)
        .uri(format!("http://api.{DOMAIN}/v2/nvcf/{path}"))
        .header(AUTHORIZATION, format!("Bearer {KEY}"))
        .header("nvcf-poll-seconds", window)
        .body(body)
        .unwrap()
}

async fn ask(to: SocketAddr, request: Request<BoxBody>) -> Reply {
    let mut connection = Connection::open(to, Version::HTTP_2).await.unwrap();
    Reply::read(connection.send(request).await.unwrap())
        .await
        .unwrap()
}

async fn poll(to: SocketAddr, kind: &str, id: &str, window: &str) -> Reply {
    let path = format!("{kind}/status/{id}");
    ask(to, api(Method::GET, &path, window, empty())).await
}

fn calling(to: SocketAddr) -> JoinHandle<Option<Reply>> {
    tokio::spawn(async move {
        let mut connection = Connection::open(to, Version::HTTP_2).await.ok()?;
        let response = connection
            .send(call(Method::POST, "/", empty()))
            .await
            .ok()?;
        Reply::read(response).await.ok()
    })
}

/// Two instances that know each other, and a worker's way to their queue.
async fn pair() -> (World, Replica, Puller) {
    let world = World::start().await;
    let replica = world.replica().await;
    for admin in [world.admin, replica.admin] {
        until("an instance that knows the other", || async {
            has(admin, "frontdoor_invocation_siblings 1")
                .await
                .then_some(())
        })
        .await;
    }
    let puller = Puller::new(&world).await;
    (world, replica, puller)
}

async fn has(admin: SocketAddr, metric: &str) -> bool {
    let reply = get(admin, "localhost", "/metrics").await;
    reply.is_some_and(|reply| reply.text().lines().any(|line| line == metric))
}

/// Invokes at one instance with a window of a second, lets it pass, and pulls the work.
async fn put_aside(at: SocketAddr, puller: &Puller) -> (String, Work) {
    let path = format!("pexec/functions/{FUNCTION}");
    let reply = ask(at, api(Method::POST, &path, "1", full("in"))).await;
    assert_eq!(reply.status, 202, "{}", reply.text());
    (
        reply.header("nvcf-reqid").unwrap().to_owned(),
        puller.next().await,
    )
}

#[tokio::test]
async fn workers_come_to_the_instance_that_took_the_call() {
    let (world, replica, puller) = pair().await;
    for _ in 0..3 {
        let callers = [calling(world.front), calling(replica.front)];
        let mut seen = Vec::new();
        for _ in 0..2 {
            let work = puller.next().await;
            let to = work.item.attach().unwrap().target_uri.clone();
            let mut claimed = work.claim().await.expect("granted");
            claimed.head(200, &[]).await;
            claimed.data(to.clone()).await;
            claimed.finish().await.expect("the caller has everything");
            work.ack().await;
            seen.push(to);
        }
        for (caller, front) in callers.into_iter().zip([world.front, replica.front]) {
            let reply = caller.await.unwrap().expect("an answer");
            assert_eq!(reply.text(), format!("http://{front}"));
        }
        assert_ne!(seen[0], seen[1]);
    }
}

#[tokio::test]
async fn a_poll_finds_the_instance_that_holds_the_answer() {
    let (world, replica, puller) = pair().await;
    for (holder, other) in [(replica.front, world.front), (world.front, replica.front)] {
        let (id, work) = put_aside(holder, &puller).await;
        let early = poll(other, "pexec", &id, "1").await;
        assert_eq!(
            (early.status, early.body.len()),
            (202, 0),
            "{}",
            early.text()
        );
        assert_eq!(early.header("nvcf-reqid"), Some(&*id));

        // Who may not have it does not get it there either.
        for (key, status) in [(Some(OTHER_KEY), 403), (Some("unknown"), 401), (None, 401)] {
            let mut request = api(Method::GET, &format!("pexec/status/{id}"), "1", empty());
            request.headers_mut().remove(AUTHORIZATION);
            if let Some(key) = key {
                let value = HeaderValue::try_from(format!("Bearer {key}")).unwrap();
                request.headers_mut().insert(AUTHORIZATION, value);
            }
            assert_eq!(ask(other, request).await.status, status, "{key:?}");
        }

        let body: Vec<u8> = (0..3 << 20_u32).map(|n: u32| n.to_le_bytes()[1]).collect();
        let worker = async {
            let mut claimed = work.claim().await.expect("granted: the call goes on");
            claimed.head(201, &[("x-mine", "kept")]).await;
            for piece in body.chunks(64 * 1024) {
                claimed.data(piece.to_vec()).await;
            }
            claimed.finish().await.expect("the caller has everything");
        };
        let (answer, ()) = tokio::join!(poll(other, "pexec", &id, "20"), worker);
        assert_eq!(answer.status, 201, "{}", answer.text());
        assert!(answer.body[..] == body[..], "{}", answer.body.len());
        assert_eq!(answer.header("x-mine"), Some("kept"));
        assert_eq!(answer.header("nvcf-status"), Some("fulfilled"));
        assert_eq!(answer.header("nvcf-reqid"), Some(&*id));
        for front in [other, holder] {
            let again = poll(front, "pexec", &id, "1").await;
            assert_eq!(again.status, 404, "once");
            assert_eq!(again.header("frontdoor-execution"), Some("not-started"));
        }
    }
}

#[tokio::test]
async fn an_instance_that_stops_finishes_the_polls_that_it_passed_on() {
    let (world, replica, puller) = pair().await;
    let (id, work) = put_aside(world.front, &puller).await;
    let connections = async |n: u8| {
        let line = format!("frontdoor_invocation_connections {n}");
        until("connections", || async {
            has(world.admin, &line).await.then_some(())
        })
        .await;
    };
    connections(0).await;
    let front = replica.front;
    let polling = tokio::spawn(async move { poll(front, "exec", &id, "20").await });
    // The instance that was asked comes to the one that holds it.
    connections(1).await;
    replica.shutdown.cancel();
    let mut claimed = work.claim().await.expect("granted");
    claimed
        .head(200, &[("content-type", "application/json")])
        .await;
    claimed.data("{}").await;
    claimed.finish().await.expect("the caller has everything");
    let answer = polling.await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.text().contains("fulfilled"));
    replica.stopped().await.expect("in order");
}

#[tokio::test]
async fn what_nobody_holds_is_said_at_once_and_nobody_else_may_pass_polls_on() {
    let (world, replica, puller) = pair().await;
    let began = Instant::now();
    let answer = poll(replica.front, "pexec", UNKNOWN, "20").await;
    assert_eq!(answer.status, 404, "{}", answer.text());
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "no wait for the window"
    );
    let (id, _work) = put_aside(world.front, &puller).await;
    let mut request = api(Method::GET, &format!("pexec/status/{id}"), "1", empty());
    request.headers_mut().remove(AUTHORIZATION);
    let made_up = HeaderValue::from_static(UNKNOWN);
    request.headers_mut().insert("frontdoor-relayed", made_up);
    assert_eq!(ask(world.front, request).await.status, 401);
}
