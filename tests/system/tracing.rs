//! One call's trace: the caller's goes on through edge, region and worker to the container, the parts of all three reach a
//! collector of OTLP and fit together, and each wrote one access line. No credential is in any of it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use test_support::client::{Answer, full};
use test_support::eventually::eventually;
use test_support::world::World;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use crate::{NEAR, binary};

/// A collector: everything it was sent, as bytes. It ends when dropped.
struct Collector {
    endpoint: String,
    sent: Arc<Mutex<Vec<Bytes>>>,
    _serving: AbortOnDropHandle<()>,
}

/// A span and the program that told it.
#[derive(Debug, Clone)]
struct Told {
    service: String,
    region: String,
    span: Span,
}

// === impl Collector ===

impl Collector {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("bound"));
        let sent = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&sent);
        let serving = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let seen = Arc::clone(&seen);
                let service = service_fn(move |request| take(request, Arc::clone(&seen)));
                connections
                    .spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Self {
            endpoint,
            sent,
            _serving: AbortOnDropHandle::new(serving),
        }
    }

    /// Arguments for a stack in which everybody tells this collector.
    fn sets(&self) -> Vec<String> {
        let parts = [
            "edge",
            "us-east/invocation",
            "us-east/worker",
            "eu-west/invocation",
            "eu-west/worker",
        ];
        parts
            .iter()
            .map(|part| format!("--set={part}:telemetry.endpoint={}", self.endpoint))
            // All calls of this region come through its queue.
            .chain(["--set=eu-west/worker:standby=0".to_owned()])
            .collect()
    }

    fn bytes(&self) -> Vec<Bytes> {
        self.sent.lock().expect("no panic").clone()
    }

    /// The spans of one trace, by the program that told them.
    fn of(&self, trace: &str) -> Vec<Told> {
        let mut found = Vec::new();
        for body in self.bytes() {
            let request = ExportTraceServiceRequest::decode(body).expect("protobuf");
            for resource in request.resource_spans {
                let said = resource.resource.map(|r| r.attributes).unwrap_or_default();
                for span in resource.scope_spans.into_iter().flat_map(|s| s.spans) {
                    found.push(Told {
                        service: text(&said, "service.name"),
                        region: text(&said, "frontdoor.region"),
                        span,
                    });
                }
            }
        }
        found.retain(|told| hex::encode(&told.span.trace_id) == trace);
        found
    }

    /// The three parts of one call, once they are all there.
    async fn call(&self, trace: &str) -> HashMap<String, Told> {
        let what = format!("three spans of {trace}");
        eventually(&what, Duration::from_secs(20), async || {
            let told = self.of(trace);
            (told.len() == 3).then_some(told)
        })
        .await
        .into_iter()
        .map(|told| (told.service.clone(), told))
        .collect()
    }
}

async fn take(
    request: Request<Incoming>,
    seen: Arc<Mutex<Vec<Bytes>>>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    assert_eq!(request.uri().path(), "/v1/traces");
    let body = request.into_body().collect().await?.to_bytes();
    seen.lock().expect("no panic").push(body);
    Ok(Response::new(Full::default()))
}

fn text(attributes: &[KeyValue], key: &str) -> String {
    let found = attributes.iter().find(|a| a.key == key);
    let value = found.and_then(|a| a.value.as_ref()?.value.as_ref());
    match value {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(yes)) => yes.to_string(),
        _ => String::new(),
    }
}

/// Calls the page that says what arrived at the container.
async fn inspect(world: &World, traceparent: Option<&str>) -> Answer {
    let call = world.request("POST", "/inspect?secret=in-the-query");
    let call = match traceparent {
        Some(told) => call
            .header("traceparent", told)
            .header("tracestate", "vendor=1"),
        None => call,
    };
    let answer = world.call(call.body(full("{}")).expect("valid")).await;
    let answer = answer.expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer
}

/// A header as the container got it.
fn arrived(answer: &Answer, name: &str) -> String {
    let seen = answer.json();
    let headers = seen["headers"].as_array().expect("headers").clone();
    let found: Vec<&str> = headers
        .iter()
        .filter(|pair| pair[0] == name)
        .filter_map(|pair| pair[1].as_str())
        .collect();
    assert!(found.len() <= 1, "{name}: {found:?}");
    found.first().copied().unwrap_or_default().to_owned()
}

/// Trace and span of a `traceparent`.
fn parts(traceparent: &str) -> (String, String) {
    let mut parts = traceparent.split('-').skip(1).map(str::to_owned);
    let trace = parts.next().expect("a trace");
    (trace, parts.next().expect("a span"))
}

#[tokio::test]
async fn the_parts_of_a_call_fit_together() {
    let collector = Collector::start().await;
    let sets = collector.sets();
    let args: Vec<&str> = NEAR
        .iter()
        .copied()
        .chain(sets.iter().map(String::as_str))
        .collect();
    // The lines of all calls, also of regions.
    let world = World::logging(&binary(), &args, Some("info,access=debug"));
    let world = world.expect("the stack starts");
    let mut regions = std::collections::BTreeSet::new();
    // Both regions take calls; one of them through its queue.
    for number in 1..=40 {
        let trace = format!("{number:032x}");
        let answer = inspect(&world, Some(&format!("00-{trace}-00000000000000aa-01"))).await;
        let id = answer.header("nvcf-reqid").to_owned();
        let (at_container, last) = parts(&arrived(&answer, "traceparent"));
        assert_eq!(
            at_container, trace,
            "the container is in the caller's trace"
        );
        assert_eq!(arrived(&answer, "tracestate"), "vendor=1");

        let told = collector.call(&trace).await;
        let part = |service: &str| told.get(service).unwrap_or_else(|| panic!("{service}"));
        let (edge, invocation, worker) = (
            part("frontdoor-edge"),
            part("frontdoor-invocation"),
            part("frontdoor-worker"),
        );
        assert_eq!(hex::encode(&edge.span.parent_span_id), "00000000000000aa");
        assert_eq!(invocation.span.parent_span_id, edge.span.span_id);
        assert_eq!(worker.span.parent_span_id, invocation.span.span_id);
        assert_eq!(hex::encode(&worker.span.span_id), last);
        for told in [edge, invocation, worker] {
            let span = &told.span;
            assert_eq!(text(&span.attributes, "frontdoor.request_id"), id);
            assert_eq!(text(&span.attributes, "url.path"), "/inspect");
            assert_eq!(text(&span.attributes, "http.response.status_code"), "200");
            assert!(span.end_time_unix_nano > span.start_time_unix_nano);
        }
        let region = text(&edge.span.attributes, "frontdoor.region");
        assert_eq!([&invocation.region, &worker.region], [&region, &region]);
        let queued = text(&worker.span.attributes, "frontdoor.queued");
        assert!(
            region == "us-east" || queued == "true",
            "{region}: {queued}"
        );
        regions.insert(region);
        if regions.len() == 2 && number > 2 {
            break;
        }
    }
    assert_eq!(regions.len(), 2, "one of them through its queue");
    begun_and_unwanted(&world, &collector).await;
    one_line_each(&world).await;

    let key = world.endpoint("/api_key");
    for body in collector.bytes() {
        for secret in [key, "in-the-query"] {
            let found = body.windows(secret.len()).any(|w| w == secret.as_bytes());
            assert!(!found, "a span holds {secret}");
        }
    }
    without_a_collector(&world, collector).await;
}

/// A call without a trace begins one; of one that is not to be recorded nothing is told, but it goes on.
async fn begun_and_unwanted(world: &World, collector: &Collector) {
    let unwanted = format!("{:032x}", 0xfeed);
    let answer = inspect(world, Some(&format!("00-{unwanted}-00000000000000aa-00"))).await;
    let told = arrived(&answer, "traceparent");
    assert!(
        told.starts_with(&format!("00-{unwanted}-")) && told.ends_with("-00"),
        "{told}"
    );

    let answer = inspect(world, None).await;
    let (trace, _) = parts(&arrived(&answer, "traceparent"));
    let told = collector.call(&trace).await;
    assert!(told["frontdoor-edge"].span.parent_span_id.is_empty());
    assert!(collector.of(&unwanted).is_empty());
}

/// Edge, invocation service and worker wrote one line about a call, with its id, its trace and its region.
async fn one_line_each(world: &World) {
    let trace = format!("{:032x}", 0xbeef);
    let answer = inspect(world, Some(&format!("00-{trace}-00000000000000aa-01"))).await;
    let id = answer.header("nvcf-reqid").to_owned();
    let region = answer.header("frontdoor-region").to_owned();
    for part in [
        "edge".to_owned(),
        format!("{region}-invocation"),
        format!("{region}-worker"),
    ] {
        let lines = eventually(
            &format!("{part}'s line"),
            Duration::from_secs(10),
            async || {
                let log = world.log(&part);
                let lines: Vec<String> = log
                    .lines()
                    .filter(|line| line.contains(&id))
                    .map(str::to_owned)
                    .collect();
                (!lines.is_empty()).then_some(lines)
            },
        )
        .await;
        assert_eq!(lines.len(), 1, "{part}: {lines:?}");
        let its_region = format!("region=\"{region}\"");
        for word in [
            "access",
            &trace,
            "/inspect",
            "200",
            "outcome=\"answered\"",
            &its_region,
        ] {
            assert!(lines[0].contains(word), "{part}: {word} in {}", lines[0]);
        }
    }
}

/// A collector that is gone costs spans and nothing else.
async fn without_a_collector(world: &World, collector: Collector) {
    drop(collector);
    let began = std::time::Instant::now();
    for _ in 0..20 {
        inspect(world, None).await;
    }
    let took = began.elapsed();
    assert!(took < Duration::from_secs(4), "20 calls took {took:?}");
    eventually("they are counted", Duration::from_secs(20), async || {
        let mut admin = test_support::client::Client::plain(
            world.address("/edge/admin"),
            test_support::client::Protocol::H1,
        )
        .await
        .ok()?;
        let page = Request::get("/metrics").header("host", "admin");
        let page = admin.call(page.body(full("")).ok()?).await.ok()?.text();
        page.lines()
            .find_map(|l| l.strip_prefix("frontdoor_edge_spans_total{outcome=\"failed\"} "))?
            .parse::<u64>()
            .ok()
            .filter(|failed| *failed > 0)
    })
    .await;
}
