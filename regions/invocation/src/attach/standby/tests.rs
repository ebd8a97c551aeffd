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
async fn versions_for_which_nothing_stands_any_more_are_forgotten() {
    let (standby, version, worker) = standby();
    let forget = || {
        standby.forget();
        lock(&standby.ranks).as_ref().map_or(0, HashMap::len)
    };
    let time_passes = || {
        let mut ranks = lock(&standby.ranks);
        let ranks = ranks.as_mut().expect("open");
        ranks.values_mut().for_each(|rank| rank.last = None);
    };
    std::mem::forget(standby.put(version, worker, stream()));
    time_passes();
    assert_eq!(forget(), 1, "one stands, however long");
    std::mem::forget(standby.put(version, worker, stream()));
    while let Found::Stream(_) = standby.find(version) {}
    assert_eq!(forget(), 1, "the next may come soon");
    let waiting = standby.find(version);
    assert!(is_next(&waiting));
    time_passes();
    assert_eq!(forget(), 1, "a call waits");
    drop(waiting);
    assert_eq!(forget(), 0);

    for n in 0..VERSIONS as u128 {
        let version = VersionId::from_uuid(Uuid::from_u128(n));
        drop(standby.put(version, worker, stream()));
    }
    let one_more = VersionId::from_uuid(Uuid::from_u128(u128::MAX));
    assert!(standby.put(one_more, worker, stream()).is_err(), "too many");
    time_passes();
    assert_eq!(forget(), 0);
    assert!(standby.put(one_more, worker, stream()).is_ok());
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
