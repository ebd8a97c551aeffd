//! What goes wrong in a region, and what each case costs the callers of its invocation service: one set, printed with the
//! figures. NVIDIA's service was measured in the same cases; `regions/README.md` has both.
//!
//! Callers speak to the service itself, without an edge that might find another region for them. Where the edge is what they see,
//! it is the edge of a single region.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::BodyExt as _;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use sha2::{Digest as _, Sha256};
use test_support::client::{Answer, Client, Protocol, full};
use test_support::eventually::eventually;
use test_support::world::World;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::world;

const ONE: &[&str] = &["--regions", "us-east", "--wan", "us-east=0ms"];
const PATIENCE: Duration = Duration::from_secs(20);

/// The region's service, as its edge reaches it.
async fn service(world: &World) -> Client {
    let address = world.address("/regions/us-east/invocation/url");
    Client::plain(address, Protocol::H2).await.expect("a port")
}

async fn call(world: &World, method: &str, path: &str, poll: &str) -> anyhow::Result<Answer> {
    let request = world.request(method, path);
    let request = request.header("nvcf-poll-seconds", poll).body(full("{}"))?;
    service(world).await.call(request).await
}

/// Breaks or mends a part; the program that does it must not hold up the callers.
async fn local(world: &Arc<World>, args: &[&str]) {
    let world = Arc::clone(world);
    let args: Vec<String> = args.iter().map(|&a| a.to_owned()).collect();
    let run = move || {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        world.local(&args).expect("done");
    };
    tokio::task::spawn_blocking(run).await.expect("no panic");
}

/// The value of a metric of one of the region's parts, such as `/worker/admin`.
async fn metric(world: &World, part: &str, name: &str) -> Option<u64> {
    let admin = world.address(&format!("/regions/us-east{part}"));
    let mut client = Client::plain(admin, Protocol::H1).await.ok()?;
    let request = http::Request::get("/metrics").header("host", "admin");
    let text = client.call(request.body(full("")).ok()?).await.ok()?.text();
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    value.trim().parse().ok()
}

fn ran(world: &World) -> usize {
    world.executed().expect("a journal").len()
}

fn execution(answer: &Answer) -> &str {
    answer.header("frontdoor-execution")
}

#[tokio::test]
async fn a_worker_killed_in_a_call_is_told_to_its_caller() {
    let world = world(ONE);
    let caller = {
        let world = Arc::clone(&world);
        tokio::spawn(async move { call(&world, "POST", "/sleep/3000", "60").await })
    };
    eventually("the call runs", PATIENCE, async || {
        (ran(&world) == 1).then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let killed = Instant::now();
    local(&world, &["kill", "us-east/worker"]).await;
    let answer = caller.await.expect("no panic").expect("an answer");
    let took = killed.elapsed();
    println!(
        "worker killed 1 s into a call of 3 s: {} after {took:?}",
        answer.status
    );
    assert_eq!(
        (answer.status.as_u16(), execution(&answer)),
        (502, "started")
    );
    assert_eq!(ran(&world), 1, "it is not run again");
}

#[tokio::test]
async fn a_call_waits_as_long_as_asked_for_a_worker_or_for_nats() {
    let world = world(ONE);
    // What of the region's NATS stands still is not missed while a worker stands ready.
    local(&world, &["kill", "us-east/nats", "--signal", "STOP"]).await;
    let began = Instant::now();
    let answer = call(&world, "POST", "/echo", "1").await.expect("an answer");
    println!(
        "NATS frozen at poll 1, a worker stands ready: {} after {:?}",
        answer.status,
        began.elapsed()
    );
    assert!(
        answer.status == 200 || execution(&answer) == "not-started",
        "{}",
        answer.text()
    );
    local(&world, &["kill", "us-east/nats", "--signal", "CONT"]).await;

    local(&world, &["kill", "us-east/worker"]).await;
    for frozen in [false, true] {
        if frozen {
            local(&world, &["kill", "us-east/nats", "--signal", "STOP"]).await;
        }
        let began = Instant::now();
        let answer = call(&world, "POST", "/echo", "1").await.expect("an answer");
        let took = began.elapsed();
        println!(
            "no worker at poll 1 (NATS frozen: {frozen}): {} after {took:?}",
            answer.status
        );
        assert!(
            matches!(answer.status.as_u16(), 503 | 504),
            "{}",
            answer.text()
        );
        assert_eq!(execution(&answer), "not-started");
        assert!(took < Duration::from_millis(1_500), "{took:?}");
    }
    local(&world, &["kill", "us-east/nats", "--signal", "CONT"]).await;
}

#[tokio::test]
async fn a_service_told_to_stop_finishes_its_call() {
    let world = world(ONE);
    for (nth, signal) in ["TERM", "INT"].into_iter().enumerate() {
        let caller = {
            let world = Arc::clone(&world);
            tokio::spawn(async move { call(&world, "POST", "/sleep/1500", "60").await })
        };
        eventually("the call runs", PATIENCE, async || {
            (ran(&world) == nth + 1).then_some(())
        })
        .await;
        local(&world, &["kill", "us-east/invocation", "--signal", signal]).await;
        let answer = caller.await.expect("no panic");
        let answer = answer.unwrap_or_else(|cut| panic!("{signal}: {cut:#}"));
        println!("SIG{signal} during a call: {}", answer.status);
        assert_eq!(answer.status, 200, "{signal}: {}", answer.text());
        local(&world, &["start", "us-east/invocation"]).await;
    }
}

#[tokio::test]
async fn what_a_killed_service_had_queued_is_never_run() {
    let world = world(ONE);
    local(&world, &["kill", "us-east/worker"]).await;
    let mut callers = JoinSet::new();
    for _ in 0..10 {
        let request = world
            .request("POST", "/echo")
            .body(full("{}"))
            .expect("valid");
        let mut client = world.caller(Protocol::H2).await.expect("a connection");
        callers.spawn(async move { (client.call(request).await, Instant::now()) });
    }
    // Each is in the queue, not only counted as waiting.
    let queued = "frontdoor_invocation_publish_seconds_count ";
    eventually("ten queued calls", PATIENCE, async || {
        let queued = metric(&world, "/invocation/admin", queued).await?;
        (queued >= 10).then_some(())
    })
    .await;
    let killed = Instant::now();
    local(&world, &["kill", "us-east/invocation"]).await;
    let mut slowest = Duration::ZERO;
    for (answer, at) in callers.join_all().await {
        let answer = answer.expect("an answer");
        assert_eq!(answer.status, 502, "{}", answer.text());
        assert!(answer.text().contains("may-have-run"), "{}", answer.text());
        slowest = slowest.max(at - killed);
    }
    println!("service killed with 10 queued: the last caller knows after {slowest:?}");

    // A worker finds them in the queue, and nobody to ask; then a service that does not know them.
    local(&world, &["start", "us-east/worker"]).await;
    let outcome = |name: &str| format!("frontdoor_worker_items_total{{outcome=\"{name}\"}} ");
    eventually("nobody to ask", PATIENCE, async || {
        let tried = metric(&world, "/worker/admin", &outcome("service-unreachable")).await?;
        (tried >= 10).then_some(())
    })
    .await;
    local(&world, &["start", "us-east/invocation"]).await;
    eventually("ten refused claims", PATIENCE, async || {
        let refused = metric(&world, "/worker/admin", &outcome("refused")).await?;
        (refused >= 10).then_some(())
    })
    .await;
    assert_eq!(ran(&world), 0, "none of them ran");
    let answer = call(&world, "POST", "/echo", "20")
        .await
        .expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(ran(&world), 1);
}

/// An authority that lets everybody in; what it was asked.
async fn authority() -> (String, Arc<std::sync::Mutex<Vec<String>>>, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("bound"));
    let asked = Arc::new(std::sync::Mutex::new(Vec::new()));
    let (log, mut serving) = (Arc::clone(&asked), JoinSet::new());
    serving.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let log = Arc::clone(&log);
            connections.spawn(async move {
                let serve = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                    let log = Arc::clone(&log);
                    async move {
                        let body = request.into_body().collect().await?.to_bytes();
                        let ask: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
                        let key = ask["key_sha256"].as_str().expect("a hash").to_owned();
                        log.lock().expect("no panic").push(key);
                        Ok::<_, hyper::Error>(http::Response::new(full(r#"{"allow":true}"#)))
                    }
                });
                let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                let _ = builder.serve_connection(TokioIo::new(stream), serve).await;
            });
        }
    });
    (url, asked, serving)
}

#[tokio::test]
async fn many_headers_and_many_keys_are_nothing_special() {
    let world = world(ONE);
    let answer = call(&world, "GET", "/headers/100", "60").await;
    let answer = answer.expect("an answer");
    println!(
        "100 response headers: {} with {}",
        answer.status,
        answer.headers.len()
    );
    assert!(answer.status == 200 && answer.headers.len() >= 100);

    let (url, asked, _serving) = authority().await;
    let file = world.dir.join("us-east-invocation.toml");
    let mut text = std::fs::read_to_string(&file).expect("the service's configuration");
    text.push_str(&format!("\n[auth]\nhttp = {{ url = {url:?} }}\n"));
    std::fs::write(&file, text).expect("written");
    local(&world, &["kill", "us-east/invocation", "--signal", "TERM"]).await;
    local(&world, &["start", "us-east/invocation"]).await;

    let began = Instant::now();
    for pass in 1..=2 {
        let mut callers = JoinSet::new();
        for caller in 0..8 {
            let mut client = service(&world).await;
            let world = Arc::clone(&world);
            callers.spawn(async move {
                for n in (caller..3_000).step_by(8) {
                    let request = world.request_with_key("GET", "/bytes/1", &format!("key-{n}"));
                    let answer = client.call(request.body(full("")).expect("valid")).await;
                    assert_eq!(answer.expect("an answer").status, 200);
                }
            });
        }
        callers.join_all().await;
        let asked = asked.lock().expect("no panic");
        println!(
            "3,000 keys, pass {pass}: the authority was asked {} times",
            asked.len()
        );
        assert_eq!(asked.len(), 3_000, "pass {pass}");
    }
    println!("6,000 calls of 3,000 keys in {:?}", began.elapsed());
    let hash = hex::encode(Sha256::digest("key-7"));
    assert_eq!(
        asked
            .lock()
            .expect("no panic")
            .iter()
            .filter(|k| **k == hash)
            .count(),
        1
    );
}
