//! Two replicas of the invocation service in one region, on one NATS and with one worker, as processes.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use test_support::client::{Answer, Client, Protocol, full};
use test_support::eventually::eventually;
use test_support::world::World;
use tokio::task::JoinHandle;

use crate::{binary, world};

const PATIENCE: Duration = Duration::from_secs(20);
/// Calls at each replica.
const CALLS: usize = 10;

/// A second replica; killed when dropped.
struct Replica {
    process: Child,
    front: SocketAddr,
}

impl Replica {
    async fn start(world: &World) -> Self {
        let first = world.address("/regions/us-east/invocation/url");
        let text = std::fs::read_to_string(world.dir.join("us-east-invocation.toml"));
        let text = text.expect("the first one's configuration");
        let text = text
            .replace(":8080\"", ":8081\"")
            .replace(":9902\"", ":9912\"");
        let file = world.dir.join("us-east-invocation-2.toml");
        std::fs::write(&file, text).expect("written");
        let replica = Self {
            process: Command::new(binary())
                .args(["invocation", "-c"])
                .arg(&file)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("started"),
            front: SocketAddr::new(first.ip(), 8081),
        };
        let admin = SocketAddr::new(first.ip(), 9912);
        eventually("the second replica is ready", PATIENCE, async || {
            let mut client = Client::plain(admin, Protocol::H1).await.ok()?;
            let ready = http::Request::get("/ready").header("host", "admin");
            let answer = client.call(ready.body(full("")).ok()?).await.ok()?;
            (answer.status == 200).then_some(())
        })
        .await;
        replica
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn call(world: &Arc<World>, at: SocketAddr, path: &str) -> JoinHandle<anyhow::Result<Answer>> {
    let request = world.request("POST", path).body(full("{}"));
    let request = request.expect("valid");
    tokio::spawn(async move { Client::plain(at, Protocol::H2).await?.call(request).await })
}

#[tokio::test]
async fn a_killed_replica_takes_only_its_own_calls_along() {
    let world = world(&["--regions", "us-east", "--wan", "us-east=0ms"]);
    let first = world.address("/regions/us-east/invocation/url");
    let second = Replica::start(&world).await;
    let kept: Vec<_> = (0..CALLS)
        .map(|_| call(&world, first, "/sleep/3000"))
        .collect();
    let lost: Vec<_> = (0..CALLS)
        .map(|_| call(&world, second.front, "/sleep/60000"))
        .collect();
    eventually("all calls run", PATIENCE, async || {
        (world.executed().ok()?.len() == 2 * CALLS).then_some(())
    })
    .await;
    drop(second);
    for caller in lost {
        let answer = caller.await.expect("no panic");
        assert!(answer.is_err(), "its connection is gone: {answer:?}");
    }
    for caller in kept {
        let answer = caller.await.expect("no panic").expect("an answer");
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let after = call(&world, first, "/echo")
        .await
        .expect("no panic")
        .expect("an answer");
    assert_eq!(after.status, 200, "the worker goes on");
    let executed = world.executed().expect("a journal").len();
    assert_eq!(executed, 2 * CALLS + 1, "nothing ran twice");
}
