//! HTTP/1.1: two ways to read one message, strange targets, everything too large.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::siege::Siege;
use crate::harness::host;

/// Longer than an answer needs.
const A_WHILE: Duration = Duration::from_secs(2);
/// Longer than the edge needs to take a megabyte that it wants. Five attacks that it leaves waiting lie within the second and a
/// half for which callers are measured.
const STALLED: Duration = Duration::from_millis(250);

/// Sends bytes and reads until the edge closes, or says nothing more for a while. Whether it closed, and what it said.
async fn say(siege: &Siege, bytes: &[u8]) -> (bool, String) {
    let mut stream = siege.connect(None).await;
    let _ = timeout(A_WHILE, stream.write_all(bytes)).await;
    let (mut said, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
    loop {
        let closed = match timeout(A_WHILE, stream.read(&mut buffer)).await {
            Ok(Ok(0) | Err(_)) => true,
            Ok(Ok(count)) => {
                said.extend_from_slice(&buffer[..count]);
                continue;
            }
            Err(_) => false,
        };
        return (closed, String::from_utf8_lossy(&said).into_owned());
    }
}

/// The same for many, side by side: some answers leave the connection open, and whether anything follows takes its time to tell.
async fn say_each(siege: &Siege, requests: &[Vec<u8>]) -> Vec<(bool, String)> {
    join_all(requests.iter().map(|bytes| say(siege, bytes))).await
}

/// What no call becomes of: a request line, lines after it, and the statuses that may answer them.
async fn refuse_each(siege: &Siege, cases: &[(&str, String, &str)]) {
    let request = |(line, more, _): &(&str, String, &str)| hostless(line, more, "");
    let requests: Vec<_> = cases.iter().map(request).collect();
    for ((line, more, expected), (_, said)) in cases.iter().zip(say_each(siege, &requests).await) {
        let expected = expected.split(' ').any(|one| one == status(&said));
        assert!(expected, "{line} {more}: {said}");
    }
    assert!(!siege.witness.saw("/x"));
}

/// A request with these lines after the usual ones; what follows is its body.
fn request(line: &str, more: &str, body: &str) -> Vec<u8> {
    hostless(line, &format!("Host: {}\r\n{more}", host()), body)
}

fn hostless(line: &str, more: &str, body: &str) -> Vec<u8> {
    format!("{line}\r\nAuthorization: Bearer key\r\n{more}\r\n{body}").into_bytes()
}

/// What an attacker hopes that the edge takes for a second request.
fn hidden() -> String {
    format!(
        "GET /smuggled HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer key\r\n\r\n",
        host()
    )
}

fn status(said: &str) -> &str {
    said.get(9..12).unwrap_or("none")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_message_has_one_length() {
    let siege = Siege::lay("").await;
    for (what, more) in [
        ("two lengths", "Content-Length: 0\r\nContent-Length: 80\r\n"),
        ("a list of lengths", "Content-Length: 0, 80\r\n"),
        ("a signed length", "Content-Length: +0\r\n"),
        ("a negative length", "Content-Length: -1\r\n"),
        ("a hexadecimal length", "Content-Length: 0x0\r\n"),
        ("a length in two words", "Content-Length: 0 80\r\n"),
        (
            "a length beyond all numbers",
            "Content-Length: 18446744073709551616\r\n",
        ),
        ("no length", "Content-Length:\r\n"),
        ("a folded line", "X-A: b\r\n c: d\r\n"),
        ("a folded length", "Content-Length:\r\n 80\r\n"),
        ("a space before the colon", "Content-Length : 80\r\n"),
        ("a name with a space", "X A: b\r\n"),
        ("no name", ": b\r\n"),
        ("no colon", "Content-Length\r\n"),
        ("a bare carriage return", "X-A: b\rContent-Length: 80\r\n"),
        ("a zero byte", "X-A: a\0b\r\n"),
        (
            "chunked is not last",
            "Transfer-Encoding: chunked, identity\r\n",
        ),
        ("almost chunked", "Transfer-Encoding: xchunked\r\n"),
        (
            "chunked after a tab of its own",
            "Transfer-Encoding: \x0bchunked\r\n",
        ),
        (
            "chunked on another line",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n",
        ),
    ] {
        let bytes = request("POST /a HTTP/1.1", more, &hidden());
        let (closed, said) = say(&siege, &bytes).await;
        // Whoever cannot say where a message ends cannot say where the next one begins (RFC 9112 §6.3).
        assert!(
            closed && ["400", "501"].contains(&status(&said)),
            "{what}: {closed} {said}"
        );
        assert_eq!(said.matches("HTTP/1.1 ").count(), 1, "{what}: {said}");
        assert!(
            !siege.witness.saw("/smuggled") && !siege.witness.saw("/a"),
            "{what}"
        );
    }
}

/// But for an empty size, which httparse takes for 0: SECURITY.md.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunks_are_as_long_as_they_say() {
    let siege = Siege::lay("").await;
    let chunked = "Transfer-Encoding: chunked\r\n";
    for (what, begins) in [
        ("no number", "zz\r\n"),
        ("beyond all numbers", "ffffffffffffffff1\r\n"),
        ("longer than it says", "1\r\nabc\r\n0\r\n\r\n"),
        ("negative", "-1\r\n"),
        ("signed", "+0\r\n\r\n"),
        ("hexadecimal, and says so", "0x0\r\n\r\n"),
        ("in groups", "0_0\r\n\r\n"),
        ("two numbers", "0 0\r\n\r\n"),
        ("a bare line feed after its bytes", "1\r\na\n0\r\n\r\n"),
    ] {
        let body = format!("{begins}{}", hidden());
        let (closed, said) = say(&siege, &request("POST /a HTTP/1.1", chunked, &body)).await;
        assert!(closed && status(&said) == "400", "{what}: {closed} {said}");
        assert!(
            !siege.witness.saw("/smuggled") && !siege.witness.saw("/a"),
            "{what}"
        );
    }
}

/// Both lengths: chunked counts, and the connection is not used again (RFC 9112 §6.1).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_lengths_nothing_follows() {
    let siege = Siege::lay("").await;
    let chunked = "Transfer-Encoding: chunked\r\n";
    let ends = format!("0\r\n\r\n{}", hidden());
    for more in [
        format!("Content-Length: 6\r\n{chunked}"),
        format!("{chunked}Content-Length: 6\r\n"),
    ] {
        let (closed, said) = say(&siege, &request("POST /a HTTP/1.1", &more, &ends)).await;
        assert!(closed && status(&said) == "200", "{said}");
        assert_eq!(said.matches("HTTP/1.1 ").count(), 1, "{said}");
    }
    let old = request("POST /a HTTP/1.0", chunked, &ends);
    let (closed, said) = say(&siege, &old).await;
    assert!(closed && status(&said) == "400", "{said}");
    // The same length twice is one length.
    let same = "Content-Length: 0\r\nContent-Length: 0\r\nConnection: close\r\n";
    let (_, said) = say(&siege, &request("POST /a HTTP/1.1", same, "")).await;
    assert!(["200", "400"].contains(&status(&said)), "{said}");
    assert!(!siege.witness.saw("/smuggled"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_names_one_host() {
    let siege = Siege::lay("").await;
    let host = host();
    let good = format!("GET http://{host}/absolute HTTP/1.1");
    let close = "Connection: close\r\n";
    let (_, said) = say(&siege, &request(&good, close, "")).await;
    assert_eq!(status(&said), "200", "{said}");
    // RFC 9112 §3.2.2 would have us take the target's word; the engine refuses who says two things.
    let other = format!("Host: evil.example\r\n{close}");
    let (_, said) = say(&siege, &hostless(&good, &other, "")).await;
    assert_eq!(status(&said), "400", "{said}");
    assert!(siege.witness.saw("/absolute"));
    let get = "GET /x HTTP/1.1";
    let named = format!("Host: {host}\r\n");
    refuse_each(
        &siege,
        &[
            // Two, none, or one that is none (§3.2).
            (get, format!("{named}Host: evil.example\r\n"), "400"),
            (get, format!("{named}{named}"), "400"),
            (get, String::new(), "400"),
            (get, "Host: a b\r\n".to_owned(), "400"),
            (get, format!("Host: user@{host}\r\n"), "400"),
            (get, format!("Host: {host}/evil\r\n"), "400"),
            (get, format!("Host: {host}, evil.example\r\n"), "400"),
            // What others say of the host counts for nothing.
            (
                get,
                format!("Host: evil.example\r\nX-Forwarded-Host: {host}\r\n"),
                "404",
            ),
            (
                get,
                format!("Host: evil.example\r\nForwarded: host={host}\r\n"),
                "404",
            ),
            (get, format!("Host: {host}.evil.example\r\n"), "404"),
            ("GET http://evil.example/x HTTP/1.1", named.clone(), "400"),
            (
                &format!("GET http://user@{host}/x HTTP/1.1"),
                named.clone(),
                "400",
            ),
            ("GET http:///x HTTP/1.1", named.clone(), "400"),
            (
                &format!("GET ftp://{host}/x HTTP/1.1"),
                named.clone(),
                "400",
            ),
            (
                &format!("CONNECT {host}:443 HTTP/1.1"),
                named.clone(),
                "405",
            ),
            ("GET x HTTP/1.1", named.clone(), "400"),
            ("GET * HTTP/1.1", named.clone(), "400"),
            ("GET /x HTTP/9.9", named.clone(), "400"),
            ("GET /x", named.clone(), "400"),
            ("GET  /x HTTP/1.1", named.clone(), "400"),
            ("G\0T /x HTTP/1.1", named.clone(), "400"),
        ],
    )
    .await;
}

/// A header that says what is called, and is to be left out on the way (RFC 9110 §7.6.1): the region would be blamed for not
/// having the function that it was not told of.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_called_is_not_hidden_from_the_region() {
    let siege = Siege::lay("").await;
    let function = test_support::edge::FUNCTION;
    let named = ["function-id", "x, Function-Id ,y", "authorization"];
    let requests = named.map(|hidden| {
        let more =
            format!("Host: localhost\r\nfunction-id: {function}\r\nConnection: {hidden}\r\n");
        hostless("GET /x HTTP/1.1", &more, "")
    });
    for (hidden, (_, said)) in named.iter().zip(say_each(&siege, &requests).await) {
        assert_eq!(status(&said), "400", "{hidden}: {said}");
    }
    assert!(!siege.witness.saw("/x"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_large_is_refused() {
    let siege = Siege::lay("limits = { body = 10000 }").await;
    let long = "x".repeat(100_000);
    let many: String = (0..500).map(|n| format!("X-{n}: y\r\n")).collect();
    let chunks = format!("1000\r\n{}\r\n", "x".repeat(0x1000)).repeat(4);
    let chunked = "Transfer-Encoding: chunked\r\n";
    for (what, bytes, expected) in [
        (
            "target",
            request(&format!("GET /{long} HTTP/1.1"), "", ""),
            ["431", "400"],
        ),
        (
            "header",
            request("GET /x HTTP/1.1", &format!("X-A: {long}\r\n"), ""),
            ["431", "400"],
        ),
        (
            "number of headers",
            request("GET /x HTTP/1.1", &many, ""),
            ["431", "400"],
        ),
        (
            "announced body",
            request("POST /x HTTP/1.1", "Content-Length: 10001\r\n", ""),
            ["413", "413"],
        ),
        (
            "body",
            request("POST /x HTTP/1.1", chunked, &chunks),
            ["413", "413"],
        ),
    ] {
        let (closed, said) = say(&siege, &bytes).await;
        // With a body that is not read, the connection cannot be used again.
        let closed = closed || !what.ends_with("body");
        assert!(
            closed && expected.contains(&status(&said)),
            "{what}: {closed} {said}"
        );
    }
    assert!(!siege.witness.saw("/x"));
}

/// What has no end and is no body: a request line, a head, the extension of a chunk, trailers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_never_ends_is_cut_off() {
    let siege = Siege::lay("").await;
    let chunked = "Transfer-Encoding: chunked\r\n";
    let endless = "y".repeat(1 << 20);
    let trailers = "X-Trailer: y\r\n".repeat(1 << 16);
    let attacks = [
        b"GET /".to_vec(),
        request("GET /x HTTP/1.1", "X-A: ", "")[..]
            .strip_suffix(b"\r\n")
            .expect("ends")
            .to_vec(),
        request("POST /x HTTP/1.1", chunked, "1;"),
        request("POST /x HTTP/1.1", chunked, "1\r\na\r\n0\r\nX-A: "),
    ];
    siege
        .bear(60, async || {
            for begins in &attacks {
                endlessly(&siege, begins, endless.as_bytes()).await;
            }
            let begins = request("POST /x HTTP/1.1", chunked, "1\r\na\r\n0\r\n");
            endlessly(&siege, &begins, trailers.as_bytes()).await;
        })
        .await;
    assert!(!siege.witness.saw("/x"));
}

/// Sends up to 32 MiB, as fast as they are taken; the edge must not take them all.
async fn endlessly(siege: &Siege, begins: &[u8], goes_on: &[u8]) {
    let mut stream = siege.connect(None).await;
    let _ = stream.write_all(begins).await;
    for _ in 0..32 {
        match timeout(STALLED, stream.write_all(goes_on)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return,
        }
    }
    panic!("32 MiB were taken");
}
