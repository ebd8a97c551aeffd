//! What each path of the sample function does, asked over real sockets with HTTP/1.1 and h2c.

#![allow(
    clippy::unwrap_used,
    reason = "the helpers of a test may fail it, as the tests themselves"
)]

use std::time::{Duration, Instant};

use bytes::Bytes;
use frontdoor_function::{Options, Server};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Channel, Full, combinators::BoxBody};
use hyper::body::Incoming;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

type Body = BoxBody<Bytes, std::convert::Infallible>;

struct Function {
    base: String,
    client: Client<HttpConnector, Body>,
    journal: tempfile::NamedTempFile,
    shutdown: CancellationToken,
    serving: JoinHandle<()>,
}

impl Function {
    async fn start(h2: bool) -> Self {
        let journal = tempfile::NamedTempFile::new().unwrap();
        let server = Server::bind(Options {
            listen: "127.0.0.1:0".parse().unwrap(),
            journal: Some(journal.path().to_owned()),
        })
        .await
        .unwrap();
        let base = format!("http://{}", server.local_addr().unwrap());
        let shutdown = CancellationToken::new();
        let serving = tokio::spawn(server.serve(shutdown.clone()));
        let client = Client::builder(TokioExecutor::new())
            .http2_only(h2)
            .http1_max_headers(1024)
            .http2_max_header_list_size(1 << 20)
            .build_http();
        Self {
            base,
            client,
            journal,
            shutdown,
            serving,
        }
    }

    async fn both() -> [Self; 2] {
        [Self::start(false).await, Self::start(true).await]
    }

    async fn send(&self, request: Request<Body>) -> Response<Incoming> {
        self.client.request(request).await.unwrap()
    }

    fn request(&self, method: &str, path: &str) -> http::request::Builder {
        Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
    }

    async fn call(&self, method: &str, path: &str, body: &str) -> (StatusCode, Response<Bytes>) {
        let request = self.request(method, path).body(full(body)).unwrap();
        collect(self.send(request).await).await
    }

    async fn events(&self, body: Value) -> (StatusCode, Response<Bytes>) {
        let request = self
            .request("POST", "/echo")
            .header("accept", "text/event-stream")
            .body(full(&body.to_string()))
            .unwrap();
        collect(self.send(request).await).await
    }
}

fn full(text: &str) -> Body {
    Full::from(text.to_owned()).boxed()
}

async fn collect(response: Response<Incoming>) -> (StatusCode, Response<Bytes>) {
    let (head, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    (head.status, Response::from_parts(head, bytes))
}

#[tokio::test]
async fn echo_keeps_its_contract() {
    for function in Function::both().await {
        for (order, expected) in [
            (json!({"message": "hello"}), "hello"),
            (json!({"message": "ab", "repeats": 3}), "ababab"),
            (json!({"message": "ab", "repeats": 0}), ""),
            (json!({"size": 12}), "frontdoor fr"),
            (json!({"message": "late", "delay": 0.05}), "late"),
        ] {
            let (status, answer) = function.call("POST", "/echo", &order.to_string()).await;
            assert_eq!(
                (status, answer.body().as_ref()),
                (StatusCode::OK, expected.as_bytes())
            );
            let length = answer.headers()["content-length"].to_str().unwrap();
            assert_eq!(length, expected.len().to_string(), "{order}");
        }
        let unordered = r#"{"name": "John"}"#;
        let (_, answer) = function.call("POST", "/echo?name=John", unordered).await;
        assert_eq!(answer.body(), unordered);

        let (_, answer) = function
            .events(json!({"message": "hi", "repeats": 2}))
            .await;
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        assert_eq!(answer.body(), "data: hi\n\ndata: hi\n\n");
        let (_, answer) = function
            .events(json!({"message": "hi", "stream": false}))
            .await;
        assert_eq!(answer.body(), "hi");
        let (_, answer) = function.events(json!({"prompt": "say something"})).await;
        let text = String::from_utf8(answer.body().to_vec()).unwrap();
        assert_eq!(text.matches("data: ").count(), 4, "{text}");
        assert_eq!(
            text.replace("data: ", "").replace('\n', ""),
            r#"{"prompt":"say something"}"#
        );
    }
}

#[tokio::test]
async fn a_long_body_is_echoed_without_being_an_order() {
    for function in Function::both().await {
        let long = "x".repeat(3 << 20);
        let (status, answer) = function.call("POST", "/echo", &long).await;
        assert_eq!(status, StatusCode::OK);
        assert!(answer.body() == &long);
    }
}

#[tokio::test]
async fn inspect_tells_what_arrived() {
    for function in Function::both().await {
        let request = function
            .request("PUT", "/my/path?abc=123")
            .header("x-b", "2")
            .header("x-a", "1")
            .body(full("hello"))
            .unwrap();
        let (status, answer) = collect(function.send(request).await).await;
        let report: Value = serde_json::from_slice(answer.body()).unwrap();
        assert_eq!(status, StatusCode::OK);
        assert_eq!(report["method"], "PUT");
        assert_eq!(report["path"], "/my/path");
        assert_eq!(report["query"], "abc=123");
        assert_eq!(report["body_bytes"], 5);
        assert_eq!(report["sha256"], hex::encode(Sha256::digest("hello")));
        let headers = report["headers"].as_array().unwrap();
        let at = |name: &str| headers.iter().position(|pair| pair[0] == name).unwrap();
        assert!(at("x-b") < at("x-a") && at("host") < headers.len());
    }
}

#[tokio::test]
async fn answers_as_the_path_says() {
    for function in Function::both().await {
        assert_eq!(function.call("GET", "/health", "").await.0, 200);
        assert_eq!(function.call("GET", "/v2/health/ready", "").await.0, 200);
        let (status, answer) = function.call("POST", "/status/422", "").await;
        assert_eq!(
            (
                status.as_u16(),
                answer.headers()["content-type"].to_str().unwrap()
            ),
            (422, "application/json")
        );
        assert_eq!(answer.body(), r#"{"error":"Unprocessable Entity"}"#);
        let (status, answer) = function.call("POST", "/status/503", r#"{"mine":1}"#).await;
        assert_eq!(
            (status.as_u16(), answer.body().as_ref()),
            (503, &br#"{"mine":1}"#[..])
        );
        assert_eq!(function.call("GET", "/status/204", "").await.0, 204);
        assert_eq!(function.call("GET", "/status/99", "").await.0, 400);
        let (_, answer) = function.call("GET", "/headers/200", "").await;
        let extra = answer
            .headers()
            .keys()
            .filter(|n| n.as_str().starts_with("x-extra-"));
        assert_eq!(extra.count(), 200);
        assert_eq!(
            function
                .call("GET", "/bytes/300000", "")
                .await
                .1
                .body()
                .len(),
            300_000
        );
        let (status, answer) = function.call("GET", "/redirect", "").await;
        assert_eq!(
            (
                status.as_u16(),
                answer.headers()["location"].to_str().unwrap()
            ),
            (302, "/health")
        );
        let started = Instant::now();
        assert_eq!(function.call("GET", "/sleep/30", "").await.0, 200);
        assert!(started.elapsed() >= Duration::from_millis(30));
        let (status, answer) = function.call("HEAD", "/bytes/10", "").await;
        assert_eq!((status.as_u16(), answer.body().len()), (200, 0));
    }
}

#[tokio::test]
async fn a_broken_answer_is_seen_as_broken() {
    for function in Function::both().await {
        let request = function
            .request("GET", "/abort-after/1000")
            .body(full(""))
            .unwrap();
        let mut body = function.send(request).await.into_body();
        let mut received = 0;
        let broken = loop {
            match body.frame().await {
                Some(Ok(frame)) => received += frame.data_ref().map_or(0, Bytes::len),
                Some(Err(_)) => break true,
                None => break false,
            }
        };
        assert!(broken);
        assert_eq!(received, 1000);
    }
}

#[tokio::test]
async fn events_arrive_one_by_one_and_say_when() {
    for function in Function::both().await {
        let request = function
            .request("GET", "/events?count=5&interval_ms=20")
            .body(full(""))
            .unwrap();
        let started = Instant::now();
        let mut body = function.send(request).await.into_body();
        let mut frames = 0;
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.unwrap().into_data() else {
                continue;
            };
            if data.is_empty() {
                continue;
            }
            let text = std::str::from_utf8(&data).unwrap();
            assert!(
                text.starts_with(&format!("data: {{\"n\":{frames},\"at_us\":")),
                "{text}"
            );
            frames += 1;
        }
        assert_eq!(frames, 5);
        assert!(started.elapsed() >= Duration::from_millis(80));
    }
}

#[tokio::test]
async fn ping_pong_answers_while_the_request_is_open() {
    for function in Function::both().await {
        let (mut lines, body) = Channel::<Bytes>::new(1);
        let request = function
            .request("POST", "/ping-pong")
            .body(body.boxed())
            .unwrap();
        let sending = async {
            lines.send_data("ping\npi".into()).await.unwrap();
            lines
        };
        let (response, mut lines) = tokio::join!(function.send(request), sending);
        let mut answers = response.into_body();
        let mut next = async || answers.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(next().await, "pong\n");
        lines.send_data("ng\nelse\n".into()).await.unwrap();
        assert_eq!(next().await, "pong\n");
        assert_eq!(next().await, "else\n");
    }
}

#[tokio::test]
async fn the_journal_has_a_line_for_each_call_and_none_for_health() {
    let function = Function::start(false).await;
    function.call("GET", "/health", "").await;
    let request = function
        .request("POST", "/status/500")
        .header("NVCF-REQID", "abc")
        .body(full(""))
        .unwrap();
    collect(function.send(request).await).await;
    function.call("GET", "/bytes/1?x=1", "").await;
    let journal = std::fs::read_to_string(function.journal.path()).unwrap();
    let lines: Vec<_> = journal
        .lines()
        .map(|line| line.split_once(' ').unwrap())
        .collect();
    assert_eq!(lines.len(), 2);
    assert!(lines.iter().all(|(at, _)| at.parse::<u64>().is_ok()));
    assert_eq!(lines[0].1, "abc POST /status/500");
    assert_eq!(lines[1].1, "- GET /bytes/1");
}

#[tokio::test]
async fn a_stop_lets_running_calls_finish() {
    let function = Function::start(false).await;
    let stopping = async {
        while std::fs::read_to_string(function.journal.path())
            .unwrap()
            .is_empty()
        {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        function.shutdown.cancel();
    };
    let ((status, _), ()) = tokio::join!(function.call("GET", "/sleep/100", ""), stopping);
    assert_eq!(status, 200);
    tokio::time::timeout(Duration::from_secs(5), function.serving)
        .await
        .unwrap()
        .unwrap();
}
