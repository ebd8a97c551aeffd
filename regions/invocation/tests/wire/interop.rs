//! Our service with NVIDIA's workers, as the contract describes them: plain JetStream, HTTP/1.1, attaching with the answer, a
//! 202 of their own accord for who waits in windows, and questions for the rest.

use std::time::{Duration, Instant};

use async_nats::jetstream::stream::{DiscardPolicy, RetentionPolicy, StorageType};
use async_nats::{Client, Message, Subscriber};
use frontdoor_protocol::attach::request::RequestHead;
use frontdoor_protocol::envelope::{WorkerInvokeFunctionRequest, WorkerResultTracking};
use frontdoor_protocol::names::RequestId;
use frontdoor_protocol::subject;
use futures_util::StreamExt as _;
use http::header::AUTHORIZATION;
use http::{HeaderValue, Method, Version};
use prost::Message as _;
use serde_json::json;

use crate::client::{Connection, Reply, ask, call, empty, full};
use crate::polls::{by_path, invoke, poll};
use crate::worker::{Feed, Puller, Work, bring, head};
use crate::world::{Choices, DOMAIN, FUNCTION, KEY, OTHER_KEY, REGION, VERSION, World, until};

const WHOLE: &str = "nvcf-feature-enable-only-stream-full-request";

async fn world() -> World {
    World::with(Choices {
        workers: "late",
        ..Choices::default()
    })
    .await
}

/// The ears of a worker that told 202 to a call.
pub(crate) struct Asked {
    client: Client,
    questions: Subscriber,
}

impl Asked {
    async fn about(world: &World, id: &str) -> Self {
        let client = world.nats_client().await;
        let subject = subject::polling(id.parse().unwrap());
        let mut questions = client.subscribe(subject.clone()).await.unwrap();
        // When our own word is back the server knows that we listen.
        client.publish(subject, "".into()).await.unwrap();
        questions.next().await.expect("our own word");
        Self { client, questions }
    }

    /// Hears no more.
    async fn leave(mut self) {
        self.questions.unsubscribe().await.unwrap();
        self.client.flush().await.unwrap();
    }

    /// The next question, acknowledged with an empty message.
    pub(crate) async fn next(&mut self) -> WorkerInvokeFunctionRequest {
        let asked = tokio::time::timeout(Duration::from_secs(10), self.questions.next());
        let Message { payload, reply, .. } = asked.await.expect("in time").expect("a question");
        let reply = reply.expect("wants to know that it came");
        self.client.publish(reply, "".into()).await.unwrap();
        self.client.flush().await.unwrap();
        WorkerInvokeFunctionRequest::decode(payload).unwrap()
    }
}

fn progress(percent: &str, partial: &str) -> Vec<u8> {
    let length = partial.len().to_string();
    let headers = [
        ("nvcf-percent-complete", percent),
        ("content-type", "application/json"),
        ("content-length", length.as_str()),
    ];
    [&head(202, &headers), partial.as_bytes()].concat()
}

pub(crate) fn done(body: &str) -> Vec<u8> {
    let length = body.len().to_string();
    let headers = [
        ("content-type", "application/json"),
        ("content-length", length.as_str()),
    ];
    [&head(200, &headers), body.as_bytes()].concat()
}

/// Invokes through the API; the worker says 202 early. What the caller got, its id, and the ears for its questions.
pub(crate) async fn begun(world: &World, kind: &str, body: &'static str) -> (Reply, String, Asked) {
    let puller = Puller::new(world).await;
    let worker = async {
        let work = puller.next().await;
        assert_eq!(work.request_header("nvcf-poll-seconds"), Some("3600"));
        let asked = Asked::about(world, &work.item.request_id).await;
        let told = work.bring(full(progress("40", r#"{"so":"far"}"#))).await;
        assert_eq!(told.unwrap().status, 200);
        work.ack().await;
        (work.item.request_id.clone(), asked)
    };
    let began = Instant::now();
    let (reply, (id, asked)) = tokio::join!(invoke(world, kind, "20", full(body)), worker);
    assert!(began.elapsed() < Duration::from_secs(5), "early");
    assert_eq!(reply.status, 202);
    assert_eq!(reply.header("nvcf-reqid"), Some(&*id));
    assert_eq!(reply.header("nvcf-status"), Some("in-progress"));
    (reply, id, asked)
}

#[tokio::test]
async fn a_worker_that_says_how_far_it_is_is_asked_for_the_rest() {
    let world = world().await;
    let (reply, id, mut asked) = begun(&world, "pexec", "in").await;
    assert_eq!(reply.text(), r#"{"so":"far"}"#);
    assert_eq!(reply.header("nvcf-percent-complete"), Some("40"));

    // Whose it is stands where NVIDIA's service would look.
    let jetstream = async_nats::jetstream::new(world.nats_client().await);
    let region = REGION.parse().unwrap();
    let stream = jetstream
        .get_stream(subject::tracking_stream(&region))
        .await
        .unwrap();
    let config = &stream.cached_info().config;
    assert_eq!(config.subjects, [subject::tracking_of_region(&region)]);
    assert_eq!(config.storage, StorageType::Memory);
    assert_eq!(config.retention, RetentionPolicy::Limits);
    assert_eq!(config.discard, DiscardPolicy::New);
    assert_eq!(
        (config.max_messages, config.max_messages_per_subject),
        (100_000, 1)
    );
    assert_eq!(config.max_age, Duration::from_secs(3600));
    assert!(config.allow_direct);
    let name = subject::tracking(&region, id.parse().unwrap());
    let kept = stream.direct_get_last_for_subject(&name).await.unwrap();
    let kept = WorkerResultTracking::decode(kept.payload).unwrap();
    assert_eq!(
        (kept.function_id.as_str(), kept.function_version_id.as_str()),
        (FUNCTION, VERSION)
    );
    assert!(kept.request_time.is_some());

    // Asked once, it is further; asked again, it is done.
    for (answer, status, percent) in [
        (progress("80", "{}"), 202, Some("80")),
        (done(r#"{"all":1}"#), 200, None),
    ] {
        let worker = async {
            let question = asked.next().await;
            assert_eq!(question.request_id, id);
            assert_eq!(question.request_method, "GET");
            assert!(question.request_body.unwrap_or_default().is_empty());
            let question = WorkerInvokeFunctionRequest {
                request_body: None,
                ..question
            };
            let way = question.attach().unwrap();
            assert!(way.request_authorization_token.is_none());
            let headers = &question.request_headers;
            let window = headers.iter().find(|h| h.key == "nvcf-poll-seconds");
            assert_eq!(window.unwrap().value, "20");
            assert!(headers.iter().all(|h| h.key != "authorization"));
            assert_eq!(bring(&question, full(answer)).await.unwrap().status, 200);
        };
        let (reply, ()) = tokio::join!(poll(&world, "pexec", &id, "20"), worker);
        assert_eq!(reply.status, status);
        assert_eq!(reply.header("nvcf-reqid"), Some(&*id));
        assert_eq!(reply.header("nvcf-percent-complete"), percent);
    }
    until("the call to be forgotten", || async {
        stream.direct_get_last_for_subject(&name).await.err()
    })
    .await;
    assert_eq!(poll(&world, "pexec", &id, "1").await.status, 404, "once");
}

#[tokio::test]
async fn exec_says_how_far_a_call_is() {
    let world = world().await;
    let (reply, id, mut asked) = begun(&world, "exec", r#"{"requestBody":{"a":1}}"#).await;
    let told: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
    let expected = json!({
        "reqId": id, "status": "in-progress", "percentComplete": 40, "response": {"so": "far"},
    });
    assert_eq!(told, expected);
    let worker = async {
        let question = asked.next().await;
        bring(&question, full(done("[1]"))).await.unwrap().status
    };
    let (reply, told) = tokio::join!(poll(&world, "exec", &id, "20"), worker);
    assert_eq!((reply.status, told), (200, 200));
    let told: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
    let expected = json!({
        "reqId": id, "status": "fulfilled", "percentComplete": 100, "response": [1],
    });
    assert_eq!(told, expected);
}

#[tokio::test]
async fn any_instance_asks_and_only_for_who_may() {
    let world = world().await;
    let replica = world.replica().await;
    let (_, id, mut asked) = begun(&world, "pexec", "in").await;
    let at = async |front, key: Option<&str>| {
        let path = format!("pexec/status/{id}");
        let mut request = by_path(Method::GET, &path, "20", empty());
        request.headers_mut().remove(AUTHORIZATION);
        if let Some(key) = key {
            let value = HeaderValue::from_str(&format!("Bearer {key}")).unwrap();
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        let mut connection = Connection::open(front, Version::HTTP_2).await.unwrap();
        Reply::read(connection.send(request).await.unwrap())
            .await
            .unwrap()
    };
    for (key, status) in [(Some(OTHER_KEY), 403), (Some("unknown"), 401), (None, 401)] {
        for front in [world.front, replica.front] {
            assert_eq!(at(front, key).await.status, status, "{key:?}");
        }
    }
    let worker = async {
        let question = asked.next().await;
        let target = &question.attach().unwrap().target_uri;
        assert_eq!(*target, format!("http://{}", replica.front));
        bring(&question, full(done("1"))).await.unwrap().status
    };
    let (reply, told) = tokio::join!(at(replica.front, Some(KEY)), worker);
    assert_eq!((reply.status, reply.text().as_str(), told), (200, "1", 200));
}

#[tokio::test]
async fn a_worker_that_is_gone_is_said_to_be_silent() {
    let world = world().await;
    let (_, id, asked) = begun(&world, "pexec", "in").await;
    asked.leave().await;
    let began = Instant::now();
    let reply = poll(&world, "pexec", &id, "20").await;
    assert_eq!(reply.status, 504);
    let problem = reply.problem();
    assert_eq!(
        problem["detail"],
        "worker did not acknowledge the status request."
    );
    assert_eq!(reply.header("frontdoor-execution"), Some("started"));
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "it is known at once"
    );
}

#[tokio::test]
async fn a_worker_that_was_asked_and_says_nothing_costs_the_window_and_two_seconds() {
    let world = world().await;
    let (_, id, mut asked) = begun(&world, "pexec", "in").await;
    let began = Instant::now();
    let (reply, _) = tokio::join!(poll(&world, "pexec", &id, "1"), asked.next());
    assert_eq!(reply.status, 504);
    let took = began.elapsed();
    assert!(
        (Duration::from_secs(3)..Duration::from_secs(5)).contains(&took),
        "{took:?}"
    );
}

#[tokio::test]
async fn what_nvidias_service_tracks_ours_may_ask_for() {
    let world = world().await;
    let (_, first, _) = begun(&world, "pexec", "in").await;
    let id = "0196f0c2-7e1f-8a55-8a2e-3d1b5f0c9a11";
    assert_ne!(first, id);
    let jetstream = async_nats::jetstream::new(world.nats_client().await);
    let name = subject::tracking(&REGION.parse().unwrap(), id.parse().unwrap());
    let tracking = WorkerResultTracking {
        function_id: FUNCTION.into(),
        function_version_id: VERSION.into(),
        request_time: None,
    };
    let kept = jetstream.publish(name, tracking.encode_to_vec().into());
    kept.await.unwrap().await.unwrap();
    let mut asked = Asked::about(&world, id).await;
    let worker = async { bring(&asked.next().await, full(done("7"))).await.unwrap() };
    let (reply, _) = tokio::join!(poll(&world, "pexec", id, "20"), worker);
    assert_eq!((reply.status, reply.text().as_str()), (200, "7"));
}

#[tokio::test]
async fn on_a_functions_host_a_202_is_the_functions() {
    let world = world().await;
    let puller = Puller::new(&world).await;
    let worker = async {
        let work = puller.next().await;
        assert_eq!(
            work.request_header("nvcf-feature-disable-worker-compatibility"),
            Some("true")
        );
        let told = work.bring(full(progress("40", "{}"))).await.unwrap();
        assert_eq!(told.status, 200);
        work.item.request_id.clone()
    };
    let caller = ask(&world, Version::HTTP_2, call(Method::POST, "/", empty()));
    let (reply, id) = tokio::join!(caller, worker);
    assert_eq!((reply.status, reply.text().as_str()), (202, "{}"));
    assert_eq!(reply.header("nvcf-status"), Some("in-progress"));
    assert_eq!(poll(&world, "pexec", &id, "1").await.status, 404);
}

#[tokio::test]
async fn a_call_goes_to_nvidias_worker_and_back() {
    let world = world().await;
    let puller = Puller::new(&world).await;
    let body: Vec<u8> = (0..200_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let worker = async {
            let work = puller.next().await;
            assert_eq!(work.inline().len(), 32 * 1024);
            let rest = work.fetch(Version::HTTP_11).await.unwrap();
            assert_eq!(
                rest.header("content-length"),
                Some(&*(body.len() - 32 * 1024).to_string())
            );
            let whole = [work.inline(), &rest.body[..]].concat();
            // Without a length, and event by event.
            let (feed, stream) = Feed::new();
            let brought = work.bring(stream);
            let container = async {
                let events = head(200, &[("content-type", "text/event-stream")]);
                feed.send_data(events.into()).await.unwrap();
                for n in 0..3 {
                    feed.send_data(format!("data: {n}\n\n").into())
                        .await
                        .unwrap();
                }
                drop(feed);
            };
            let (brought, ()) = tokio::join!(brought, container);
            assert_eq!(brought.unwrap().status, 200, "the caller has everything");
            work.message.ack().await.unwrap();
            whole
        };
        let request = call(Method::PUT, "/up?a=b", full(body.clone()));
        let (reply, whole) = tokio::join!(ask(&world, version, request), worker);
        assert!(whole == body, "{version:?}");
        assert_eq!(
            (reply.status, reply.text().as_str()),
            (200, "data: 0\n\ndata: 1\n\ndata: 2\n\n")
        );
        assert_eq!(reply.header("nvcf-status"), Some("fulfilled"));
    }
}

#[tokio::test]
async fn who_leaves_is_told_to_nvidias_worker_in_36_bytes() {
    let world = world().await;
    let puller = Puller::new(&world).await;
    let client = world.nats_client().await;
    let version = VERSION.parse().unwrap();
    let mut cancels = client.subscribe(subject::cancel(version)).await.unwrap();
    client.flush().await.unwrap();
    let mut connection = Connection::open(world.front, Version::HTTP_2)
        .await
        .unwrap();
    let asked = connection.send(call(Method::POST, "/", full("in")));
    let work = tokio::select! {
        _ = asked => panic!("nobody answers"),
        work = puller.next() => work,
    };
    let left = Instant::now();
    drop(connection);
    let heard = tokio::time::timeout(Duration::from_secs(5), cancels.next()).await;
    let heard = heard.expect("in time").expect("a message");
    assert!(left.elapsed() < Duration::from_secs(1));
    assert_eq!(heard.payload.len(), 36);
    assert_eq!(&heard.payload[..], work.item.request_id.as_bytes());
    // Its answer, which it may have by then, nobody wants.
    let brought = work.bring(full(done("1"))).await.unwrap();
    assert_eq!(brought.status, 401);
}

/// Pulls a call of which nothing is in the message, and fetches it as a whole.
async fn fetched(work: &Work, version: Version) -> (RequestHead, Vec<u8>) {
    let item = &work.item;
    assert!(item.request_method.is_empty() && item.request_path.is_empty());
    assert!(item.request_headers.is_empty() && work.inline().is_empty());
    assert!(item.request_id.parse::<RequestId>().is_ok() && !item.subject.is_empty());
    let other = work.fetch(version).await.unwrap();
    assert_eq!(other.status, 406, "the head would be lost");
    let form = "application/octet-stream+h1";
    let reply = work.fetch_as(version, form).await.unwrap();
    assert_eq!(
        (reply.status, reply.header("content-type")),
        (200, Some(form))
    );
    let again = work.fetch_as(version, form).await.unwrap();
    assert_eq!(again.status, 401, "good once");
    let (head, length) = RequestHead::decode(&reply.body).unwrap().unwrap();
    (head, reply.body[length..].to_vec())
}

#[tokio::test]
async fn a_request_may_be_fetched_as_a_whole() {
    let world = world().await;
    let puller = Puller::new(&world).await;
    let long = vec![b'x'; 100_000];
    for (caller, worker, body) in [
        (Version::HTTP_2, Version::HTTP_11, &long[..]),
        (Version::HTTP_11, Version::HTTP_2, b"short"),
        (Version::HTTP_2, Version::HTTP_2, b""),
    ] {
        let mut request = call(Method::PUT, "/secret/path?a=b", full(body.to_vec()));
        let headers = request.headers_mut();
        headers.insert(WHOLE, HeaderValue::from_static("true"));
        headers.insert("x-secret", HeaderValue::from_static("1"));
        let served = async {
            let work = puller.next().await;
            let (head, sent) = fetched(&work, worker).await;
            assert_eq!(
                (head.method.as_str(), head.path.as_str()),
                ("PUT", "/secret/path?a=b")
            );
            assert_eq!(head.headers["x-secret"], "1");
            assert_eq!(head.headers["nvcf-invocation-region"], REGION);
            assert!(head.headers["host"].to_str().unwrap().ends_with(DOMAIN));
            assert!(!head.headers.contains_key("authorization"));
            assert!(sent == body, "{}", sent.len());
            assert_eq!(work.bring(full(done("1"))).await.unwrap().status, 200);
            work.ack().await;
        };
        let (reply, ()) = tokio::join!(ask(&world, caller, request), served);
        assert_eq!((reply.status, reply.text().as_str()), (200, "1"));
    }
    // Through the API too: it goes to the function's one path.
    let mut request = by_path(
        Method::POST,
        &format!("pexec/functions/{FUNCTION}"),
        "1",
        empty(),
    );
    let headers = request.headers_mut();
    headers.insert(WHOLE, HeaderValue::from_static("true"));
    let reply = ask(&world, Version::HTTP_2, request).await;
    assert_eq!(reply.status, 202, "no body is missing, so it goes on");
    let work = puller.next().await;
    let (head, _) = fetched(&work, Version::HTTP_11).await;
    assert_eq!((head.method.as_str(), head.path.as_str()), ("POST", "/"));
    assert_eq!(work.bring(full(done("2"))).await.unwrap().status, 200);
    let id = reply.header("nvcf-reqid").unwrap();
    until("the answer", || async {
        (poll(&world, "pexec", id, "5").await.text() == "2").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_full_tracking_stream_costs_nobody_a_202() {
    let world = world().await;
    let jetstream = async_nats::jetstream::new(world.nats_client().await);
    let region = REGION.parse().unwrap();
    let full_already = async_nats::jetstream::stream::Config {
        name: subject::tracking_stream(&region),
        subjects: vec![subject::tracking_of_region(&region)],
        discard: DiscardPolicy::New,
        max_messages: 1,
        max_messages_per_subject: 1,
        allow_direct: true,
        ..async_nats::jetstream::stream::Config::default()
    };
    jetstream.create_stream(full_already).await.unwrap();
    let other = subject::tracking(&region, VERSION.parse().unwrap());
    jetstream
        .publish(other, "".into())
        .await
        .unwrap()
        .await
        .unwrap();
    let (reply, id, _asked) = begun(&world, "pexec", "in").await;
    assert_eq!(
        (reply.status, reply.text().as_str()),
        (202, r#"{"so":"far"}"#)
    );
    let reply = poll(&world, "pexec", &id, "1").await;
    assert_eq!(reply.status, 404, "nobody knows whose it is");
}
