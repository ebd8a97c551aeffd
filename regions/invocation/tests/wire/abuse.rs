//! Callers and workers who mean harm, at a region's own port: it is on a network too. What is no request reaches no queue, what
//! is no attach no caller; memory stays bounded and others are served on.

use std::time::{Duration, Instant};

use frontdoor_protocol::attach::{HEAD_LIMIT, PATH};
use http::{Method, Version};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::client::{ask, call, empty, get};
use crate::worker::Puller;
use crate::world::{DOMAIN, FUNCTION, KEY, World};

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const CONTINUATION: u8 = 9;
const PATIENCE: Duration = Duration::from_secs(10);
/// Longer than an answer needs.
const A_WHILE: Duration = Duration::from_secs(2);

/// Sends bytes and reads until the service closes, or says nothing more for a while. Whether it closed, and what it said.
async fn say(world: &World, bytes: &[u8]) -> (bool, Vec<u8>) {
    let mut stream = TcpStream::connect(world.front).await.unwrap();
    let _ = timeout(A_WHILE, stream.write_all(bytes)).await;
    let (mut said, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
    loop {
        match timeout(A_WHILE, stream.read(&mut buffer)).await {
            Ok(Ok(0) | Err(_)) => return (true, said),
            Ok(Ok(count)) => said.extend_from_slice(&buffer[..count]),
            Err(_) => return (false, said),
        }
    }
}

/// A call on HTTP/1.1 with these lines; nobody works here, so it waits for a second if it is queued.
fn request(line: &str, more: &str, body: &str) -> Vec<u8> {
    format!(
        "{line}\r\nHost: {FUNCTION}.{DOMAIN}\r\nAuthorization: Bearer {KEY}\r\nNVCF-Poll-Seconds: 1\r\n{more}\r\n{body}"
    )
    .into_bytes()
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

fn block(headers: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in headers {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap());
            block.extend(text.bytes());
        }
    }
    block
}

/// The header block of a POST.
fn post(path: &str, key: &str) -> Vec<u8> {
    block(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", &format!("{FUNCTION}.{DOMAIN}")),
        (":path", path),
        ("authorization", &format!("Bearer {key}")),
    ])
}

/// The bytes that begin an HTTP/2 connection.
fn hello() -> Vec<u8> {
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    [preface, frame(4, 0, 0, &[]), frame(4, 1, 0, &[])].concat()
}

/// Memory of this process, in MiB.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = text.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4 / 1024
}

/// How many calls the region has or has had: queued, running, or ended in whatever way, a refusal included.
async fn calls(world: &World) -> u64 {
    let reply = get(world.admin, "localhost", "/metrics").await.unwrap();
    let text = reply.text();
    let counted = text.lines().filter_map(|line| {
        let (name, value) = line
            .strip_prefix("frontdoor_invocation_")?
            .rsplit_once(' ')?;
        let counts =
            name.starts_with("calls_total{") || ["queued_calls", "running_calls"].contains(&name);
        counts.then(|| value.parse::<u64>().unwrap())
    });
    counted.sum()
}

#[tokio::test]
async fn one_message_has_one_length() {
    let world = World::start().await;
    let hidden = format!("GET /health HTTP/1.1\r\nHost: {DOMAIN}\r\nConnection: close\r\n\r\n");
    let chunked = "Transfer-Encoding: chunked\r\n";
    for (what, more, begins) in [
        (
            "two lengths",
            "Content-Length: 0\r\nContent-Length: 80\r\n",
            "",
        ),
        ("a list of lengths", "Content-Length: 0, 80\r\n", ""),
        ("a signed length", "Content-Length: +0\r\n", ""),
        ("a negative length", "Content-Length: -1\r\n", ""),
        ("a folded line", "X-A: b\r\n c: d\r\n", ""),
        ("a space before the colon", "Content-Length : 80\r\n", ""),
        ("a zero byte", "X-A: a\0b\r\n", ""),
        (
            "chunked is not last",
            "Transfer-Encoding: chunked, identity\r\n",
            "",
        ),
        ("a chunk that is no number", chunked, "zz\r\n"),
        (
            "a chunk beyond all numbers",
            chunked,
            "ffffffffffffffff1\r\n",
        ),
        (
            "a chunk longer than it says",
            chunked,
            "1\r\nabc\r\n0\r\n\r\n",
        ),
    ] {
        let bytes = request("POST /a HTTP/1.1", more, &format!("{begins}{hidden}"));
        let (closed, said) = say(&world, &bytes).await;
        let said = String::from_utf8_lossy(&said);
        assert!(closed, "{what}: {said}");
        assert!(!said.contains("200 OK"), "{what}: {said}");
        assert!(said.matches("HTTP/1.1 ").count() <= 1, "{what}: {said}");
    }
}

#[tokio::test]
async fn floods_end_their_connection_and_cost_little() {
    let world = World::start().await;
    let before = resident();
    let filler = block(&[("x-filler", &"y".repeat(100))]).repeat(140);
    let endless = [
        frame(HEADERS, 0, 1, &post("/x", KEY)),
        frame(CONTINUATION, 0, 1, &filler).repeat(500),
    ];
    // One entry of 4000 bytes goes into the table (RFC 7541 §6.2.1), and is then named ten thousand times (§6.1).
    let mut bomb = post("/x", KEY);
    bomb.extend([0x40, 4]);
    bomb.extend(b"x-aa");
    bomb.extend([0x7f, 0xa1, 0x1e]);
    bomb.extend(std::iter::repeat_n(b'z', 4000));
    bomb.extend(std::iter::repeat_n(0xbe_u8, 10_000));
    let bomb = frame(HEADERS, 5, 1, &bomb);
    for (what, bytes) in [
        ("endless headers", endless.concat()),
        ("a header bomb", bomb),
    ] {
        for _ in 0..20 {
            let started = Instant::now();
            let (_, said) = say(&world, &[hello(), bytes.clone()].concat()).await;
            assert!(said.len() < 64 << 10, "{what}");
            assert!(started.elapsed() < PATIENCE, "{what}");
        }
    }
    // A whole edge's callers may leave at once; ten times as many may not.
    let reset = |n: u32| {
        let stream = n * 2 + 1;
        let mut pair = frame(HEADERS, 5, stream, &post("/x", "nobody"));
        pair.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
        pair
    };
    let resets: Vec<u8> = (0..40_000).flat_map(reset).collect();
    let (_, _) = say(&world, &[hello(), resets].concat()).await;
    let grown = resident().saturating_sub(before);
    assert!(grown < 100, "{grown} MiB more");
    let reply = get(world.front, DOMAIN, "/health").await.unwrap();
    assert_eq!(reply.status, 200);
}

#[tokio::test]
async fn what_is_too_large_is_refused() {
    let world = World::start().await;
    let before = resident();
    let large = "y".repeat(1 << 20);
    for (what, bytes) in [
        ("target", request(&format!("GET /{large} HTTP/1.1"), "", "")),
        (
            "header",
            request("GET /x HTTP/1.1", &format!("X-A: {large}\r\n"), ""),
        ),
        (
            "number of headers",
            request("GET /x HTTP/1.1", &"X-A: y\r\n".repeat(10_000), ""),
        ),
    ] {
        let (closed, said) = say(&world, &bytes).await;
        let said = String::from_utf8_lossy(&said);
        assert!(closed, "{what}: {said}");
        let refused = said.is_empty() || ["400", "414", "431"].contains(&&said[9..12]);
        assert!(refused, "{what}: {said}");
    }
    let grown = resident().saturating_sub(before);
    assert!(grown < 50, "{grown} MiB more");
}

/// Who is no worker gets nothing at the attach path, whatever it says and however much of it.
#[tokio::test]
async fn strangers_attach_to_nothing() {
    let world = World::start().await;
    let before = resident();
    for (token, more) in [
        ("", ""),
        ("Authorization: Bearer nonsense\r\n", ""),
        (
            "Authorization: Bearer 7f2c1f0e-7f3b-4a55-8a2e-3d1b5f0c9a11\r\n",
            "",
        ),
        (
            "Authorization: Bearer 7f2c1f0e-7f3b-4a55-8a2e-3d1b5f0c9a11\r\n",
            "frontdoor-claim: 1\r\n",
        ),
        (
            "Authorization: Bearer 7f2c1f0e-7f3b-4a55-8a2e-3d1b5f0c9a11\r\n",
            "frontdoor-standby: 1\r\nfrontdoor-worker: 7f2c1f0e-7f3b-4a55-8a2e-3d1b5f0c9a11\r\n",
        ),
        (&format!("Authorization: Bearer {KEY}\r\n"), ""),
    ] {
        for method in ["GET", "POST"] {
            let head = format!(
                "{method} {PATH} HTTP/1.1\r\nHost: {DOMAIN}\r\nContent-Length: 104857600\r\n{token}{more}\r\n"
            );
            let bytes = [head.as_bytes(), &vec![b'x'; 4 << 20]].concat();
            let (_, said) = say(&world, &bytes).await;
            let said = String::from_utf8_lossy(&said);
            assert!(said.starts_with("HTTP/1.1 401"), "{method} {token}: {said}");
        }
    }
    let (_, said) = say(
        &world,
        format!("PUT {PATH} HTTP/1.1\r\nHost: {DOMAIN}\r\n\r\n").as_bytes(),
    )
    .await;
    assert!(said.starts_with(b"HTTP/1.1 405"));
    let grown = resident().saturating_sub(before);
    assert!(grown < 50, "{grown} MiB more");
}

/// A worker that may attach and sends a head without an end: its caller is told, and not all of it is kept.
#[tokio::test]
async fn a_head_without_an_end_is_given_up() {
    let world = World::start().await;
    let puller = Puller::new(&world).await;
    let worker = async {
        let work = puller.next().await;
        let claimed = work.claim().await.expect("granted");
        let piece = bytes::Bytes::from(vec![b'x'; 1024]);
        for _ in 0..HEAD_LIMIT / 1024 + 64 {
            if claimed.body.send_data(piece.clone()).await.is_err() {
                return;
            }
        }
        panic!("all of it was taken");
    };
    let caller = ask(&world, Version::HTTP_2, call(Method::POST, "/", empty()));
    let (reply, ()) = tokio::join!(caller, worker);
    assert_eq!(reply.status, 502, "{}", reply.text());
    assert_eq!(reply.header("frontdoor-execution"), Some("started"));
}

#[tokio::test]
async fn random_bytes_hurt_nobody() {
    let world = World::start().await;
    // What is a request and names nothing is refused, and counted.
    let refused = get(world.front, DOMAIN, "/nothing").await.unwrap();
    assert_eq!(refused.status, 404);
    healthy(&world).await;
    let before = (resident(), calls(&world).await);
    assert_eq!(before.1, 1);
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut byte = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed.to_le_bytes()[0]
    };
    let attack = async {
        for round in 0..150 {
            let mut noise = if round % 2 == 0 { hello() } else { Vec::new() };
            noise.extend((0..2000).map(|_| byte()));
            let mut stream = TcpStream::connect(world.front).await.unwrap();
            let _ = stream.write_all(&noise).await;
            let _ = stream.shutdown().await;
            let mut said = Vec::new();
            let closed = timeout(PATIENCE, stream.read_to_end(&mut said)).await;
            assert!(closed.is_ok(), "it waits for more");
        }
    };
    tokio::join!(healthy(&world), attack);
    let grown = resident().saturating_sub(before.0);
    assert!(grown < 50, "{grown} MiB more");
    // Not even one that is refused: what cannot be read is no request.
    assert_eq!(calls(&world).await, before.1, "none of it was a call");
}

/// Each of many health checks is answered in time. How fast is measured elsewhere: attackers, callers and the region share one
/// thread here.
async fn healthy(world: &World) {
    for _ in 0..200 {
        let reply = timeout(A_WHILE, get(world.front, DOMAIN, "/health")).await;
        assert_eq!(reply.unwrap().unwrap().status, 200);
    }
}
