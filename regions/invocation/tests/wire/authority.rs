//! Who may call, decided elsewhere: an authority over HTTP, NVCF's over gRPC, a keys file, a word over chatter.
//!
//! The authorities are real servers; each is told by the test what to say and counts what it is asked.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use frontdoor_protocol::authority::{ClientInvokeRequest, ClientInvokeResponse, FunctionVersion};
use frontdoor_protocol::revocation::Revocation;
use frontdoor_protocol::subject;
use futures_util::StreamExt as _;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Version};
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use prost::Message as _;
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::client::{BoxBody, Connection, Reply, ask, call, empty};
use crate::world::{Choices, FUNCTION, KEY, VERSION, World, until};

type Say = dyn Fn(&Request<()>, &Bytes) -> Response<BoxBody> + Send + Sync;

/// A server that says what the test wants.
struct Authority {
    address: SocketAddr,
    asked: Arc<AtomicU64>,
    say: Arc<Mutex<Arc<Say>>>,
    pause: Arc<Mutex<Duration>>,
    _tasks: JoinSet<()>,
}

impl Authority {
    async fn start(
        say: impl Fn(&Request<()>, &Bytes) -> Response<BoxBody> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let first: Arc<Say> = Arc::new(say);
        let say = Arc::new(Mutex::new(first));
        let asked = Arc::new(AtomicU64::new(0));
        let pause = Arc::new(Mutex::new(Duration::ZERO));
        let (heard, spoken, waits) = (Arc::clone(&asked), Arc::clone(&say), Arc::clone(&pause));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (heard, spoken, waits) =
                    (Arc::clone(&heard), Arc::clone(&spoken), Arc::clone(&waits));
                connections.spawn(async move {
                    let serve = service_fn(move |request: Request<Incoming>| {
                        let (heard, spoken, waits) =
                            (Arc::clone(&heard), Arc::clone(&spoken), Arc::clone(&waits));
                        async move {
                            let (head, body) = request.into_parts();
                            let body = body.collect().await?.to_bytes();
                            heard.fetch_add(1, Ordering::SeqCst);
                            let pause = *waits.lock().unwrap();
                            tokio::time::sleep(pause).await;
                            let say = Arc::clone(&spoken.lock().unwrap());
                            Ok::<_, hyper::Error>(say(&Request::from_parts(head, ()), &body))
                        }
                    });
                    let builder = auto::Builder::new(TokioExecutor::new());
                    let _ = builder.serve_connection(TokioIo::new(stream), serve).await;
                });
            }
        });
        Self {
            address,
            asked,
            say,
            pause,
            _tasks: tasks,
        }
    }

    fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }

    fn now_say(
        &self,
        say: impl Fn(&Request<()>, &Bytes) -> Response<BoxBody> + Send + Sync + 'static,
    ) {
        *self.say.lock().unwrap() = Arc::new(say);
    }
}

fn json(status: u16, text: &str) -> Response<BoxBody> {
    let body = Full::new(Bytes::from(text.to_owned()));
    let body = body.map_err(|e| match e {}).boxed_unsync();
    Response::builder().status(status).body(body).unwrap()
}

async fn world(auth: String) -> World {
    World::with(Choices {
        auth,
        waiting: 2_000,
        ..Choices::default()
    })
    .await
}

/// Calls with a key and a malformed wait: whoever is let in is told of that.
async fn status(connection: &mut Connection, key: &str) -> Reply {
    let mut request = call(Method::GET, "/p", empty());
    let value = HeaderValue::from_str(&format!("Bearer {key}")).unwrap();
    request.headers_mut().insert(AUTHORIZATION, value);
    let headers = request.headers_mut();
    headers.insert("nvcf-poll-seconds", HeaderValue::from_static("x"));
    Reply::read(connection.send(request).await.unwrap())
        .await
        .unwrap()
}

/// A call that was let in fails next, for its wait is malformed.
const LET_IN: u16 = 400;

async fn connect(world: &World) -> Connection {
    Connection::open(world.front, Version::HTTP_2)
        .await
        .unwrap()
}

#[tokio::test]
async fn an_http_authority_is_told_the_hash_and_asked_once() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let authority = Authority::start(move |request, body| {
        assert_eq!(request.uri().path(), "/authorize");
        log.lock().unwrap().push(body.clone());
        let ask: serde_json::Value = serde_json::from_slice(body).unwrap();
        let good = hex::encode(Sha256::digest("good"));
        match ask["key_sha256"] == *good {
            true => json(200, r#"{"allow":true,"identity":"alice"}"#),
            false => json(200, r#"{"allow":false}"#),
        }
    })
    .await;
    let url = format!("http://{}/authorize", authority.address);
    let world = world(format!("[auth]\nhttp = {{ url = {url:?} }}\n")).await;
    let mut connection = connect(&world).await;
    for (key, expected, asked) in [
        // Known here: nobody is asked.
        (KEY, LET_IN, 0),
        ("good", LET_IN, 1),
        ("good", LET_IN, 1),
        ("bad", 403, 2),
        ("bad", 403, 2),
    ] {
        let reply = status(&mut connection, key).await;
        assert_eq!(
            (reply.status, authority.asked()),
            (expected, asked),
            "{key}"
        );
        assert_eq!(reply.header("frontdoor-execution"), Some("not-started"));
    }
    let ask: serde_json::Value = serde_json::from_slice(&seen.lock().unwrap()[0]).unwrap();
    assert_eq!(ask["method"], "GET");
    assert_eq!(ask["host"], format!("{FUNCTION}.invocation.localhost"));
    assert_eq!(ask["function"], FUNCTION);
    assert!(ask.get("path").is_none());
    let all = seen.lock().unwrap().concat();
    assert!(
        !String::from_utf8(all).unwrap().contains("good"),
        "only hashes"
    );
}

#[tokio::test]
async fn many_callers_of_one_key_ask_once_and_three_thousand_keys_three_thousand_times() {
    let authority = Authority::start(|_, _| json(200, r#"{"allow":true}"#)).await;
    let url = format!("http://{}/", authority.address);
    let world = world(format!("[auth]\nhttp = {{ url = {url:?} }}\n")).await;
    *authority.pause.lock().unwrap() = Duration::from_millis(100);
    let mut callers = JoinSet::new();
    for _ in 0..50 {
        let mut connection = connect(&world).await;
        callers.spawn(async move { status(&mut connection, "one").await.status });
    }
    assert!(callers.join_all().await.iter().all(|s| *s == LET_IN));
    assert_eq!(authority.asked(), 1);
    *authority.pause.lock().unwrap() = Duration::ZERO;
    for pass in 1..=2 {
        let mut callers = JoinSet::new();
        for caller in 0..8 {
            let mut connection = connect(&world).await;
            callers.spawn(async move {
                for n in (caller..3_000).step_by(8) {
                    let reply = status(&mut connection, &format!("key-{n}")).await;
                    assert_eq!(reply.status, LET_IN, "{n}");
                }
            });
        }
        callers.join_all().await;
        assert_eq!(authority.asked(), 3_001, "pass {pass}");
    }
}

#[tokio::test]
async fn a_dead_authority_costs_bounded_time_and_old_verdicts_last_a_while() {
    let authority = Authority::start(|_, _| json(200, r#"{"allow":true}"#)).await;
    let url = format!("http://{}/", authority.address);
    let world = world(format!(
        "[auth]\nttl = \"100ms\"\nstale = \"1h\"\nhttp = {{ url = {url:?}, timeout = \"500ms\" }}\n"
    ))
    .await;
    let mut connection = connect(&world).await;
    assert_eq!(status(&mut connection, "known").await.status, LET_IN);
    *authority.pause.lock().unwrap() = Duration::from_secs(60);
    tokio::time::sleep(Duration::from_millis(150)).await;
    let began = Instant::now();
    assert_eq!(status(&mut connection, "known").await.status, LET_IN);
    let reply = status(&mut connection, "new").await;
    assert_eq!(reply.status, 503, "{}", reply.text());
    assert_eq!(reply.header("frontdoor-execution"), Some("not-started"));
    assert!(reply.header("retry-after").is_some());
    let waited = began.elapsed();
    assert!(
        waited < Duration::from_secs(4),
        "twice the time limit: {waited:?}"
    );
    assert!(
        world
            .metric("frontdoor_invocation_auth_stale_total 1")
            .await
            && world
                .metric("frontdoor_invocation_calls_total{outcome=\"unsure\"} 1")
                .await
    );
    // A refusal of the authority to answer is no verdict either; when it is back, it is asked again.
    *authority.pause.lock().unwrap() = Duration::ZERO;
    authority.now_say(|_, _| json(500, r#"{"allow":true}"#));
    assert_eq!(status(&mut connection, "newer").await.status, 503);
    authority.now_say(|_, _| json(403, ""));
    for key in ["newer", "known"] {
        until("the authority's new word", || async {
            let mut connection = connect(&world).await;
            (status(&mut connection, key).await.status == 403).then_some(())
        })
        .await;
    }
}

fn grpc(code: &'static str, message: Option<ClientInvokeResponse>) -> Response<BoxBody> {
    let mut frames = Vec::new();
    if let Some(message) = message {
        let bytes = message.encode_to_vec();
        let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
        let framed = [&[0][..], &length, &bytes].concat();
        frames.push(Ok(Frame::data(Bytes::from(framed))));
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static(code));
    if code == "2" {
        let words = HeaderValue::from_static("Cloud%20credits%20expired");
        trailers.insert("grpc-message", words);
    }
    frames.push(Ok(Frame::trailers(trailers)));
    let body = StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync();
    Response::builder()
        .header("content-type", "application/grpc")
        .body(body)
        .unwrap()
}

fn allowed(version: &str) -> Response<BoxBody> {
    let version = FunctionVersion {
        function_version_id: version.to_owned(),
        ..FunctionVersion::default()
    };
    grpc(
        "0",
        Some(ClientInvokeResponse {
            function_id: FUNCTION.to_owned(),
            function_versions: vec![version],
            client_auth_subject: "alice".into(),
            client_nca_id: "acme".into(),
        }),
    )
}

#[tokio::test]
async fn nvcfs_authority_is_asked_over_grpc() {
    let authority = Authority::start(|request, body| {
        assert_eq!(
            request.uri().path(),
            "/nvcf.Invocation/AuthClientInvocation"
        );
        assert_eq!(request.headers()["te"], "trailers");
        assert_eq!(request.headers()["authorization"], "Bearer our-own");
        assert_eq!(request.version(), Version::HTTP_2);
        let ask = ClientInvokeRequest::decode(&body[5..]).unwrap();
        assert_eq!(ask.function_id, FUNCTION);
        assert_eq!(ask.function_version_id, None);
        match &*ask.client_authorization_token {
            "good" => allowed(VERSION),
            "elsewhere" => allowed(FUNCTION),
            "poor" => grpc("2", None),
            "stranger" => grpc("7", None),
            "lost" => grpc("5", None),
            "early" => grpc("9", None),
            "unlucky" => grpc("14", None),
            _ => grpc("16", None),
        }
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "our-own\n").unwrap();
    let url = format!("http://{}", authority.address);
    let world = world(format!(
        "[auth]\ngrpc = {{ url = {url:?}, token_file = {token:?} }}\n"
    ))
    .await;
    let mut connection = connect(&world).await;
    for (key, expected) in [
        ("good", LET_IN),
        ("poor", 402),
        ("stranger", 403),
        ("lost", 404),
        ("early", 412),
        ("unlucky", 503),
        ("nobody", 401),
    ] {
        let first = status(&mut connection, key).await;
        assert_eq!(first.status, expected, "{key}: {}", first.text());
        let asked = authority.asked();
        assert_eq!(status(&mut connection, key).await.status, expected, "{key}");
        assert_eq!(authority.asked(), asked, "{key} is remembered");
    }
    // The versions it allows bound the choice.
    let mut request = call(Method::GET, "/", empty());
    let value = HeaderValue::from_static("Bearer elsewhere");
    request.headers_mut().insert(AUTHORIZATION, value);
    let reply = ask(&world, Version::HTTP_2, request).await;
    assert_eq!(reply.status, 404, "{}", reply.text());
}

fn entry(key: &str, expires: Option<SystemTime>) -> String {
    let hash = hex::encode(Sha256::digest(key));
    let expires = expires.map_or_else(String::new, |at| {
        let moment = frontdoor_protocol::moment::Moment(at);
        format!("expires = \"{moment}\"\n")
    });
    format!("[[keys]]\nname = {key:?}\nsha256 = \"{hash}\"\nfunctions = [\"*\"]\n{expires}")
}

#[tokio::test]
async fn a_keys_file_is_followed_and_a_wrong_one_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.toml");
    let put = |text: &str| {
        let new = folder.path().join("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(&new, &path).unwrap();
    };
    let ago = SystemTime::now() - Duration::from_secs(5);
    put(&(entry("first", None) + &entry("old", Some(ago))));
    let world = world(format!("[auth]\nkeys_file = {path:?}\n")).await;
    let mut connection = connect(&world).await;
    for (key, expected) in [
        (KEY, LET_IN),
        ("first", LET_IN),
        ("old", 401),
        ("second", 401),
    ] {
        assert_eq!(status(&mut connection, key).await.status, expected, "{key}");
    }
    let reads = |what: &str, n: u64| {
        format!("frontdoor_invocation_auth_keys_reloads_total{{outcome=\"{what}\"}} {n}")
    };
    put("[[keys]]\nname = 1\n");
    until("a refused file", || async {
        world.metric(&reads("refused", 1)).await.then_some(())
    })
    .await;
    assert_eq!(status(&mut connection, "first").await.status, LET_IN);

    let soon = SystemTime::now() + Duration::from_secs(8);
    put(&entry("second", Some(soon)));
    until("the new key", || async {
        let mut connection = connect(&world).await;
        (status(&mut connection, "second").await.status == LET_IN).then_some(())
    })
    .await;
    assert_eq!(status(&mut connection, "first").await.status, 401, "gone");
    assert_eq!(status(&mut connection, KEY).await.status, LET_IN);
    until("its expiry", || async {
        let mut connection = connect(&world).await;
        let reply = status(&mut connection, "second").await;
        (reply.status == 401 && reply.text().contains("expired")).then_some(())
    })
    .await;
    assert!(
        SystemTime::now() + Duration::from_secs(1) >= soon,
        "not before"
    );
    assert!(world.metric(&reads("refused", 1)).await, "said once");
}

#[tokio::test]
async fn a_revoked_key_is_refused_in_every_region_within_a_second() {
    let hub = crate::world::Nats::hub().await;
    let [east, west] = [
        World::joined_to(&hub, "us-east").await,
        World::joined_to(&hub, "eu-west").await,
    ];
    let mut connections = [connect(&east).await, connect(&west).await];
    for connection in &mut connections {
        assert_eq!(status(connection, KEY).await.status, LET_IN);
    }
    let operator = async_nats::connect(hub.url()).await.unwrap();
    let inbox = format!("{}.test", subject::CHATTER_INBOX);
    let mut confirmed = operator.subscribe(inbox.clone()).await.unwrap();
    // Interest takes a moment to reach the hub: first a key that nobody has.
    let revoke = async |key: &str| {
        let word = Revocation {
            sha256: frontdoor_protocol::key::KeyHash(Sha256::digest(key).into()),
        };
        let payload = word.encode().into();
        let sent = operator.publish_with_reply(subject::REVOKED, inbox.clone(), payload);
        sent.await.unwrap();
        operator.flush().await.unwrap();
    };
    let mut regions = std::collections::BTreeSet::new();
    let limit = Instant::now() + Duration::from_secs(10);
    while regions.len() < 2 {
        assert!(Instant::now() < limit, "only {regions:?} listen");
        revoke("nobody's").await;
        while let Ok(Some(message)) =
            tokio::time::timeout(Duration::from_millis(100), confirmed.next()).await
        {
            regions.insert(message.payload.to_vec());
        }
    }
    let revoked = Instant::now();
    revoke(KEY).await;
    for connection in &mut connections {
        loop {
            let reply = status(connection, KEY).await;
            if reply.status == 401 {
                assert!(reply.text().contains("revoked"), "{}", reply.text());
                break;
            }
            assert!(revoked.elapsed() < Duration::from_secs(1), "still let in");
        }
    }
    operator
        .publish(subject::REVOKED, "rubbish".into())
        .await
        .unwrap();
    let line = "frontdoor_invocation_auth_revocations_total{outcome=\"malformed\"} 1";
    until("a counted message", || async {
        west.metric(line).await.then_some(())
    })
    .await;
}
