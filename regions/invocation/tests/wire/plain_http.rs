//! What HTTP itself asks of the port: bounds of a head, bodies that are asked for, browsers, upgrades.

use std::time::Duration;

use http::{HeaderValue, Method, Request, Version};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::client::{Connection, Reply, ask, call, empty, full};
use crate::polls::by_path;
use crate::worker::Puller;
use crate::world::{DOMAIN, FUNCTION, KEY, World};

/// What comes until it contains `end`.
async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut heard = Vec::new();
    let mut piece = [0; 4096];
    let text = async {
        loop {
            let length = stream.read(&mut piece).await.unwrap();
            heard.extend_from_slice(&piece[..length]);
            let text = String::from_utf8_lossy(&heard).into_owned();
            if length == 0 || text.contains(end) {
                return text;
            }
        }
    };
    let text = tokio::time::timeout(Duration::from_secs(10), text).await;
    text.expect("in time")
}

#[tokio::test]
async fn a_body_is_asked_for_only_from_who_may_send_it() {
    let world = World::start().await;
    let puller = Puller::new(&world).await;
    let head = |key: &str| {
        format!(
            "POST /x HTTP/1.1\r\nHost: {FUNCTION}.{DOMAIN}\r\nAuthorization: Bearer {key}\r\n\
             Content-Length: 5\r\nExpect: 100-continue\r\n\r\n"
        )
    };
    let mut refused = TcpStream::connect(world.front).await.unwrap();
    refused.write_all(head("wrong").as_bytes()).await.unwrap();
    let told = read_until(&mut refused, "\r\n\r\n").await;
    assert!(told.starts_with("HTTP/1.1 401 "), "{told}");

    let mut caller = TcpStream::connect(world.front).await.unwrap();
    caller.write_all(head(KEY).as_bytes()).await.unwrap();
    let told = read_until(&mut caller, "\r\n\r\n").await;
    assert_eq!(told, "HTTP/1.1 100 Continue\r\n\r\n");
    caller.write_all(b"hello").await.unwrap();
    let work = puller.next().await;
    assert_eq!(work.inline(), b"hello");
    let mut claimed = work.claim().await.expect("granted");
    claimed.head(200, &[("content-length", "2")]).await;
    claimed.data("ok").await;
    claimed.finish().await.expect("the caller has everything");
    let told = read_until(&mut caller, "\r\n\r\nok").await;
    assert!(told.starts_with("HTTP/1.1 200 OK\r\n"), "{told}");
}

#[tokio::test]
async fn a_body_that_does_not_come_is_its_callers_fault() {
    let world = World::start().await;
    let puller = Puller::new(&world).await;
    let head = format!(
        "POST /x HTTP/1.1\r\nHost: {FUNCTION}.{DOMAIN}\r\nAuthorization: Bearer {KEY}\r\n\
         NVCF-POLL-SECONDS: 1\r\nContent-Length: 5\r\n\r\nhel"
    );
    let mut caller = TcpStream::connect(world.front).await.unwrap();
    caller.write_all(head.as_bytes()).await.unwrap();
    // Not 504: an edge would try another region, which waits for the same bytes.
    let told = read_until(&mut caller, "}").await;
    assert!(told.starts_with("HTTP/1.1 408 "), "{told}");
    assert!(told.contains("frontdoor-execution: not-started"), "{told}");
    assert!(told.contains("urn:frontdoor:problem:slow-body"), "{told}");
    let nothing = tokio::time::timeout(Duration::from_millis(300), puller.next());
    assert!(nothing.await.is_err(), "no worker was asked");
}

#[tokio::test]
async fn a_body_too_long_for_a_message_is_asked_for_too() {
    let world = World::start().await;
    let puller = Puller::new(&world).await;
    let length = 100_000;
    let head = format!(
        "POST /x HTTP/1.1\r\nHost: {FUNCTION}.{DOMAIN}\r\nAuthorization: Bearer {KEY}\r\n\
         Content-Length: {length}\r\nExpect: 100-continue\r\n\r\n"
    );
    let mut caller = TcpStream::connect(world.front).await.unwrap();
    caller.write_all(head.as_bytes()).await.unwrap();
    let told = read_until(&mut caller, "\r\n\r\n").await;
    assert_eq!(told, "HTTP/1.1 100 Continue\r\n\r\n");
    let send = async {
        caller.write_all(&vec![b'x'; length]).await.unwrap();
        read_until(&mut caller, "\r\n\r\n").await
    };
    let serve = async {
        let work = puller.next().await;
        let mut claimed = work.claim().await.expect("granted");
        let rest = work.fetch(Version::HTTP_2).await.unwrap();
        assert_eq!(work.inline().len() + rest.body.len(), length);
        claimed.head(204, &[]).await;
        claimed.finish().await.expect("the caller has everything");
    };
    let (told, ()) = tokio::join!(send, serve);
    assert!(told.starts_with("HTTP/1.1 204 "), "{told}");
}

#[tokio::test]
async fn heads_have_bounds() {
    let world = World::start().await;
    let many = |n: usize| {
        let mut request = call(Method::GET, "/", empty());
        for n in 0..n {
            let name: http::HeaderName = format!("x-{n}").parse().unwrap();
            request
                .headers_mut()
                .insert(name, HeaderValue::from_static("1"));
        }
        // Whoever gets past the bounds is told of this.
        let wrong = HeaderValue::from_static("x");
        request.headers_mut().insert("nvcf-poll-seconds", wrong);
        request
    };
    let mut long_list = many(0);
    for n in 0..20 {
        let name: http::HeaderName = format!("x-{n}").parse().unwrap();
        let value = HeaderValue::from_str(&"x".repeat(4_000)).unwrap();
        long_list.headers_mut().insert(name, value);
    }
    for (version, request, status) in [
        (Version::HTTP_11, many(90), 400),
        (Version::HTTP_11, many(110), 431),
        (Version::HTTP_2, many(110), 400),
        (Version::HTTP_2, long_list, 431),
    ] {
        let mut connection = Connection::open(world.front, version).await.unwrap();
        let response = connection.send(request).await.expect("an answer");
        assert_eq!(response.status(), status, "{version:?}");
    }
    // What no client of a library would send.
    let path = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(70_000));
    let field = format!(
        "GET / HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n",
        "x".repeat(420_000)
    );
    for (head, status) in [(path, "HTTP/1.1 414 "), (field, "HTTP/1.1 431 ")] {
        let mut caller = TcpStream::connect(world.front).await.unwrap();
        caller.write_all(head.as_bytes()).await.unwrap();
        let told = read_until(&mut caller, "\r\n\r\n").await;
        assert!(told.starts_with(status), "{told}");
    }
}

#[tokio::test]
async fn an_upgrade_is_not_taken_and_the_call_goes_on_without_it() {
    let world = World::start().await;
    let puller = Puller::new(&world).await;
    let mut request = call(Method::GET, "/socket", empty());
    for (name, value) in [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
    ] {
        let value = HeaderValue::from_static(value);
        request.headers_mut().insert(name, value);
    }
    let worker = async {
        let work = puller.next().await;
        assert_eq!(work.request_header("upgrade"), None);
        assert_eq!(work.request_header("connection"), None);
        let mut claimed = work.claim().await.expect("granted");
        claimed.head(426, &[]).await;
        claimed.finish().await.expect("the caller has everything");
    };
    let (reply, ()) = tokio::join!(ask(&world, Version::HTTP_11, request), worker);
    assert_eq!(reply.status, 426, "the container's own word on it");
}

fn preflight(host: &str, path: &str) -> Request<crate::client::BoxBody> {
    Request::builder()
        .method(Method::OPTIONS)
        .uri(format!("http://{host}{path}"))
        .header("origin", "https://page.example")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization")
        .body(empty())
        .unwrap()
}

#[tokio::test]
async fn a_page_may_call_the_api_and_its_browser_asks_without_a_key() {
    let world = World::start().await;
    let puller = Puller::new(&world).await;
    let path = format!("/v2/nvcf/pexec/functions/{FUNCTION}");
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let told = ask(&world, version, preflight(&format!("api.{DOMAIN}"), &path)).await;
        assert_eq!((told.status, told.body.len()), (200, 0));
        for (name, value) in [
            ("access-control-allow-origin", "https://page.example"),
            ("access-control-allow-credentials", "true"),
            ("access-control-allow-methods", "POST"),
            ("access-control-allow-headers", "authorization"),
            ("access-control-max-age", "86400"),
        ] {
            assert_eq!(told.header(name), Some(value), "{version:?}");
        }
    }
    // The call itself, answered and refused.
    let from_page = |key: &str| {
        let path = format!("pexec/functions/{FUNCTION}");
        let mut request = by_path(Method::POST, &path, "20", full("in"));
        let headers = request.headers_mut();
        let key = HeaderValue::from_str(&format!("Bearer {key}")).unwrap();
        headers.insert("authorization", key);
        headers.insert("origin", HeaderValue::from_static("https://page.example"));
        request
    };
    let worker = async {
        let mut claimed = puller.next().await.claim().await.expect("granted");
        claimed.head(200, &[]).await;
        claimed.finish().await.expect("the caller has everything");
    };
    let (answered, ()) = tokio::join!(ask(&world, Version::HTTP_2, from_page(KEY)), worker);
    let refused = ask(&world, Version::HTTP_2, from_page("wrong")).await;
    for (reply, status) in [(answered, 200), (refused, 401)] {
        assert_eq!(reply.status, status);
        let origin = reply.header("access-control-allow-origin");
        assert_eq!(origin, Some("https://page.example"));
        let credentials = reply.header("access-control-allow-credentials");
        assert_eq!(credentials, Some("true"));
    }
    // On a function's host all is the function's, and nobody calls that without a key.
    let by_host = preflight(&format!("{FUNCTION}.{DOMAIN}"), "/x");
    assert_eq!(ask(&world, Version::HTTP_2, by_host).await.status, 401);
    // What is no preflight is a wrong method, as ever.
    let mut plain = preflight(&format!("api.{DOMAIN}"), &path);
    plain.headers_mut().remove("origin");
    let reply: Reply = ask(&world, Version::HTTP_2, plain).await;
    assert_eq!((reply.status, reply.header("allow")), (405, Some("POST")));
}
