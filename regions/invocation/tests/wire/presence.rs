//! What workers say of themselves on NATS, and what others make up.

use frontdoor_protocol::presence::{Standing, WorkerPresence};
use frontdoor_protocol::subject;
use uuid::Uuid;

use crate::world::{REGION, UNKNOWN, VERSION, World, until};

fn worker(number: u128, free: u32) -> WorkerPresence {
    WorkerPresence {
        worker: Uuid::from_u128(number),
        version: VERSION.parse().unwrap(),
        standing: Standing::Ready,
        slots: 8,
        free,
        service: std::time::Duration::from_millis(5),
    }
}

async fn shows(world: &World, line: &str) {
    until(line, || async { world.metric(line).await.then_some(()) }).await;
}

#[tokio::test]
async fn workers_are_known_while_they_speak_and_the_made_up_are_counted() {
    let world = World::start().await;
    let client = world.nats_client().await;
    let region = REGION.parse().unwrap();
    let own = subject::worker_presence(&region, VERSION.parse().unwrap());
    let others = subject::worker_presence(&region, UNKNOWN.parse().unwrap());
    let say = async |subject: &str, bytes: Vec<u8>| {
        client
            .publish(subject.to_owned(), bytes.into())
            .await
            .unwrap();
    };
    say(&own, b"\xff\x00 no presence".to_vec()).await;
    say(&own, vec![b'x'; 1_000_000]).await;
    // Permission to speak for one version is none to speak for another.
    say(&others, worker(3, 8).encode()).await;
    say(&own, worker(1, 8).encode()).await;
    say(&own, worker(2, 3).encode()).await;
    shows(
        &world,
        "frontdoor_invocation_presence_total{outcome=\"malformed\"} 3",
    )
    .await;
    shows(&world, "frontdoor_invocation_workers 2").await;
    shows(&world, "frontdoor_invocation_free_slots 11").await;
    let leaves = WorkerPresence {
        standing: Standing::Leaving,
        ..worker(1, 8)
    };
    say(&own, leaves.encode()).await;
    say(&own, worker(2, 0).encode()).await;
    shows(&world, "frontdoor_invocation_free_slots 0").await;
    // Nobody says anything more.
    shows(&world, "frontdoor_invocation_workers 0").await;
}
