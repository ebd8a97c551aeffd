//! What a region adds to a call: a small echo through invocation service, NATS and worker, against the function called
//! directly, in one run.
//!
//! Real processes of the binary, real sockets on loopback, a closed loop; see `benches/README.md` for the method.
//! `make bench` runs it; `--quick` (and cargo's `--test`) only sees that everything works. Other arguments choose, as
//! criterion's do: only what contains one of them is measured (`standing`, `h1/64`, `events`). Measured too: as many hops that do
//! nothing else, relays that copy bytes and, where there is an `haproxy`, two of those; and NVIDIA's own service, where `BENCH_NVCF`
//! names it.
//! Prints a table, and JSON at the end.

mod load;
mod nvcf;
mod proxies;
mod region;
mod relay;

use std::time::Duration;

use serde_json::{Value, json};

use load::{Caller, Protocol, Result};
use nvcf::Reference;
use proxies::{Kind, Proxies};
use region::{Cpu, Region};

/// How long one measurement takes, and what is thrown away before it.
struct Span {
    warm: Duration,
    measured: Duration,
    /// How long events come.
    events: Duration,
}

/// Protocols and how many callers.
const CLIENTS: [(Protocol, usize); 5] = [
    (Protocol::Http1, 1),
    (Protocol::Http1, 16),
    (Protocol::Http1, 64),
    (Protocol::H2c, 1),
    (Protocol::H2c, 64),
];

/// How far apart events are: as a model speaks, where everything sleeps between two of them, and as a busy stream.
const APART: [Duration; 2] = [Duration::from_millis(10), Duration::from_millis(1)];

/// What to measure: all, or what contains one of these.
struct Chosen(Vec<String>);

fn main() {
    if relay::is_one() {
        return;
    }
    let quick = std::env::args().any(|a| a == "--quick" || a == "--test");
    // `cargo test --bench '*'` of the checks builds without optimisation.
    let quick = quick || cfg!(debug_assertions);
    let chosen = Chosen(
        std::env::args()
            .skip(1)
            .filter(|a| !a.starts_with("--"))
            .collect(),
    );
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(run(quick, &chosen));
}

async fn run(quick: bool, chosen: &Chosen) {
    let span = match quick {
        true => Span {
            warm: Duration::from_millis(100),
            measured: Duration::from_millis(300),
            events: Duration::from_millis(50),
        },
        false => Span {
            warm: Duration::from_millis(700),
            measured: Duration::from_secs(3),
            events: Duration::from_secs(2),
        },
    };
    let mut results = Vec::new();
    println!(
        "| way | client | req/s | p50 ms | p99 ms | added p50 | added p99 | CPU µs: service / nats / worker |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- |");
    for (way, standby) in [("standing stream", 64), ("queue", 0)] {
        let all = CLIENTS.map(|(protocol, n)| format!("{way}/{}/{n}", protocol.name()));
        let events = format!("{way}/events");
        if !all.iter().chain([&events]).any(|name| chosen.is(name)) {
            continue;
        }
        let region = Region::start(standby).await;
        for ((protocol, concurrency), name) in CLIENTS.into_iter().zip(&all) {
            if chosen.is(name) {
                let callers = [region.function_caller(protocol), region.caller(protocol)];
                let cpu = || region.cpu();
                results.push(measure(&span, way, (protocol, concurrency), callers, cpu).await);
            }
        }
        if chosen.is(&events) {
            let callers = [
                region.function_caller(Protocol::Http1),
                region.caller(Protocol::Http1),
            ];
            results.extend(late(&span, way, callers).await);
        }
        region.stop();
    }
    results.extend(nvidias(&span, chosen).await);
    for kind in [Kind::HaProxy, Kind::Relay] {
        results.extend(beside(&span, chosen, kind).await);
    }
    println!("{}", Value::Array(results));
}

/// What NVIDIA's service costs the same calls, if there is one on this machine: with a worker of ours, through the queue.
async fn nvidias(span: &Span, chosen: &Chosen) -> Vec<Value> {
    const WAY: &str = "NVIDIA's service";
    let mut results = Vec::new();
    let all = CLIENTS.map(|client| (client, format!("{WAY}/{}/{}", client.0.name(), client.1)));
    let events = chosen.is(&format!("{WAY}/events"));
    if !events && !all.iter().any(|(_, name)| chosen.is(name)) {
        return results;
    }
    let Some(reference) = Reference::start().await else {
        println!("| {WAY} | not measured: `BENCH_NVCF` names none | | | | | | |");
        return results;
    };
    let callers = |protocol| {
        [
            reference.region.function_caller(protocol),
            reference.region.caller(protocol),
        ]
    };
    for (client, _) in all.into_iter().filter(|(_, name)| chosen.is(name)) {
        results.push(
            measure(span, WAY, client, callers(client.0), || {
                reference.region.cpu()
            })
            .await,
        );
    }
    if events {
        results.extend(late(span, WAY, callers(Protocol::Http1)).await);
    }
    reference.region.stop();
    results
}

/// What as many hops cost the same calls that do nothing else, of a kind that is on this machine.
async fn beside(span: &Span, chosen: &Chosen, kind: Kind) -> Vec<Value> {
    let way = kind.way();
    let mut results = Vec::new();
    let own = CLIENTS.into_iter();
    let own = own.filter(|(protocol, n)| {
        matches!(protocol, Protocol::Http1) && chosen.is(&format!("{way}/h1/{n}"))
    });
    let (own, events) = (own.collect::<Vec<_>>(), chosen.is(&format!("{way}/events")));
    if own.is_empty() && !events {
        return results;
    }
    let Some(proxies) = Proxies::start(kind).await else {
        println!("| {way} | not measured: there is no `haproxy` here | | | | | | |");
        return results;
    };
    for client in own {
        let callers = [proxies.function_caller(), proxies.caller()];
        results.push(measure(span, way, client, callers, || proxies.cpu()).await);
    }
    if events {
        let callers = [proxies.function_caller(), proxies.caller()];
        results.extend(late(span, way, callers).await);
    }
    results
}

/// A closed loop of calls, first to the function itself.
async fn measure(
    span: &Span,
    way: &str,
    (protocol, concurrency): (Protocol, usize),
    [function, caller]: [Caller; 2],
    cpu: impl Fn() -> Cpu,
) -> Value {
    let direct = function.run(concurrency, span.warm, span.measured / 2);
    let direct = direct.await;
    caller.run(concurrency, Duration::ZERO, span.warm).await;
    let before = cpu();
    let through = caller.run(concurrency, Duration::ZERO, span.measured).await;
    let cpu = cpu().since(&before, through.calls);
    row(way, protocol, concurrency, &direct, &through, &cpu);
    entry(way, protocol, concurrency, &direct, &through, &cpu)
}

/// How late events are, first from the function itself.
async fn late(span: &Span, way: &str, [function, caller]: [Caller; 2]) -> Vec<Value> {
    let mut results = Vec::new();
    for apart in APART {
        let direct = function.events(span.events, apart).await;
        let through = caller.events(span.events, apart).await;
        let apart = apart.as_millis();
        println!(
            "| {way} | events, {apart} ms apart | | {:.3} | {:.3} | {:.3} | {:.3} | |",
            through.p50,
            through.p99,
            through.p50 - direct.p50,
            through.p99 - direct.p99
        );
        results.push(json!({
            "way": way, "client": "events", "apart_ms": apart, "delay_p50_ms": through.p50,
            "delay_p99_ms": through.p99, "direct_p50_ms": direct.p50, "direct_p99_ms": direct.p99,
        }));
    }
    results
}

// === impl Chosen ===

impl Chosen {
    fn is(&self, name: &str) -> bool {
        self.0.is_empty() || self.0.iter().any(|part| name.contains(part))
    }
}

fn row(
    way: &str,
    protocol: Protocol,
    concurrency: usize,
    direct: &Result,
    through: &Result,
    cpu: &Cpu,
) {
    println!(
        "| {way} | {}, {concurrency} | {:.0} | {:.3} | {:.3} | {:.3} | {:.3} | {:.0} / {:.0} / {:.0} |",
        protocol.name(),
        through.rate,
        through.p50,
        through.p99,
        through.p50 - direct.p50,
        through.p99 - direct.p99,
        cpu.service,
        cpu.nats,
        cpu.worker,
    );
}

fn entry(
    way: &str,
    protocol: Protocol,
    concurrency: usize,
    direct: &Result,
    through: &Result,
    cpu: &Cpu,
) -> Value {
    json!({
        "way": way, "client": protocol.name(), "concurrency": concurrency,
        "rate": through.rate, "p50_ms": through.p50, "p99_ms": through.p99,
        "direct_rate": direct.rate, "direct_p50_ms": direct.p50, "direct_p99_ms": direct.p99,
        "cpu_us": { "service": cpu.service, "nats": cpu.nats, "worker": cpu.worker },
    })
}
