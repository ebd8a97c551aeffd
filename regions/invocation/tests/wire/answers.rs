//! Calls that are answered: what the container gets, what the caller gets, over both protocols.

use http::header::{ACCESS_CONTROL_EXPOSE_HEADERS, CONTENT_LENGTH, SET_COOKIE};
use http::{HeaderMap, HeaderValue, Method, Version};
use http_body_util::BodyExt as _;

use crate::client::{self, BoxBody, ask, call, empty, full};
use crate::worker::{Feed, Puller, head};
use crate::world::{FUNCTION, REGION, VERSION, World};

const BOTH: [Version; 2] = [Version::HTTP_11, Version::HTTP_2];

#[tokio::test]
async fn an_echo_call_over_both_protocols() {
    let world = World::start().await;
    let puller = Puller::new(&world).await;
    for version in BOTH {
        let mut request = call(Method::POST, "/echo?a=1&b=%20", full("hello"));
        request
            .headers_mut()
            .insert("x-mine", HeaderValue::from_static("kept"));
        let caller = ask(&world, version, request);
        let worker = async {
            let work = puller.next().await;
            assert_eq!(work.header("Frontdoor-Claim"), Some("1"));
            assert!(work.header("Frontdoor-Deadline").is_some());
            assert_eq!(work.header("Nats-Msg-Id"), Some(&*work.item.request_id));
            assert_eq!(work.item.request_method, "POST");
            assert_eq!(work.item.request_path, "/echo?a=1&b=%20");
            assert_eq!(work.item.subject, "local");
            assert_eq!(work.inline(), b"hello");
            assert!(
                work.item
                    .attach()
                    .unwrap()
                    .request_authorization_token
                    .is_none()
            );
            assert_eq!(work.request_header("x-mine"), Some("kept"));
            assert_eq!(work.request_header("authorization"), None);
            assert!(work.request_header("host").unwrap().starts_with(FUNCTION));
            assert_eq!(work.request_header("nvcf-invocation-region"), Some(REGION));
            let mut claimed = work.claim().await.expect("granted");
            claimed.head(200, &[("content-length", "5")]).await;
            claimed.data("hello").await;
            claimed.finish().await.expect("the caller has everything");
            work.ack().await;
            work.item.request_id.clone()
        };
        let (reply, id) = tokio::join!(caller, worker);
        assert_eq!((reply.status, reply.text().as_str()), (200, "hello"));
        assert_eq!(reply.header("nvcf-reqid"), Some(&*id));
        assert_eq!(reply.header("nvcf-status"), Some("fulfilled"));
        assert_eq!(reply.header("frontdoor-region"), Some(REGION));
        assert_eq!(reply.header("frontdoor-execution"), None);
        assert_eq!(
            reply.header(ACCESS_CONTROL_EXPOSE_HEADERS.as_str()),
            Some("nvcf-reqid")
        );
        assert_eq!(reply.header(CONTENT_LENGTH.as_str()), Some("5"));
    }
    let line = "frontdoor_invocation_calls_total{outcome=\"answered\"} 2";
    crate::world::until("two answered calls", || async {
        world.metric(line).await.then_some(())
    })
    .await;
}

/// Serves one call with the given bytes of an answer and returns what the caller saw.
async fn answered(
    world: &World,
    request: http::Request<BoxBody>,
    answer: Vec<u8>,
) -> client::Reply {
    let puller = Puller::new(world).await;
    let worker = async {
        let work = puller.next().await;
        let mut claimed = work.claim().await.expect("granted");
        claimed.data(answer).await;
        claimed.finish().await.expect("the caller has everything");
        work.ack().await;
    };
    tokio::join!(ask(world, Version::HTTP_2, request), worker).0
}

#[tokio::test]
async fn a_container_error_passes_unchanged() {
    let world = World::start().await;
    let json = r#"{"error":"temperature out of range"}"#;
    let mut answer = head(
        422,
        &[
            ("content-type", "application/json"),
            ("set-cookie", "a=1"),
            ("frontdoor-region", "forged"),
            ("set-cookie", "b=2"),
        ],
    );
    answer.extend_from_slice(json.as_bytes());
    let reply = answered(&world, call(Method::POST, "/", empty()), answer).await;
    assert_eq!((reply.status, reply.text().as_str()), (422, json));
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert_eq!(reply.header("nvcf-status"), Some("errored"));
    assert_eq!(reply.header("frontdoor-region"), Some(REGION));
    let cookies: Vec<_> = reply.headers.get_all(SET_COOKIE).iter().collect();
    assert_eq!(cookies, ["a=1", "b=2"]);
}

#[tokio::test]
async fn more_than_a_hundred_response_headers_pass() {
    let world = World::start().await;
    let names: Vec<String> = (0..150).map(|n| format!("x-{n}")).collect();
    let headers: Vec<_> = names.iter().map(|n| (n.as_str(), "v")).collect();
    let reply = answered(&world, call(Method::GET, "/", empty()), head(200, &headers)).await;
    assert_eq!(reply.status, 200);
    assert!(names.iter().all(|name| reply.headers.contains_key(name)));
}

#[tokio::test]
async fn answers_without_a_body_end_in_order() {
    let world = World::start().await;
    let ok = head(200, &[("content-length", "5")]);
    let reply = answered(&world, call(Method::HEAD, "/", empty()), ok).await;
    assert_eq!((reply.status, reply.body.len()), (200, 0));
    assert_eq!(reply.header("content-length"), Some("5"));
    for status in [204, 304] {
        let reply = answered(&world, call(Method::GET, "/", empty()), head(status, &[])).await;
        assert_eq!((reply.status, reply.body.len()), (status, 0));
    }
    let empty_body = head(200, &[("content-length", "0")]);
    let reply = answered(&world, call(Method::GET, "/", empty()), empty_body).await;
    assert_eq!((reply.status, reply.body.len()), (200, 0));
}

#[tokio::test]
async fn trailers_reach_the_caller() {
    let world = World::start().await;
    let puller = Puller::new(&world).await;
    let worker = async {
        let work = puller.next().await;
        let mut claimed = work.claim().await.expect("granted");
        claimed.head(200, &[]).await;
        claimed.data("body").await;
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        trailers.insert("frontdoor-x", HeaderValue::from_static("1"));
        claimed.body.send_trailers(trailers).await.unwrap();
        claimed.finish().await.expect("the caller has everything");
    };
    let request = call(Method::POST, "/", empty());
    let (reply, ()) = tokio::join!(ask(&world, Version::HTTP_2, request), worker);
    let trailers = reply.trailers.expect("passed on");
    assert_eq!(trailers.get("grpc-status").unwrap(), "0");
    assert!(!trailers.contains_key("frontdoor-x"));
}

#[tokio::test]
async fn request_trailers_stay_behind() {
    let world = World::start().await;
    let puller = Puller::new(&world).await;
    // As a whole in the message, and with a rest that is fetched.
    for length in [5, 40 * 1024] {
        let (feed, body) = Feed::new();
        let mut trailers = HeaderMap::new();
        trailers.insert("x-checksum", HeaderValue::from_static("1"));
        feed.send_data(vec![b'x'; length].into()).await.unwrap();
        feed.send_trailers(trailers).await.unwrap();
        drop(feed);
        let worker = async {
            let work = puller.next().await;
            let mut claimed = work.claim().await.expect("granted");
            let fetched = work
                .item
                .attach()
                .unwrap()
                .request_authorization_token
                .is_some();
            let mut whole = work.inline().to_vec();
            if fetched {
                let rest = work.fetch(Version::HTTP_2).await.unwrap();
                assert_eq!(rest.trailers, None);
                whole.extend_from_slice(&rest.body);
            }
            assert_eq!(whole.len(), length);
            assert_eq!(work.request_header("x-checksum"), None);
            claimed.head(200, &[]).await;
            claimed.finish().await.expect("the caller has everything");
        };
        let request = call(Method::POST, "/", body);
        let (reply, ()) = tokio::join!(ask(&world, Version::HTTP_2, request), worker);
        assert_eq!(reply.status, 200);
    }
}

#[tokio::test]
async fn a_head_in_pieces_is_put_together() {
    let world = World::start().await;
    let puller = Puller::new(&world).await;
    let worker = async {
        let work = puller.next().await;
        let mut claimed = work.claim().await.expect("granted");
        for byte in head(201, &[("x-a", "1")]) {
            claimed.data(vec![byte]).await;
        }
        claimed.data("body").await;
        claimed.finish().await.expect("the caller has everything");
    };
    let request = call(Method::POST, "/", empty());
    let (reply, ()) = tokio::join!(ask(&world, Version::HTTP_11, request), worker);
    assert_eq!((reply.status, reply.text().as_str()), (201, "body"));
}

#[tokio::test]
async fn the_version_may_be_named_by_host_or_header() {
    let world = World::start().await;
    let puller = Puller::new(&world).await;
    let by_host = format!("http://{VERSION}.{FUNCTION}.{}/x", crate::world::DOMAIN);
    for (uri, header) in [(by_host.as_str(), None), ("http://any/x", Some(FUNCTION))] {
        let mut request = call(Method::GET, "/x", empty());
        *request.uri_mut() = uri.parse().unwrap();
        if let Some(function) = header {
            let value = HeaderValue::from_static(function);
            request.headers_mut().insert("function-id", value);
        }
        let worker = async {
            let mut claimed = puller.next().await.claim().await.expect("granted");
            claimed.head(200, &[]).await;
            claimed.finish().await.expect("the caller has everything");
        };
        let (reply, ()) = tokio::join!(ask(&world, Version::HTTP_11, request), worker);
        assert_eq!(reply.status, 200, "{uri}");
    }
}

#[tokio::test]
async fn a_large_body_is_fetched_by_get_attach() {
    let world = World::start().await;
    let puller = Puller::new(&world).await;
    let body: Vec<u8> = (0..1024 * 1024_u32).map(|n| n.to_le_bytes()[1]).collect();
    for (caller, worker) in [(BOTH[0], BOTH[1]), (BOTH[1], BOTH[0]), (BOTH[1], BOTH[1])] {
        let request = call(Method::PUT, "/upload", full(body.clone()));
        let served = async {
            let work = puller.next().await;
            assert_eq!(work.inline().len(), 32 * 1024);
            let mut claimed = work.claim().await.expect("granted");
            let h1 = work
                .fetch_as(worker, "application/octet-stream+h1")
                .await
                .unwrap();
            assert_eq!(h1.status, 406, "the head was in the message");
            let rest = work.fetch(worker).await.unwrap();
            assert_eq!(rest.status, 200);
            assert_eq!(
                rest.header("content-type"),
                Some("application/octet-stream")
            );
            let again = work.fetch(worker).await.unwrap();
            assert_eq!(again.status, 401, "good once");
            let whole = [work.inline(), &rest.body[..]].concat();
            claimed.head(200, &[]).await;
            claimed.finish().await.expect("the caller has everything");
            work.ack().await;
            whole
        };
        let (reply, whole) = tokio::join!(ask(&world, caller, request), served);
        assert_eq!(reply.status, 200);
        assert!(whole == body, "{caller:?} {worker:?}: {}", whole.len());
    }
}

#[tokio::test]
async fn a_small_chunked_body_that_is_there_travels_inline() {
    let world = World::start().await;
    let puller = Puller::new(&world).await;
    for version in BOTH {
        // A stream body has no known length: chunked in HTTP/1.1, no content-length in HTTP/2.
        let frames = futures_util::stream::iter([Ok(hyper::body::Frame::data("small".into()))]);
        let body = http_body_util::StreamBody::new(frames).boxed_unsync();
        let worker = async {
            let work = puller.next().await;
            let config = work.item.attach().unwrap();
            assert_eq!(work.inline(), b"small", "{version:?}");
            assert!(config.request_authorization_token.is_none(), "{version:?}");
            let mut claimed = work.claim().await.expect("granted");
            claimed.head(200, &[]).await;
            claimed.finish().await.expect("the caller has everything");
        };
        let request = call(Method::POST, "/", body);
        let (reply, ()) = tokio::join!(ask(&world, version, request), worker);
        assert_eq!(reply.status, 200);
    }
}

#[tokio::test]
async fn only_the_authority_names_the_host() {
    let world = World::start().await;
    let puller = Puller::new(&world).await;
    let other = format!("{}.{}", crate::world::UNKNOWN, crate::world::DOMAIN);
    let ours = format!("{FUNCTION}.{}", crate::world::DOMAIN);
    for version in BOTH {
        for (asked, claimed, status) in [(&ours, &other, 200), (&other, &ours, 404)] {
            let mut request = call(Method::GET, "/x", empty());
            *request.uri_mut() = format!("http://{asked}/x").parse().unwrap();
            let headers = request.headers_mut();
            let forwarded = format!("host={claimed}");
            headers.insert("x-forwarded-host", HeaderValue::from_str(claimed).unwrap());
            headers.insert("forwarded", HeaderValue::from_str(&forwarded).unwrap());
            let worker = async {
                if status == 200 {
                    let mut claimed = puller.next().await.claim().await.expect("granted");
                    claimed.head(200, &[]).await;
                    claimed.finish().await.expect("the caller has everything");
                }
            };
            let (reply, ()) = tokio::join!(ask(&world, version, request), worker);
            assert_eq!(reply.status, status, "{version:?} {asked}");
        }
    }
}

#[tokio::test]
async fn what_goes_well_is_counted_from_a_millisecond_on() {
    let world = World::start().await;
    let reply = answered(&world, call(Method::GET, "/", empty()), head(204, &[])).await;
    assert_eq!(reply.status, 204);
    let text = client::get(world.admin, "localhost", "/metrics").await;
    let text = text.expect("metrics").text();
    let bounds: Vec<&str> = text
        .lines()
        .filter_map(|l| l.strip_prefix("frontdoor_invocation_first_byte_seconds_bucket{le=\""))
        .collect();
    assert!(bounds[0].starts_with("0.001\"}"), "{bounds:?}");
    assert_eq!(bounds.last(), Some(&"+Inf\"} 1"), "{bounds:?}");
}
