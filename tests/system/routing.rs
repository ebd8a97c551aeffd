//! Where calls go when nothing fails: to the nearest region, also when that changes.

use std::time::Duration;

use test_support::client::{Protocol, full};
use test_support::eventually::eventually;
use test_support::world::World;

use crate::{NEAR_AND_FAR, world};

/// The regions that answered `count` calls, each named once.
async fn answered_by(world: &World, count: usize) -> Vec<String> {
    let mut client = world.caller(Protocol::H2).await.expect("a connection");
    let mut regions = Vec::new();
    for _ in 0..count {
        let call = world
            .request("POST", "/echo")
            .body(full(r#"{"message":"x"}"#))
            .expect("valid");
        let answer = client.call(call).await.expect("an answer");
        assert_eq!(answer.status, 200, "{}", answer.text());
        let region = answer.header("frontdoor-region").to_owned();
        if !regions.contains(&region) {
            regions.push(region);
        }
    }
    regions
}

#[tokio::test]
async fn calls_follow_the_shorter_path() {
    let world = world(NEAR_AND_FAR);
    // Both must have been measured; until then either may take a call.
    eventually("both are up", Duration::from_secs(5), async || {
        let up = async |region| world.health(region).await.is_ok_and(|h| h == "up");
        (up("us-east").await && up("eu-west").await).then_some(())
    })
    .await;
    assert_eq!(answered_by(&world, 100).await, ["us-east"]);
    world
        .local(&["wan", "us-east=40ms", "eu-west=2ms"])
        .expect("swapped");
    eventually(
        "all calls go to eu-west",
        Duration::from_secs(10),
        async || (answered_by(&world, 20).await == ["eu-west"]).then_some(()),
    )
    .await;
    assert_eq!(answered_by(&world, 100).await, ["eu-west"]);
}
