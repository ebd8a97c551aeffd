//! HTTP/1.1: two ways to read one message, strange targets, everything too large.

use std::time::Duration;

use super::{Witness, say};
use crate::harness::host;

/// Longer than an answer needs.
const A_WHILE: Duration = Duration::from_secs(2);

/// A request with these lines after the usual ones; what follows is its body.
fn request(line: &str, more: &str, body: &str) -> Vec<u8> {
    format!(
        "{line}\r\nHost: {}\r\nAuthorization: Bearer key\r\n{more}\r\n{body}",
        host()
    )
    .into_bytes()
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

#[tokio::test]
async fn one_message_has_one_length() {
    let witness = Witness::start().await;
    let edge = witness.edge("").await;
    let chunked = "Transfer-Encoding: chunked\r\n";
    let cases: [(&str, String, String); 15] = [
        (
            "both lengths",
            format!("Content-Length: 6\r\n{chunked}"),
            format!("0\r\n\r\n{}", hidden()),
        ),
        (
            "two lengths",
            "Content-Length: 0\r\nContent-Length: 80\r\n".into(),
            hidden(),
        ),
        (
            "a list of lengths",
            "Content-Length: 0, 80\r\n".into(),
            hidden(),
        ),
        ("a signed length", "Content-Length: +0\r\n".into(), hidden()),
        (
            "a negative length",
            "Content-Length: -1\r\n".into(),
            hidden(),
        ),
        (
            "a hexadecimal length",
            "Content-Length: 0x0\r\n".into(),
            hidden(),
        ),
        ("a folded line", "X-A: b\r\n c: d\r\n".into(), hidden()),
        (
            "a space before the colon",
            "Content-Length : 80\r\n".into(),
            hidden(),
        ),
        (
            "chunked is not last",
            "Transfer-Encoding: chunked, identity\r\n".into(),
            hidden(),
        ),
        (
            "almost chunked",
            "Transfer-Encoding: xchunked\r\n".into(),
            hidden(),
        ),
        (
            "a chunk that is no number",
            chunked.into(),
            format!("zz\r\n{}", hidden()),
        ),
        (
            "a chunk beyond all numbers",
            chunked.into(),
            format!("ffffffffffffffff1\r\n{}", hidden()),
        ),
        (
            "a chunk longer than it says",
            chunked.into(),
            format!("1\r\nabc\r\n0\r\n\r\n{}", hidden()),
        ),
        (
            "a negative chunk",
            chunked.into(),
            format!("-1\r\n{}", hidden()),
        ),
        ("a zero byte in a header", "X-A: a\0b\r\n".into(), hidden()),
    ];
    for (what, more, body) in cases {
        let line = "POST /a HTTP/1.1";
        let (_, said) = say(edge.ports.http, &request(line, &more, &body), A_WHILE).await;
        let answers = said.matches("HTTP/1.1 200").count();
        assert!(answers <= 1, "{what}: {said}");
        assert!(
            !witness.saw("/smuggled"),
            "{what}: a second request was found in the first"
        );
        if what != "both lengths" {
            assert!(
                ["400", "none", "501"].contains(&status(&said)),
                "{what}: {said}"
            );
        }
    }
    let old = request(
        "POST /a HTTP/1.0",
        chunked,
        &format!("0\r\n\r\n{}", hidden()),
    );
    let (closed, said) = say(edge.ports.http, &old, A_WHILE).await;
    assert!(closed && status(&said) == "400", "{said}");
}

#[tokio::test]
async fn a_target_names_one_host() {
    let witness = Witness::start().await;
    let edge = witness.edge("").await;
    let good = format!("GET http://{}/absolute HTTP/1.1", host());
    let (_, said) = say(
        edge.ports.http,
        &request(&good, "Connection: close\r\n", ""),
        A_WHILE,
    )
    .await;
    assert_eq!(status(&said), "200", "{said}");
    assert!(witness.saw("/absolute"));
    for (line, more) in [
        (
            "GET http://evil.example/x HTTP/1.1".to_owned(),
            String::new(),
        ),
        (
            format!("GET http://user@{}/x HTTP/1.1", host()),
            String::new(),
        ),
        (
            "GET /x HTTP/1.1".to_owned(),
            "Host: evil.example\r\n".to_owned(),
        ),
        (
            "GET /x HTTP/1.1".to_owned(),
            format!("Host: {}\r\n", host()),
        ),
        (format!("CONNECT {}:443 HTTP/1.1", host()), String::new()),
        ("GET x HTTP/1.1".to_owned(), String::new()),
        ("GET /x HTTP/9.9".to_owned(), String::new()),
    ] {
        let (_, said) = say(edge.ports.http, &request(&line, &more, ""), A_WHILE).await;
        assert!(
            ["400", "404", "405", "505", "none"].contains(&status(&said)),
            "{line} {more}: {said}"
        );
        assert!(!witness.saw("/x"), "{line} {more}");
    }
}

#[tokio::test]
async fn what_is_too_large_is_refused() {
    let witness = Witness::start().await;
    let edge = witness.edge("limits = { body = 10000 }").await;
    let long = "x".repeat(100_000);
    let many: String = (0..500).map(|n| format!("X-{n}: y\r\n")).collect();
    let chunks = format!("1000\r\n{}\r\n", "x".repeat(0x1000)).repeat(4);
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
            request(
                "POST /x HTTP/1.1",
                "Transfer-Encoding: chunked\r\n",
                &chunks,
            ),
            ["413", "413"],
        ),
    ] {
        let (closed, said) = say(edge.ports.http, &bytes, A_WHILE).await;
        // With a body that is not read, the connection cannot be used again.
        let closed = closed || !what.ends_with("body");
        assert!(
            closed && expected.contains(&status(&said)),
            "{what}: {closed} {said}"
        );
    }
    assert!(!witness.saw("/x"));
}
