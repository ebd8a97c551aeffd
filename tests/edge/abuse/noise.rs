//! Random bytes: on the plain port, in place of TLS, inside of TLS, after a good beginning.

use std::cell::Cell;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::siege::{Io, Siege};
use crate::harness::host;

/// Longer than a close needs.
const A_WHILE: Duration = Duration::from_secs(20);

/// The same noise in every run (xorshift).
struct Noise(Cell<u64>);

impl Noise {
    fn bytes(&self, count: usize) -> Vec<u8> {
        let byte = |_| {
            let mut seed = self.0.get();
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            self.0.set(seed);
            seed.to_le_bytes()[0]
        };
        (0..count).map(byte).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_bytes_hurt_nobody() {
    let siege = Siege::lay("").await;
    let noise = Noise(Cell::new(0x2545_f491_4f6c_dd1d));
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    let head = format!("POST /noise HTTP/1.1\r\nHost: {}\r\n", host());
    let head = head.as_bytes();
    siege
        .bear(60, async || {
            for (tls, beginning) in [
                (None, &b""[..]),
                (None, preface),
                (None, head),
                (Some("h2"), preface),
                (Some("h2"), b""),
                (Some("http/1.1"), head),
                (Some("http/1.1"), b""),
            ] {
                let stream = siege.connect(tls).await;
                ends(stream, beginning, &noise.bytes(2000)).await;
            }
            for beginning in [&b""[..], hello] {
                let stream = TcpStream::connect(siege.edge.ports.https).await;
                let stream = Box::new(stream.expect("a connection"));
                ends(stream, beginning, &noise.bytes(2000)).await;
            }
            sleep(Duration::from_millis(100)).await;
        })
        .await;
    assert!(!siege.witness.saw("/noise"));
}

/// Whoever sends that and says no more is not kept.
async fn ends(mut stream: Box<dyn Io>, beginning: &[u8], noise: &[u8]) {
    let bytes = [beginning, noise].concat();
    let _ = stream.write_all(&bytes).await;
    let _ = stream.shutdown().await;
    let mut said = Vec::new();
    let closed = timeout(A_WHILE, stream.read_to_end(&mut said)).await;
    assert!(closed.is_ok(), "it waits for more after {beginning:?}");
    let said = String::from_utf8_lossy(&said);
    assert!(!said.contains("200 OK"), "{said}");
}
