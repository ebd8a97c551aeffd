//! Which call gets which stream, and which waits for the next.

use super::*;

fn stream() -> Stream {
    let (hand, _) = oneshot::channel();
    Stream {
        share: Arc::default(),
        hand,
    }
}

fn standby() -> (Arc<Standby>, VersionId, Uuid) {
    let worker = Uuid::from_u128(1);
    let standby = Standby::new(Workers::hearing(worker));
    (standby, VersionId::from_uuid(worker), worker)
}

fn is_next(found: &Found) -> bool {
    matches!(found, Found::Next(_))
}

#[tokio::test]
async fn a_call_waits_shortly_where_a_stream_was_lately() {
    let (standby, version, worker) = standby();
    assert!(matches!(standby.find(version), Found::None), "never any");
    std::mem::forget(standby.put(version, worker, stream()));
    assert!(matches!(standby.find(version), Found::Stream(_)));

    let (gone, first) = (standby.find(version), standby.find(version));
    assert!(is_next(&gone) && is_next(&first));
    drop(gone);
    std::mem::forget(standby.put(version, worker, stream()));
    let Found::Next(first) = first else {
        unreachable!("asserted above")
    };
    assert!(first.await.is_ok(), "whoever still waits gets it");

    assert!(
        standby.take(version).await.is_none(),
        "in vain, not for long"
    );
    std::mem::forget(standby.put(version, worker, stream()));
    assert!(standby.take(version).await.is_some());
    standby.close();
    assert!(standby.take(version).await.is_none());
}

#[tokio::test]
async fn the_streams_of_the_silent_are_not_handed_out() {
    let (standby, version, _) = standby();
    let silent = Uuid::from_u128(2);
    std::mem::forget(standby.put(version, silent, stream()));
    assert!(is_next(&standby.find(version)));
    std::mem::forget(standby.put(version, silent, stream()));
    assert_eq!(standby.count(), 2);
    assert!(standby.take(version).await.is_none());
}
