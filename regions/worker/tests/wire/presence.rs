//! What the worker says of itself on NATS.

use std::time::Duration;

use frontdoor_protocol::presence::{Standing, WorkerPresence};
use futures_util::StreamExt;

use crate::world::{Plan, World, get};

#[tokio::test]
async fn a_worker_says_how_it_stands_until_it_leaves() {
    let world = World::start(Plan {
        slots: 2,
        ..Plan::default()
    })
    .await;
    let client = async_nats::connect(world.nats.url()).await.unwrap();
    let mut said = client
        .subscribe("frontdoor.us-east.worker.*")
        .await
        .unwrap();
    let mut heard = async |what: &str, wanted: &dyn Fn(&WorkerPresence) -> bool| {
        let heard = async {
            loop {
                let message = said.next().await.expect("more");
                let said = WorkerPresence::decode(&message.payload).expect("valid");
                assert!(message.subject.ends_with(&said.version.to_string()));
                if wanted(&said) {
                    return said;
                }
            }
        };
        let heard = tokio::time::timeout(Duration::from_secs(10), heard).await;
        heard.unwrap_or_else(|_| panic!("never heard: {what}"))
    };
    let first = heard("free", &|said| {
        said.standing == Standing::Ready && said.free == 2
    })
    .await;
    assert_eq!((first.slots, first.service), (2, Duration::ZERO));
    let call = world.invocation.call(get("/sleep/300")).await;
    let busy = heard("busy", &|said| said.free == 1).await;
    assert_eq!(busy.worker, first.worker);
    call.answer().await;
    let timed = heard("free again", &|said| {
        said.free == 2 && !said.service.is_zero()
    })
    .await;
    assert!(timed.service >= Duration::from_millis(100), "{timed:?}");
    world.kill_function();
    heard("resting", &|said| said.standing == Standing::Resting).await;
    world.shutdown.cancel();
    heard("leaving", &|said| said.standing == Standing::Leaving).await;
    world.stopped().await;
}
