//! What silence costs: event streams that are open and say nothing, shared by few connections and one on each. In short with
//! all tests; `FRONTDOOR_ENDURE=full` and `FRONTDOOR_BINARY=…/release/frontdoor` for the figures of deploy/README.md.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use test_support::client::{Client, Protocol, full};
use test_support::eventually::eventually;
use test_support::region::{Region, Reply};

use crate::harness::host;
use crate::harness::process::{PROGRAM, Process};

const PATIENCE: Duration = Duration::from_secs(60);
/// Promise 5: so many streams, in so much.
const STREAMS: usize = 10_000;
const MOST: f64 = 200.0 * MIB;
/// What one more stream, and one more connection with a stream, may cost: less than twice what was measured.
const PER_STREAM: f64 = 32.0 * 1024.0;
const PER_CONNECTION: f64 = 192.0 * 1024.0;
/// What the first of them may cost all the others.
const ONCE: f64 = 20.0 * MIB;
const MIB: f64 = 1024.0 * 1024.0;

/// An edge in a process of its own, that knows its region.
struct Edge(Process);

/// What the process shows of itself.
#[derive(Debug, Clone, Copy)]
struct Used {
    bytes: f64,
    cpu_seconds: f64,
}

fn is_full() -> bool {
    std::env::var("FRONTDOOR_ENDURE").is_ok_and(|form| form == "full")
}

/// A region whose every answer is one event, and then silence.
async fn silent() -> Region {
    Region::start(|_| async {
        let event = Frame::data(Bytes::from_static(b"data: here\n\n"));
        let body = stream::iter([Ok::<_, std::io::Error>(event)]).chain(stream::pending());
        let reply: Reply = Response::builder()
            .header("content-type", "text/event-stream")
            .body(BodyExt::boxed(StreamBody::new(body)))
            .expect("valid");
        reply
    })
    .await
    .expect("a port")
}

// === impl Edge ===

impl Edge {
    async fn start(region: &Region) -> Self {
        let program = std::env::var_os("FRONTDOOR_BINARY").unwrap_or_else(|| PROGRAM.into());
        let process = Process::start(program, region.address, "", "").await;
        eventually("a region is up", PATIENCE, async || {
            let page = process.page("/metrics").await?;
            page.contains("region_health{region=\"us-east\"} 3")
                .then_some(())
        })
        .await;
        Self(process)
    }

    async fn used(&self) -> Used {
        let value = async |name: &str| {
            let value = self.0.value(name).await;
            value.unwrap_or_else(|| panic!("no {name}"))
        };
        Used {
            bytes: value("process_resident_memory_bytes").await,
            cpu_seconds: value("process_cpu_seconds_total").await,
        }
    }

    /// Opens a stream; it is open when its first event is there.
    async fn open(&self, client: &Client, number: usize) -> Response<Incoming> {
        let call = Request::get(format!("https://{}/events", host()))
            .header("authorization", format!("Bearer key-{}", number % 10))
            .body(full(""))
            .expect("valid");
        let mut sender = client.h2();
        sender.ready().await.expect("open");
        let mut answer = sender.send_request(call).await.expect("an answer");
        assert_eq!(answer.status(), 200);
        let first = answer.body_mut().frame().await;
        let first = first.expect("an event").expect("whole").into_data();
        assert_eq!(first.expect("data"), "data: here\n\n");
        answer
    }

    /// Opens so many, on so many connections, tells what that took and what keeping them takes, and returns the bytes it grew by.
    async fn hold(&self, streams: usize, connections: usize) -> f64 {
        let before = self.used().await;
        let mut clients = Vec::with_capacity(connections);
        for _ in 0..connections {
            clients.push(self.0.client(Protocol::H2, true).await);
        }
        let mut open = Vec::with_capacity(streams);
        let all = (0..streams).map(|number| self.open(&clients[number % connections], number));
        let mut all = stream::iter(all).buffer_unordered(64);
        while let Some(answer) = all.next().await {
            open.push(answer);
        }
        drop(all);
        let held = self.used().await;
        let quiet = Duration::from_secs(if is_full() { 30 } else { 1 });
        tokio::time::sleep(quiet).await;
        let after = self.used().await;
        let page = self.0.page("/metrics").await.expect("a page");
        let under_way = format!("frontdoor_edge_in_flight {streams}\n");
        assert!(page.contains(&under_way), "all are still open: {page}");
        let count = f64::from(u32::try_from(streams).expect("some thousands"));
        let grown = after.bytes - before.bytes;
        println!(
            "| {streams} silent streams on {connections} connections | {:.1} MiB before, {:.1} MiB open, {:.1} MiB after {} s | \
             {:.1} KiB each | opening took {:.0} µs of CPU each, silence {:.2} % of a core |",
            before.bytes / MIB,
            held.bytes / MIB,
            after.bytes / MIB,
            quiet.as_secs(),
            grown / count / 1024.0,
            (held.cpu_seconds - before.cpu_seconds) / count * 1e6,
            (after.cpu_seconds - held.cpu_seconds) / quiet.as_secs_f64() * 100.0,
        );
        grown
    }
}

/// What so many may take, at so much each.
fn bound(count: usize, each: f64) -> f64 {
    f64::from(u32::try_from(count).expect("some thousands")).mul_add(each, ONCE)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_streams_cost_little() {
    let region = silent().await;
    let edge = Edge::start(&region).await;
    let (streams, connections) = if is_full() { (STREAMS, 20) } else { (500, 5) };
    let grown = edge.hold(streams, connections).await;
    let most = bound(streams, PER_STREAM);
    assert!(grown < most, "grew by {grown} bytes, more than {most}");
    let used = edge.used().await.bytes;
    assert!(used < MOST, "{used} bytes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_connections_cost_what_they_may() {
    let region = silent().await;
    let edge = Edge::start(&region).await;
    let count = if is_full() { 4_000 } else { 200 };
    let grown = edge.hold(count, count).await;
    let most = bound(count, PER_CONNECTION);
    assert!(grown < most, "grew by {grown} bytes, more than {most}");
}
