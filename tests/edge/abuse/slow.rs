//! Those who begin and do not go on: in TLS, in the preface, in a head, in a body; one connection each, or hundreds.

use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use super::{Witness, say, undisturbed};
use crate::harness::host;

const QUICK: &str =
    "limits = { handshake = \"500ms\", head = \"500ms\", body_gap = \"500ms\", write = \"1s\" }";
/// Much longer than any of the limits, much shorter than their defaults.
const SOON: Duration = Duration::from_secs(6);

#[tokio::test]
async fn each_beginning_has_its_time() {
    let witness = Witness::start().await;
    let edge = witness.edge(QUICK).await;
    let head = format!("POST /slow HTTP/1.1\r\nHost: {}\r\n", host());
    let body = format!("{head}Authorization: Bearer key\r\nContent-Length: 10\r\n\r\nabc");
    let cases: [(&str, std::net::SocketAddr, &[u8]); 7] = [
        ("nothing, TLS", edge.ports.https, b""),
        (
            "half a hello",
            edge.ports.https,
            b"\x16\x03\x01\x02\x00\x01\x00",
        ),
        ("nothing, plain", edge.ports.http, b""),
        (
            "half a preface",
            edge.ports.http,
            b"PRI * HTTP/2.0\r\n\r\nSM",
        ),
        ("half a request line", edge.ports.http, b"POST /sl"),
        ("half a head", edge.ports.http, head.as_bytes()),
        ("half a body", edge.ports.http, body.as_bytes()),
    ];
    for (what, port, bytes) in cases {
        let started = Instant::now();
        let (closed, said) = say(port, bytes, SOON).await;
        assert!(closed, "{what}: still open after {:?}", started.elapsed());
        if what == "half a body" {
            assert!(said.starts_with("HTTP/1.1 408"), "{what}: {said}");
        } else {
            assert!(!said.contains("200 OK"), "{what}: {said}");
        }
    }
    assert!(!witness.saw("/slow"));
}

#[tokio::test]
async fn drops_do_not_keep_a_head_open() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let witness = Witness::start().await;
    let edge = witness.edge(QUICK).await;
    let mut stream = TcpStream::connect(edge.ports.http)
        .await
        .expect("a connection");
    let started = Instant::now();
    let mut open = stream.write_all(b"GET /x HTTP/1.1\r\nX-A: ").await.is_ok();
    while open && started.elapsed() < SOON {
        let mut byte = [0];
        let read = tokio::time::timeout(Duration::from_millis(100), stream.read(&mut byte)).await;
        open = read.is_err() && stream.write_all(b"y").await.is_ok();
    }
    assert!(!open, "ten bytes a second keep a head open");
}

#[tokio::test]
async fn a_crowd_that_says_nothing_takes_nobodys_place() {
    let witness = Witness::start().await;
    let edge = witness.edge(QUICK).await;
    let attack = async {
        let mut crowd = Vec::new();
        for port in [edge.ports.https, edge.ports.http] {
            for _ in 0..200 {
                crowd.push(TcpStream::connect(port).await.expect("a connection"));
            }
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    };
    undisturbed(&edge, attack).await;
}
