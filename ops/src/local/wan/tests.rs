//! The delay line between real sockets: what it adds, what it keeps, and what it passes on when an end breaks.

use std::io;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::*;
use crate::local::block;
use crate::local::files;
use crate::local::http;
use crate::local::plan::RegionPlan;

struct Running {
    at: RegionPlan,
    admin: String,
    stop: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
    _dir: tempfile::TempDir,
    _lock: std::net::TcpListener,
}

impl Running {
    async fn start(delay: u64) -> Self {
        let region: RegionName = "us-east".parse().expect("valid");
        let (plan, lock) = block::claim(std::slice::from_ref(&region)).expect("block");
        let dir = tempfile::tempdir().expect("folder");
        let config = dir.path().join("wan.toml");
        let text = files::wan(
            &plan,
            &BTreeMap::from([(region.clone(), Duration::from_millis(delay))]),
        );
        std::fs::write(&config, text.expect("text")).expect("written");
        let stop = CancellationToken::new();
        let token = stop.clone();
        let task = tokio::spawn(async move { run(&config, token).await });
        let admin = format!("http://{}", plan.wan_admin());
        http::until_ok(&format!("{admin}/ready"), Duration::from_secs(5))
            .await
            .expect("ready");
        let at = plan.region(&region).expect("planned");
        Self {
            at,
            admin,
            stop,
            task,
            _dir: dir,
            _lock: lock,
        }
    }

    async fn target(&self) -> TcpListener {
        TcpListener::bind(self.at.invocation).await.expect("target")
    }

    /// Connects through the front once it is open, and returns both ends.
    async fn pair(&self, target: &TcpListener) -> (TcpStream, TcpStream) {
        self.until_open(true).await;
        let client = TcpStream::connect(self.at.front).await.expect("front open");
        client.set_nodelay(true).expect("nodelay");
        // The front's own looks at the target arrive here as well: connections that end without a byte from a port
        // that is not the client's, so the pair is known by a first byte.
        let mut client = client;
        client.write_all(b"!").await.expect("sent");
        loop {
            let (mut server, _) = target.accept().await.expect("accepted");
            server.set_nodelay(true).expect("nodelay");
            if matches!(server.read_u8().await, Ok(b'!')) {
                return (client, server);
            }
        }
    }

    async fn until_open(&self, wanted: bool) {
        eventually(async || {
            let (_, body) = http::send("GET", &format!("{}/wan", self.admin), None, None)
                .await
                .expect("answer");
            let shown: BTreeMap<RegionName, Shown> = serde_json::from_slice(&body).expect("json");
            shown.values().all(|s| s.open == wanted)
        })
        .await;
    }

    async fn set(&self, delay: serde_json::Value) -> u16 {
        let body = serde_json::json!({ "us-east": delay });
        http::send("PUT", &format!("{}/wan", self.admin), None, Some(&body))
            .await
            .expect("answer")
            .0
            .as_u16()
    }

    async fn faults(&self, faults: serde_json::Value) -> u16 {
        let body = serde_json::json!({ "us-east": faults });
        http::send("PUT", &format!("{}/faults", self.admin), None, Some(&body))
            .await
            .expect("answer")
            .0
            .as_u16()
    }

    async fn finish(self) {
        self.stop.cancel();
        timeout(Duration::from_secs(5), self.task)
            .await
            .expect("in time")
            .expect("joined")
            .expect("in order");
    }
}

async fn eventually(holds: impl AsyncFn() -> bool) {
    let limit = Instant::now() + Duration::from_secs(5);
    while !holds().await {
        assert!(Instant::now() < limit, "never came true");
        sleep(Duration::from_millis(5)).await;
    }
}

/// Median and largest of 100 round trips of one byte.
async fn round_trips(client: &mut TcpStream, server: &mut TcpStream) -> (Duration, Duration) {
    let mut times = vec![];
    for _ in 0..100 {
        let started = Instant::now();
        client.write_u8(1).await.expect("sent");
        server.read_u8().await.expect("arrived");
        server.write_u8(2).await.expect("sent");
        client.read_u8().await.expect("arrived");
        times.push(started.elapsed());
    }
    times.sort();
    (times[50], times[99])
}

#[tokio::test]
async fn adds_its_delay_each_way_and_changes_while_in_use() {
    let wan = Running::start(2).await;
    let target = wan.target().await;
    let (mut client, mut server) = wan.pair(&target).await;
    let (median, worst) = round_trips(&mut client, &mut server).await;
    println!("2 ms each way: median {median:?}, worst {worst:?}");
    assert!(
        median >= Duration::from_millis(4) && median < Duration::from_millis(9),
        "{median:?}"
    );

    assert_eq!(wan.set(20.into()).await, 200);
    let (median, _) = round_trips(&mut client, &mut server).await;
    println!("20 ms each way: median {median:?}");
    assert!(
        median >= Duration::from_millis(40) && median < Duration::from_millis(48),
        "{median:?}"
    );

    assert_eq!(wan.set("0ms".into()).await, 200);
    let (median, _) = round_trips(&mut client, &mut server).await;
    println!("0 ms: median {median:?}");
    assert!(median < Duration::from_millis(5), "{median:?}");
    for bad in [
        serde_json::json!(-1),
        serde_json::json!("60s"),
        serde_json::json!(1e12),
    ] {
        assert_eq!(wan.set(bad.clone()).await, 400, "{bad}");
    }
    wan.finish().await;
}

#[tokio::test]
async fn a_new_connection_pays_for_its_handshake() {
    let wan = Running::start(20).await;
    let target = wan.target().await;
    let started = Instant::now();
    let (_client, _server) = wan.pair(&target).await;
    let took = started.elapsed();
    assert!(
        took >= Duration::from_millis(60),
        "a round trip and one way: {took:?}"
    );
    wan.finish().await;
}

#[tokio::test]
async fn order_is_kept_when_the_delay_drops() {
    let wan = Running::start(60).await;
    let target = wan.target().await;
    let (mut client, mut server) = wan.pair(&target).await;
    for n in 0..200_u16 {
        client.write_u16(n).await.expect("sent");
        if n == 100 {
            wan.set(0.into()).await;
        }
    }
    for n in 0..200_u16 {
        assert_eq!(server.read_u16().await.expect("arrived"), n);
    }
    wan.finish().await;
}

#[tokio::test]
async fn the_delay_costs_no_throughput_and_a_full_line_holds_the_sender() {
    let wan = Running::start(50).await;
    let target = wan.target().await;
    let (mut client, mut server) = wan.pair(&target).await;
    let chunk = vec![7; 64 << 10];
    // Nobody reads: the line takes its 8 MiB and what the sockets hold, then the sender must wait.
    let mut sent = 0;
    while timeout(Duration::from_millis(500), client.write_all(&chunk))
        .await
        .is_ok()
    {
        sent += chunk.len();
        assert!(sent < 64 << 20, "no backpressure after {sent} bytes");
    }
    assert!(
        sent >= line::QUEUE_BYTES - (1 << 20),
        "the line holds {sent} bytes"
    );
    drop(client);
    let mut buffer = vec![0; 1 << 20];
    while matches!(server.read(&mut buffer).await, Ok(n) if n > 0) {}

    let (mut client, mut server) = wan.pair(&target).await;
    let total = 32 << 20;
    let started = Instant::now();
    let send = async {
        for _ in 0..total / chunk.len() {
            client.write_all(&chunk).await.expect("sent");
        }
        client.shutdown().await.expect("ended");
    };
    let receive = async {
        let mut got = 0;
        while let n @ 1.. = server.read(&mut buffer).await.expect("read") {
            got += n;
        }
        got
    };
    let ((), got) = tokio::join!(send, receive);
    let took = started.elapsed();
    println!("32 MiB over 50 ms in {took:?}");
    assert_eq!(got, total);
    // One 64 KiB chunk per delay would take 25 s.
    assert!(took < Duration::from_secs(5), "{took:?}");
    wan.finish().await;
}

#[tokio::test]
async fn a_clean_end_stays_clean_and_half_open_works() {
    let wan = Running::start(5).await;
    let target = wan.target().await;
    let (mut client, mut server) = wan.pair(&target).await;
    client.write_all(b"question").await.expect("sent");
    client.shutdown().await.expect("ended");
    let mut question = vec![];
    server
        .read_to_end(&mut question)
        .await
        .expect("a FIN, not a reset");
    assert_eq!(question, b"question");
    server.write_all(b"answer").await.expect("sent");
    drop(server);
    let mut answer = vec![];
    client
        .read_to_end(&mut answer)
        .await
        .expect("a FIN, not a reset");
    assert_eq!(answer, b"answer");
    wan.finish().await;
}

#[tokio::test]
async fn a_reset_arrives_as_a_reset_after_what_was_sent_before() {
    let wan = Running::start(5).await;
    let target = wan.target().await;
    for from_server in [true, false] {
        let (client, server) = wan.pair(&target).await;
        let (mut one, mut other) = if from_server {
            (server, client)
        } else {
            (client, server)
        };
        one.write_all(b"last words").await.expect("sent");
        let mut words = [0; 10];
        other.read_exact(&mut words).await.expect("arrived");
        line::reset_on_close(&one);
        drop(one);
        let error = other.read_u8().await.expect_err("a reset, not an end");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error}");
    }
    wan.finish().await;
}

#[tokio::test]
async fn the_front_refuses_while_the_target_does() {
    let wan = Running::start(2).await;
    let refused = async || match TcpStream::connect(wan.at.front).await {
        Err(error) => error.kind() == io::ErrorKind::ConnectionRefused,
        Ok(_) => false,
    };
    assert!(refused().await, "no target yet");
    let target = wan.target().await;
    let (mut client, server) = wan.pair(&target).await;

    // The host dies: its listener and its connections go together.
    drop(target);
    drop(server);
    let died = Instant::now();
    eventually(refused).await;
    println!("refuses {:?} after the target died", died.elapsed());
    assert_eq!(client.read(&mut [0]).await.expect("the end arrives"), 0);

    let target = wan.target().await;
    let came_back = Instant::now();
    wan.pair(&target).await;
    println!("open {:?} after the target came back", came_back.elapsed());

    // Nothing was open this time: the next caller finds out.
    drop(target);
    let caller = TcpStream::connect(wan.at.front).await;
    if let Ok(mut caller) = caller {
        assert!(caller.read_u8().await.is_err(), "nobody is there");
    }
    eventually(refused).await;
    wan.finish().await;
}

#[tokio::test]
async fn a_silent_line_holds_everything_and_lets_go_of_it_later() {
    let wan = Running::start(1).await;
    let target = wan.target().await;
    let (mut client, mut server) = wan.pair(&target).await;
    assert_eq!(wan.faults(serde_json::json!({"silent": true})).await, 200);
    client.write_u8(7).await.expect("sent");
    let nothing = timeout(Duration::from_millis(100), server.read_u8()).await;
    assert!(nothing.is_err(), "{nothing:?} came through");
    assert_eq!(wan.faults(serde_json::json!({})).await, 200);
    let late = timeout(Duration::from_secs(5), server.read_u8()).await;
    assert_eq!(late.expect("in time").expect("arrives"), 7);
    wan.finish().await;
}

#[tokio::test]
async fn a_share_of_what_is_said_ends_in_a_reset() {
    let wan = Running::start(0).await;
    let target = wan.target().await;
    for wrong in [
        serde_json::json!({"reset": 1.5}),
        serde_json::json!({"reset": -0.1}),
    ] {
        assert_eq!(wan.faults(wrong).await, 400);
    }
    let (mut client, mut server) = wan.pair(&target).await;
    assert_eq!(wan.faults(serde_json::json!({"reset": 1.0})).await, 200);
    sleep(Duration::from_millis(10)).await;
    server.write_u8(1).await.expect("sent");
    assert_eq!(client.read_u8().await.expect("answers are spared"), 1);
    client.write_u8(2).await.expect("sent");
    let error = server.read_u8().await.expect_err("a reset");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error}");
    wan.finish().await;
}
