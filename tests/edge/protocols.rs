//! TLS, HTTP/1.1 and HTTP/2 on the way in; every method, every kind of body; 100-continue; nothing for those who say nothing.

use std::time::Duration;

use http::Request;
use http_body_util::BodyExt as _;
use test_support::client::{Client, Protocol, full};
use test_support::region::{Region, reply};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::{Edge, host, request};

async fn mirror() -> Region {
    Region::start(|request| async move {
        let line = format!(
            "{} {}",
            request.method(),
            request.uri().path_and_query().map_or("", |p| p.as_str())
        );
        let body = request
            .into_body()
            .collect()
            .await
            .map(|b| b.to_bytes())
            .unwrap_or_default();
        let sum: u64 = body.iter().map(|&b| u64::from(b)).sum();
        reply(200, &[], format!("{line} {} {sum}", body.len()))
    })
    .await
    .expect("a port")
}

#[tokio::test]
async fn every_way_in_carries_method_path_query_and_body() {
    let region = mirror().await;
    let edge = Edge::start(&[("us-east", region.address)]).await;
    let big: Vec<u8> = (0..3_000_000_u32)
        .map(|n| u8::try_from(n % 251).expect("small"))
        .collect();
    let sum: u64 = big.iter().map(|&b| u64::from(b)).sum();
    for protocol in [Protocol::H1, Protocol::H2] {
        let clients = [
            edge.client(protocol).await,
            Client::plain(edge.ports.http, protocol)
                .await
                .expect("plain"),
        ];
        for mut client in clients {
            for method in ["POST", "PUT", "PATCH", "DELETE"] {
                let call = request(method, "/a%20b/c?x=1&y=%2F")
                    .body(full("abc"))
                    .expect("valid");
                let answer = client.call(call).await.expect("an answer");
                assert_eq!(answer.text(), format!("{method} /a%20b/c?x=1&y=%2F 3 294"));
            }
            let answer = client
                .call(
                    request("POST", "/big")
                        .body(full(big.clone()))
                        .expect("valid"),
                )
                .await
                .expect("an answer");
            assert_eq!(answer.text(), format!("POST /big 3000000 {sum}"));
            let head = client
                .call(request("HEAD", "/").body(full("")).expect("valid"))
                .await
                .expect("an answer");
            assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
        }
    }
}

#[tokio::test]
async fn expect_continue_is_answered_at_once() {
    let region = mirror().await;
    let edge = Edge::start(&[("us-east", region.address)]).await;
    let mut stream = TcpStream::connect(edge.ports.http)
        .await
        .expect("a connection");
    let head = format!(
        "POST /x HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer key\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n",
        host()
    );
    stream.write_all(head.as_bytes()).await.expect("sent");
    let mut seen = [0; 25];
    tokio::time::timeout(Duration::from_millis(500), stream.read_exact(&mut seen))
        .await
        .expect("at once")
        .expect("read");
    assert_eq!(&seen, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"abc").await.expect("sent");
    let mut answer = vec![0; 4096];
    let count = stream.read(&mut answer).await.expect("read");
    assert!(String::from_utf8_lossy(&answer[..count]).contains("200 OK"));
}

/// The caller has the last byte that `Content-Length` announced; that the region's stream ends is news to the edge alone.
#[tokio::test]
async fn the_next_request_may_come_before_the_end_of_the_last_answer() {
    let region = Region::start(|_| async {
        let (mut pieces, body) = http_body_util::channel::Channel::<_, std::io::Error>::new(1);
        tokio::spawn(async move {
            let _ = pieces.send_data(bytes::Bytes::from_static(b"ok")).await;
            tokio::time::sleep(Duration::from_millis(200)).await;
        });
        http::Response::builder()
            .header("content-length", "2")
            .body(http_body_util::combinators::BoxBody::new(body))
            .expect("valid")
    })
    .await
    .expect("a port");
    let edge = Edge::start(&[("us-east", region.address)]).await;
    let mut client = edge.client(Protocol::H1).await;
    for n in 0..5 {
        let call = request("POST", "/x").body(full("x")).expect("valid");
        let answer = client.call(call).await;
        assert_eq!(
            answer.unwrap_or_else(|e| panic!("call {n}: {e:#}")).text(),
            "ok"
        );
    }
}

#[tokio::test]
async fn many_calls_share_few_connections() {
    let region = mirror().await;
    let edge = Edge::start(&[("us-east", region.address)]).await;
    let client = edge.client(Protocol::H2).await;
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..300 {
        let mut sender = client.h2();
        let call = request("POST", "/x").body(full("abc")).expect("valid");
        calls.spawn(async move {
            let answer = sender.send_request(call).await.expect("an answer");
            let status = answer.status();
            let body = answer
                .into_body()
                .collect()
                .await
                .expect("whole")
                .to_bytes();
            (status, body)
        });
    }
    while let Some(answer) = calls.join_next().await {
        let (status, body) = answer.expect("no panic");
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
    }
    assert_eq!(region.calls(), 300);
    assert!(
        (edge.counter("connections", "").await - 1.0).abs() < f64::EPSILON,
        "one caller, one connection"
    );
    let dials = edge.counter("upstream_dials_total", "connected").await;
    assert!(
        (1.0..=4.0).contains(&dials),
        "{dials} connections to the region for 300 calls at once"
    );
}

/// The HTTP/2 library closes a connection on which a hundred empty DATA frames came that end nothing: none of ours may be one.
#[tokio::test]
async fn one_connection_carries_hundreds_of_calls_in_a_row() {
    let region = mirror().await;
    let edge = Edge::start(&[("us-east", region.address)]).await;
    for protocol in [Protocol::H1, Protocol::H2] {
        let mut client = edge.client(protocol).await;
        for n in 0..250 {
            for body in ["abc", ""] {
                let call = request("POST", "/x").body(full(body)).expect("valid");
                let answer = client.call(call).await.expect("an answer");
                assert_eq!(
                    answer.status,
                    200,
                    "{protocol:?} call {n}: {}",
                    answer.text()
                );
            }
        }
    }
}

#[tokio::test]
async fn certificates_are_chosen_by_name_and_wrong_names_still_get_one() {
    let region = mirror().await;
    let edge = Edge::start(&[("us-east", region.address)]).await;
    let config = edge.authority.client(&["h2"]).expect("trust");
    for name in ["localhost", "invocation.localhost", &host()] {
        Client::with(edge.ports.https, name, config.clone(), Protocol::H2)
            .await
            .expect(name);
    }
    let strange = Client::with(edge.ports.https, "elsewhere.example", config, Protocol::H2).await;
    let error = format!("{:#}", strange.err().expect("the name does not fit"));
    assert!(
        error.contains("NotValidForName") || error.contains("not valid for name"),
        "{error}"
    );
}

#[tokio::test]
async fn nonsense_does_not_hurt_others() {
    let region = mirror().await;
    let edge = Edge::start(&[("us-east", region.address)]).await;
    for port in [edge.ports.https, edge.ports.http] {
        for noise in [
            &b"\x00\xff\x00\xff"[..],
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff",
            b"GET\r\n\r\n",
        ] {
            let mut stream = TcpStream::connect(port).await.expect("a connection");
            stream.write_all(noise).await.expect("sent");
            let _ = stream.shutdown().await;
        }
    }
    let mut half = TcpStream::connect(edge.ports.http)
        .await
        .expect("a connection");
    half.write_all(b"POST /x HTTP/1.1\r\nHos")
        .await
        .expect("sent");
    let answer = edge
        .client(Protocol::H2)
        .await
        .call(request("GET", "/").body(full("")).expect("valid"))
        .await;
    assert_eq!(answer.expect("an answer").status, 200);
}

#[tokio::test]
async fn a_missing_host_is_refused() {
    let region = mirror().await;
    let edge = Edge::start(&[("us-east", region.address)]).await;
    let mut client = Client::plain(edge.ports.http, Protocol::H1)
        .await
        .expect("plain");
    let call = Request::post("/x")
        .header("authorization", "Bearer key")
        .body(full(""))
        .expect("valid");
    let answer = client.call(call).await.expect("an answer");
    assert_eq!(answer.status, 400, "RFC 9112 §3.2");
    assert_eq!(region.calls(), 0);
}
