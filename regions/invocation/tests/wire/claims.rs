//! Who may answer a call: claims, refusals, late attaches, unknown tokens.

use std::time::Duration;

use http::{HeaderValue, Method, StatusCode, Version};

use crate::client::{Connection, ask, call, empty, full, get};
use crate::worker::{Feed, Puller, head};
use crate::world::World;

#[tokio::test]
async fn of_two_claims_the_second_is_refused() {
    let world = World::start().await;
    let puller = Puller::new(&world).await;
    let worker = async {
        let work = puller.next().await;
        let mut first = work.claim().await.expect("granted");
        assert_eq!(work.claim().await.err(), Some(StatusCode::GONE));
        first.head(200, &[]).await;
        first.finish().await.expect("the caller has everything");
        let late = work.claim().await.err();
        assert_eq!(late, Some(StatusCode::UNAUTHORIZED), "used and over");
    };
    let caller = ask(&world, Version::HTTP_2, call(Method::POST, "/", empty()));
    let (reply, ()) = tokio::join!(caller, worker);
    assert_eq!(reply.status, 200);
}

#[tokio::test]
async fn a_claim_after_the_deadline_is_refused() {
    let world = World::start().await;
    let puller = Puller::new(&world).await;
    let mut request = call(Method::POST, "/", empty());
    let one = HeaderValue::from_static("1");
    request.headers_mut().insert("nvcf-poll-seconds", one);
    let caller = ask(&world, Version::HTTP_2, request);
    let (reply, work) = tokio::join!(caller, puller.next());
    assert_eq!(reply.header("frontdoor-execution"), Some("not-started"));
    assert_eq!(work.claim().await.err(), Some(StatusCode::GONE));
}

#[tokio::test]
async fn a_late_worker_answers_in_one_go() {
    let world = World::start().await;
    let puller = Puller::new(&world).await;
    let worker = async {
        let work = puller.next().await;
        let mut answer = head(200, &[("content-length", "4")]);
        answer.extend_from_slice(b"late");
        let reply = work.bring(full(answer)).await.unwrap();
        assert_eq!(reply.status, 200);
        work.ack().await;
        let again = work.bring(full(head(200, &[]))).await.unwrap();
        assert_eq!(again.status, 401, "a token is good once");
    };
    let caller = ask(&world, Version::HTTP_11, call(Method::POST, "/", empty()));
    let (reply, ()) = tokio::join!(caller, worker);
    assert_eq!((reply.status, reply.text().as_str()), (200, "late"));

    // From now on nothing is provable about calls of this version.
    let mut request = call(Method::POST, "/", empty());
    let one = HeaderValue::from_static("1");
    request.headers_mut().insert("nvcf-poll-seconds", one);
    let reply = ask(&world, Version::HTTP_2, request).await;
    assert_eq!(reply.status, 504);
    assert_eq!(reply.header("frontdoor-execution"), Some("started"));
}

#[tokio::test]
async fn a_late_worker_that_comes_after_the_end_is_remembered() {
    let world = World::start().await;
    let puller = Puller::new(&world).await;
    let expired = async || {
        let mut request = call(Method::POST, "/", empty());
        let one = HeaderValue::from_static("1");
        request.headers_mut().insert("nvcf-poll-seconds", one);
        let reply = ask(&world, Version::HTTP_2, request).await;
        assert_eq!(reply.status, 504);
        reply.header("frontdoor-execution").map(str::to_owned)
    };
    // Nothing was seen of the workers yet, so the first slow call is misjudged.
    let (said, work) = tokio::join!(expired(), puller.next());
    assert_eq!(said.as_deref(), Some("not-started"));
    let brought = work.bring(full(head(200, &[]))).await.unwrap();
    assert_eq!(brought.status, 401, "over, in NVIDIA's words");
    assert_eq!(expired().await.as_deref(), Some("started"));
}

#[tokio::test]
async fn a_late_worker_with_a_malformed_head_is_told_so() {
    let world = World::start().await;
    let puller = Puller::new(&world).await;
    for (answer, kind) in [
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "worker-malformed",
        ),
        ("HTTP/1.1 200 OK\r\nx-a: ", "worker-lost"),
    ] {
        let worker = async {
            let reply = puller.next().await.bring(full(answer)).await.unwrap();
            assert_eq!(reply.status, 400);
        };
        let caller = ask(&world, Version::HTTP_2, call(Method::POST, "/", empty()));
        let (reply, ()) = tokio::join!(caller, worker);
        assert_eq!(reply.status, 502);
        assert_eq!(reply.header("frontdoor-execution"), Some("started"));
        let named = reply.problem()["type"].to_string();
        assert!(named.contains(kind), "{named}");
    }
}

#[tokio::test]
async fn a_late_worker_whose_caller_left_gets_its_200() {
    let world = World::start().await;
    let puller = Puller::new(&world).await;
    let mut connection = Connection::open(world.front, Version::HTTP_2)
        .await
        .unwrap();
    let response = connection.send(call(Method::POST, "/", empty()));
    let worker = async {
        let work = puller.next().await;
        let (body, channel) = Feed::new();
        body.send_data(head(200, &[]).into()).await.unwrap();
        let brought = work.bring(channel).await.unwrap();
        drop(body);
        brought.status
    };
    let (_, status) = tokio::join!(
        async {
            let response = response.await.unwrap();
            assert_eq!(response.status(), 200);
            drop(response);
        },
        async { tokio::time::timeout(Duration::from_secs(5), worker).await }
    );
    assert_eq!(status.expect("in time"), 200);
}

#[tokio::test]
async fn strangers_do_not_attach() {
    let world = World::start().await;
    let path = frontdoor_protocol::attach::PATH;
    let front = world.front.to_string();
    let reply = get(world.front, &front, path).await.unwrap();
    assert_eq!(reply.status, 401);
    for (method, token, status) in [
        (Method::POST, "7f2c1f0e-7f3b-4a55-8a2e-3d1b5f0c9a11", 401),
        (Method::POST, "nonsense", 401),
        (Method::DELETE, "nonsense", 405),
    ] {
        let mut request = call(method, path, empty());
        *request.uri_mut() = format!("http://{front}{path}").parse().unwrap();
        let token = HeaderValue::from_str(&format!("Bearer {token}")).unwrap();
        request.headers_mut().insert("authorization", token);
        let reply = ask(&world, Version::HTTP_2, request).await;
        assert_eq!(reply.status, status);
        reply.problem();
    }
}

#[tokio::test]
async fn under_a_functions_host_the_attach_path_is_the_functions() {
    let world = World::start().await;
    let puller = Puller::new(&world).await;
    let path = frontdoor_protocol::attach::PATH;
    let worker = async {
        let work = puller.next().await;
        assert_eq!(work.item.request_path, path);
        let mut claimed = work.claim().await.expect("granted");
        claimed.head(200, &[]).await;
        claimed.finish().await.expect("the caller has everything");
    };
    let caller = ask(&world, Version::HTTP_2, call(Method::GET, path, empty()));
    let (reply, ()) = tokio::join!(caller, worker);
    assert_eq!(reply.status, 200);
}

#[tokio::test]
async fn our_workers_may_say_that_nothing_started() {
    let world = World::start().await;
    let puller = Puller::new(&world).await;
    let worker = async {
        let mut claimed = puller.next().await.claim().await.expect("granted");
        let headers = [
            ("content-type", "application/problem+json"),
            ("frontdoor-execution", "not-started"),
        ];
        claimed.head(502, &headers).await;
        claimed.data("{}").await;
        claimed.finish().await.expect("the caller has everything");
    };
    let caller = ask(&world, Version::HTTP_2, call(Method::POST, "/", empty()));
    let (reply, ()) = tokio::join!(caller, worker);
    assert_eq!(reply.status, 502);
    assert_eq!(reply.header("frontdoor-execution"), Some("not-started"));
}
