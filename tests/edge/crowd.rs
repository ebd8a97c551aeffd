//! More calls in one instant than the connections to a region have places for.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use test_support::client::{Client, Protocol};
use test_support::eventually::eventually;
use test_support::region::{Region, reply};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use crate::harness::{Edge, post};

/// What the first word of a region takes on a new connection.
const FAR: Duration = Duration::from_millis(150);
/// Places on a connection.
const STREAMS: usize = 4;

/// A region that holds every call until it is let go.
async fn holding(gate: &Arc<Semaphore>) -> Region {
    let gate = Arc::clone(gate);
    let script = move |_| {
        let gate = Arc::clone(&gate);
        async move {
            let _held = gate.acquire().await;
            reply(200, &[], "ok")
        }
    };
    Region::start(script).await.expect("a port")
}

/// The same region, from far away: each new connection takes its time before it says anything.
async fn from_afar(region: &Region) -> (SocketAddr, AbortOnDropHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let (address, region) = (listener.local_addr().expect("bound"), region.address);
    let relay = tokio::spawn(async move {
        let mut relays = JoinSet::new();
        while let Ok((mut near, _)) = listener.accept().await {
            relays.spawn(async move {
                tokio::time::sleep(FAR).await;
                let mut far = TcpStream::connect(region).await?;
                tokio::io::copy_bidirectional(&mut near, &mut far).await
            });
        }
    });
    (address, AbortOnDropHandle::new(relay))
}

async fn edge(region: SocketAddr, connections: usize) -> Edge {
    over(&[("us-east", region)], connections).await
}

async fn over(regions: &[(&str, SocketAddr)], connections: usize) -> Edge {
    let more = format!("upstream = {{ streams = {STREAMS}, connections = {connections} }}");
    let edge = Edge::configured(regions, &more).await;
    for (name, _) in regions {
        edge.health(name, "up").await;
    }
    edge
}

/// Attempts that found no place in a region.
async fn turned_away(edge: &Edge, region: &str) -> f64 {
    let labels = format!("failure=\"full\",region=\"{region}\"");
    edge.counter("attempts_failed_total", &labels).await
}

/// So many calls at once, on one connection.
fn crowd(client: &Client, count: usize) -> JoinSet<u16> {
    let mut calls = JoinSet::new();
    for _ in 0..count {
        let mut sender = client.h2();
        calls.spawn(async move {
            sender.ready().await.expect("open");
            let answer = sender.send_request(post("/x", "x")).await;
            answer.expect("an answer").status().as_u16()
        });
    }
    calls
}

async fn all_held(region: &Region, count: usize) {
    eventually("all are held", Duration::from_secs(10), async || {
        (region.calls() == count).then_some(())
    })
    .await;
}

#[tokio::test]
async fn it_waits_for_connections_and_no_call_fails() {
    // One connection after the other would take six seconds, many times the patience for one.
    const COUNT: usize = 160;
    let gate = Arc::new(Semaphore::new(0));
    let region = holding(&gate).await;
    let (address, _relay) = from_afar(&region).await;
    let edge = edge(address, 64).await;
    let client = edge.client(Protocol::H2).await;
    let began = Instant::now();
    let calls = crowd(&client, COUNT);
    all_held(&region, COUNT).await;
    let took = began.elapsed();
    gate.add_permits(COUNT);
    let statuses = calls.join_all().await;
    assert_eq!(statuses, [200; COUNT]);
    assert!(took < 10 * FAR, "dials side by side: {took:?}");
    let failed = edge.counter("upstream_dials_total", "silent").await;
    assert!(failed < 1.0, "no dial failed");
    assert_eq!(
        edge.region("us-east", "health").await,
        "up",
        "having to wait says nothing against a region"
    );
}

#[tokio::test]
async fn whoever_finds_all_connections_full_is_told_at_once() {
    const ROOM: usize = 2 * STREAMS;
    let gate = Arc::new(Semaphore::new(0));
    let region = holding(&gate).await;
    let edge = edge(region.address, 2).await;
    let client = edge.client(Protocol::H2).await;
    let calls = crowd(&client, ROOM);
    all_held(&region, ROOM).await;
    let began = Instant::now();
    let more = edge.post("/x", "x").await;
    assert_eq!(more.status, 503, "{}", more.text());
    assert!(began.elapsed() < Duration::from_millis(500), "at once");
    let retry: u32 = more.header("retry-after").parse().expect("seconds");
    assert!(retry >= 1);
    let full = turned_away(&edge, "us-east").await;
    assert!(full >= 1.0, "whoever watches can tell why");
    let unreachable = edge.counter("attempts_failed_total", "unreachable").await;
    assert!(unreachable < 1.0, "and looks for no fault in the region");
    gate.add_permits(ROOM + 1);
    assert_eq!(calls.join_all().await, [200; ROOM]);
    assert_eq!(edge.post("/x", "x").await.status, 200);
}

#[tokio::test]
async fn what_has_no_place_in_one_region_goes_to_another() {
    let gate = Arc::new(Semaphore::new(0));
    let [east, west] = [holding(&gate).await, holding(&gate).await];
    let edge = over(&[("us-east", east.address), ("eu-west", west.address)], 1).await;
    let client = edge.client(Protocol::H2).await;
    let calls = crowd(&client, 2 * STREAMS);
    eventually("all are held", Duration::from_secs(10), async || {
        (east.calls() + west.calls() == 2 * STREAMS).then_some(())
    })
    .await;
    // Both are full now, whichever was chosen first; the next call asks both and is told so.
    let before = turned_away(&edge, "us-east").await + turned_away(&edge, "eu-west").await;
    assert_eq!(edge.post("/x", "x").await.status, 503);
    for region in ["us-east", "eu-west"] {
        assert!(turned_away(&edge, region).await >= 1.0, "{region}");
        assert_eq!(edge.region(region, "health").await, "up");
    }
    let after = turned_away(&edge, "us-east").await + turned_away(&edge, "eu-west").await;
    assert!(after - before >= 2.0, "asked both: {}", after - before);
    gate.add_permits(2 * STREAMS + 1);
    assert_eq!(calls.join_all().await, [200; 2 * STREAMS]);
}

#[tokio::test]
async fn a_region_that_closes_what_it_opens_keeps_nobody_dialling() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let rude = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // Speaks HTTP/2, and takes leave with the same breath.
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await?;
                connection.graceful_shutdown();
                while connection.accept().await.is_some() {}
                Ok::<_, h2::Error>(())
            });
        }
    });
    let _rude = AbortOnDropHandle::new(rude);
    let edge = Edge::unready(&[("us-east", address)]).await;
    let dials = async || edge.counter("upstream_dials_total", "").await;
    eventually("it dials", Duration::from_secs(5), async || {
        assert_eq!(edge.post("/x", "x").await.status, 503);
        (dials().await >= 1.0).then_some(())
    })
    .await;
    let (before, began) = (dials().await, Instant::now());
    let answer = edge.post("/x", "x").await;
    assert_eq!(answer.status, 503, "{}", answer.text());
    let (more, took) = (dials().await - before, began.elapsed());
    // One that waits for it, and what keeps connections warm.
    assert!(more <= 5.0, "{more} dials in {took:?}");
    assert!(took < Duration::from_secs(2), "{took:?}");
    let label = "failure=\"unreachable\"";
    let failed = edge.counter("attempts_failed_total", label).await;
    assert!(failed >= 1.0, "not full: there is nothing to be had");
}
