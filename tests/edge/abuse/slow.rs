//! Those who begin and do not go on: in TLS, in the preface, in a head, in a body, in taking an answer; one connection each, or
//! hundreds.

use std::cell::RefCell;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::LARGE;
use super::frames::{DATA, END_HEADERS, End, HEADERS, Raw, block, call, frame};
use super::siege::{Io, Siege};
use crate::harness::host;

/// A body's next piece may take longer than the edge waits before it looks again where a call should be: looking is no piece.
const QUICK: &str =
    "limits = { handshake = \"500ms\", head = \"500ms\", body_gap = \"700ms\", write = \"1s\" }";
/// A caller who answers no PING within this is gone.
const PING: &str = "ping = \"500ms\"";
/// Much longer than any of the limits, much shorter than their defaults.
const SOON: Duration = Duration::from_secs(6);

/// How a connection begins.
#[derive(Clone, Copy)]
enum Way {
    /// On the plain port.
    Plain,
    /// With a handshake for this protocol.
    Tls(&'static str),
    /// On the TLS port, without a handshake.
    Bare,
}

fn head() -> String {
    format!("POST /slow HTTP/1.1\r\nHost: {}\r\n", host())
}

fn body() -> String {
    let head = head();
    format!("{head}Authorization: Bearer key\r\nContent-Length: 10\r\n\r\nabc")
}

/// Sends that, and reads until the edge closes; none if it does not.
async fn say(mut stream: Box<dyn Io>, bytes: &[u8]) -> Option<String> {
    let _ = stream.write_all(bytes).await;
    let mut said = Vec::new();
    let closed = timeout(SOON, stream.read_to_end(&mut said)).await;
    closed.ok().map(|_| String::from_utf8_lossy(&said).into())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_beginning_has_its_time() {
    let siege = Siege::lay(QUICK).await;
    let (head, body) = (head(), body());
    let (plain, bare) = (Way::Plain, Way::Bare);
    let (h1, h2) = (Way::Tls("http/1.1"), Way::Tls("h2"));
    for (what, way, bytes) in [
        ("nothing, TLS", bare, &b""[..]),
        ("half a hello", bare, b"\x16\x03\x01\x02\x00\x01\x00"),
        ("nothing, plain", plain, b""),
        ("half a preface", plain, b"PRI * HTTP/2.0\r\n\r\nSM"),
        ("half a request line", plain, b"POST /sl"),
        ("half a head", plain, head.as_bytes()),
        ("half a body", plain, body.as_bytes()),
        ("no preface", h2, b""),
        ("half a preface, TLS", h2, b"PRI * HTTP/2.0\r\n\r\nSM"),
        ("no request", h1, b""),
        ("half a head, TLS", h1, head.as_bytes()),
        ("half a body, TLS", h1, body.as_bytes()),
    ] {
        let stream: Box<dyn Io> = match way {
            Way::Plain => siege.connect(None).await,
            Way::Tls(alpn) => siege.connect(Some(alpn)).await,
            Way::Bare => {
                let stream = TcpStream::connect(siege.edge.ports.https).await;
                Box::new(stream.expect("a connection"))
            }
        };
        let said = say(stream, bytes).await;
        let said = said.unwrap_or_else(|| panic!("{what}: still open after {SOON:?}"));
        if what.starts_with("half a body") {
            assert!(said.starts_with("HTTP/1.1 408"), "{what}: {said}");
        } else {
            assert!(!said.contains("200 OK"), "{what}: {said}");
        }
    }
    assert!(!siege.witness.saw("/slow"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_that_do_not_go_on_end_too() {
    let siege = Siege::listening(PING, QUICK).await;
    let begun = Instant::now();
    let mut header = Raw::secured(&siege, &[]).await;
    assert!(header.send(&frame(HEADERS, 0, 1, &call("/slow"))).await);
    let mut half = Raw::open(&siege, &[]).await;
    assert!(
        half.send(&frame(HEADERS, END_HEADERS, 1, &call("/slow"))[..12])
            .await
    );
    let mut body = Raw::open(&siege, &[]).await;
    let length = block(&[("content-length", "10")]);
    let head = [call("/slow"), length].concat();
    let mut bytes = frame(HEADERS, END_HEADERS, 1, &head);
    bytes.extend(frame(DATA, 0, 1, b"abc"));
    assert!(body.send(&bytes).await);
    assert_eq!(body.end().await, End::Answer(408));
    assert!(header.closes().await && half.closes().await);
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    assert!(!siege.witness.saw("/slow"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drops_do_not_keep_a_head_open() {
    let siege = Siege::lay(QUICK).await;
    for tls in [None, Some("http/1.1")] {
        let mut stream = siege.connect(tls).await;
        let started = Instant::now();
        let mut open = stream.write_all(b"GET /x HTTP/1.1\r\nX-A: ").await.is_ok();
        while open && started.elapsed() < SOON {
            let mut byte = [0];
            let read = timeout(Duration::from_millis(100), stream.read(&mut byte)).await;
            open = read.is_err() && stream.write_all(b"y").await.is_ok();
        }
        assert!(!open, "ten bytes a second keep a head open");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_that_says_nothing_takes_nobodys_place() {
    // Room for the callers and one crowd of 300, not for two.
    let siege = Siege::listening("connections = 400", QUICK).await;
    let ports = siege.edge.ports;
    let last = RefCell::new(Vec::<TcpStream>::new());
    siege
        .bear(60, async || {
            let mut crowd = Vec::new();
            for port in [ports.https, ports.http] {
                for _ in 0..150 {
                    crowd.push(TcpStream::connect(port).await.expect("a connection"));
                }
            }
            // The crowd before this one stays as well. Were it not sent away, there would be no place for who comes now.
            let _stays = last.replace(crowd);
            sleep(Duration::from_millis(900)).await;
        })
        .await;
}

/// Hundreds who are in the middle of something, one byte at a time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_that_dawdles_takes_nobodys_place() {
    let siege = Siege::lay(QUICK).await;
    let (head, body) = (head(), body());
    siege
        .bear(100, async || {
            let mut crowd = Vec::new();
            for n in 0..200 {
                let bytes = if n % 2 == 0 { &head } else { &body };
                let mut stream = siege.connect(None).await;
                let _ = stream.write_all(bytes.as_bytes()).await;
                crowd.push(stream);
            }
            for _ in 0..5 {
                for stream in &mut crowd {
                    let _ = stream.write_all(b"y").await;
                }
                sleep(Duration::from_millis(100)).await;
            }
        })
        .await;
    assert!(!siege.witness.saw("/slow"));
}

/// What the kernel does not take from the edge, the edge does not take from a region.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_takes_no_answer_is_cut() {
    let siege = Siege::lay(QUICK).await;
    let request = format!(
        "GET /large HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer key\r\n\r\n",
        host()
    );
    siege
        // 15 MiB are on their way from a region at most, 1 for each; all that they asked for is 240.
        .bear(60, async || {
            let mut crowd = Vec::new();
            for _ in 0..15 {
                let mut stream = siege.connect(None).await;
                stream.write_all(request.as_bytes()).await.expect("sent");
                crowd.push(stream);
                sleep(Duration::from_millis(60)).await;
            }
            sleep(Duration::from_millis(2500)).await;
            for mut stream in crowd {
                let mut said = Vec::new();
                let read = timeout(SOON, stream.read_to_end(&mut said)).await;
                assert!(read.is_ok(), "it is still open");
                assert!(said.len() < LARGE, "all of it was sent");
            }
        })
        .await;
}
