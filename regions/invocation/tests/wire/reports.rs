//! What the region tells the edges: all of it now and then, a change soon, and its queue by version.

use std::time::{Duration, Instant};

use async_nats::Subscriber;
use frontdoor_protocol::presence::{Standing, WorkerPresence};
use frontdoor_protocol::report::Report;
use frontdoor_protocol::subject;
use futures_util::StreamExt as _;
use http::{Method, Version};
use uuid::Uuid;

use crate::client::{Connection, call, full};
use crate::world::{REGION, VERSION, World};

async fn next(reports: &mut Subscriber) -> Report {
    let report = tokio::time::timeout(Duration::from_secs(3), reports.next());
    Report::decode(&report.await.expect("in time").unwrap().payload).unwrap()
}

/// The first report that says something of the version and fits.
async fn until(reports: &mut Subscriber, fits: impl Fn(&Report) -> bool) -> Report {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let report = next(reports).await;
        if fits(&report) {
            return report;
        }
        assert!(Instant::now() < end, "no such report: {report:?}");
    }
}

#[tokio::test]
async fn workers_and_queues_of_each_version_are_told_soon() {
    let world = World::start().await;
    let nats = world.nats_client().await;
    let mut reports = nats.subscribe("fd.report.us-east").await.unwrap();
    let list = until(&mut reports, |r| r.full).await;
    let first = list.functions[0];
    assert!(first.deployed && list.functions.len() == 1);
    assert_eq!((first.workers, first.slots, first.queued), (0, 0, 0));

    let own = subject::worker_presence(&REGION.parse().unwrap(), VERSION.parse().unwrap());
    let worker = WorkerPresence {
        worker: Uuid::from_u128(1),
        version: VERSION.parse().unwrap(),
        standing: Standing::Ready,
        slots: 8,
        free: 8,
        service: Duration::from_millis(5),
    };
    let began = Instant::now();
    nats.publish(own, worker.encode().into()).await.unwrap();
    let delta = until(&mut reports, |r| r.functions.iter().any(|f| f.workers == 1)).await;
    // 250 ms is the promise; the machine that runs this may be busy.
    assert!(began.elapsed() < Duration::from_millis(600));
    let told = delta.functions[0];
    assert_eq!((told.slots, told.free, told.service_ms), (8, 8, 5));

    let front = world.front;
    let waiting = tokio::spawn(async move {
        let mut connection = Connection::open(front, Version::HTTP_11).await.unwrap();
        connection
            .send(call(Method::POST, "/echo", full("x")))
            .await
            .map(|_| ())
    });
    let queued = until(&mut reports, |r| r.functions.iter().any(|f| f.queued == 1)).await;
    assert_eq!(queued.queued, 1);
    waiting.abort();
    until(&mut reports, |r| {
        r.queued == 0 && r.functions.iter().any(|f| f.queued == 0)
    })
    .await;
    let again = until(&mut reports, |r| r.full).await;
    assert!(again.seq > queued.seq && again.functions.len() == 1);
}
