//! Callers who mean harm: the edge answers or closes as the RFCs say, its memory stays bounded, and others are served on.

mod http1;
mod http2;
mod slow;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http_body_util::BodyExt as _;
use test_support::client::{Client, Protocol};
use test_support::region::{Region, reply};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::{Edge, post};

/// A region that remembers which paths it was asked for; `/large` is large.
struct Witness {
    region: Region,
    paths: Arc<Mutex<Vec<String>>>,
}

impl Witness {
    async fn start() -> Self {
        let paths = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&paths);
        let large = bytes::Bytes::from(vec![7; 4 << 20]);
        let region = Region::start(move |request| {
            let (noted, large) = (Arc::clone(&noted), large.clone());
            async move {
                let path = request.uri().path().to_owned();
                let body = request.into_body().collect().await;
                if body.is_err() {
                    return reply(400, &[], "broken");
                }
                let large = if path == "/large" { large } else { "ok".into() };
                let mut paths = noted.lock().unwrap_or_else(PoisonError::into_inner);
                paths.push(path);
                reply(200, &[], large)
            }
        })
        .await
        .expect("a port");
        Self { region, paths }
    }

    async fn edge(&self, more: &str) -> Edge {
        let edge = Edge::configured(&[("us-east", self.region.address)], more).await;
        edge.health("us-east", "up").await;
        edge
    }

    fn saw(&self, path: &str) -> bool {
        let paths = self.paths.lock().unwrap_or_else(PoisonError::into_inner);
        paths.iter().any(|p| p == path)
    }
}

/// Sends bytes and reads until the edge closes, or says nothing more for a while. Whether it closed, and what it said.
async fn say(port: SocketAddr, bytes: &[u8], patience: Duration) -> (bool, String) {
    let mut stream = TcpStream::connect(port).await.expect("a connection");
    let _ = stream.write_all(bytes).await;
    let (mut said, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
    loop {
        match tokio::time::timeout(patience, stream.read(&mut buffer)).await {
            Ok(Ok(0) | Err(_)) => return (true, String::from_utf8_lossy(&said).into_owned()),
            Ok(Ok(count)) => said.extend_from_slice(&buffer[..count]),
            Err(_) => return (false, String::from_utf8_lossy(&said).into_owned()),
        }
    }
}

/// Calls of a well-behaved caller, one after the other: the slowest of most of them.
async fn manners(edge: &Edge, calls: usize) -> Duration {
    let mut client = edge.client(Protocol::H2).await;
    let mut took = Vec::new();
    for _ in 0..calls {
        let started = Instant::now();
        let answer = client.call(post("/calm", "x")).await.expect("an answer");
        assert_eq!(answer.status, 200, "{}", answer.text());
        took.push(started.elapsed());
    }
    took.sort_unstable();
    took[calls * 95 / 100]
}

/// Others are served as before: within twice the time, and what a busy machine adds.
async fn undisturbed<F: Future<Output = ()>>(edge: &Edge, attack: F) {
    let calm = manners(edge, 40).await;
    let (disturbed, ()) = tokio::join!(manners(edge, 80), attack);
    let bound = calm * 2 + Duration::from_millis(250);
    assert!(disturbed <= bound, "calm {calm:?}, disturbed {disturbed:?}");
}

/// Memory of this process, edge and region together, in MiB.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: usize = text
        .split(' ')
        .nth(1)
        .and_then(|p| p.parse().ok())
        .expect("pages");
    pages * 4 / 1024
}

#[tokio::test]
async fn random_bytes_hurt_nobody() {
    let witness = Witness::start().await;
    let edge = witness.edge("").await;
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut byte = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed.to_le_bytes()[0]
    };
    let attack = async {
        for round in 0..60 {
            let mut noise: Vec<u8> = if round % 3 == 0 {
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec()
            } else {
                Vec::new()
            };
            noise.extend((0..2000).map(|_| byte()));
            for port in [edge.ports.https, edge.ports.http] {
                let mut stream = TcpStream::connect(port).await.expect("a connection");
                let _ = stream.write_all(&noise).await;
                let _ = stream.shutdown().await;
            }
        }
    };
    undisturbed(&edge, attack).await;
    let plain = Client::plain(edge.ports.http, Protocol::H1).await;
    let answer = plain.expect("plain").call(post("/calm", "x")).await;
    assert_eq!(answer.expect("an answer").status, 200);
}
