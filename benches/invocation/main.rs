//! What a region adds to a call: a small echo through invocation service, NATS and worker, against the function called
//! directly, in one run.
//!
//! Real processes of the binary, real sockets on loopback, a closed loop; see `benches/README.md` for the method.
//! `make bench` runs it; `--quick` (and cargo's `--test`) only sees that everything works. Other arguments choose, as
//! criterion's do: only what contains one of them is measured (`standing`, `h1/64`, `events`). Prints a table, and JSON
//! at the end.

mod load;
mod region;

use std::time::Duration;

use serde_json::{Value, json};

use load::{Protocol, Result};
use region::Region;

/// How long one measurement takes, and what is thrown away before it.
struct Span {
    warm: Duration,
    measured: Duration,
    events: u64,
}

/// Protocols and how many callers.
const CLIENTS: [(Protocol, usize); 5] = [
    (Protocol::Http1, 1),
    (Protocol::Http1, 16),
    (Protocol::Http1, 64),
    (Protocol::H2c, 1),
    (Protocol::H2c, 64),
];

/// What to measure: all, or what contains one of these.
struct Chosen(Vec<String>);

fn main() {
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
            events: 5,
        },
        false => Span {
            warm: Duration::from_millis(700),
            measured: Duration::from_secs(3),
            events: 100,
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
            if !chosen.is(name) {
                continue;
            }
            let direct = region
                .function_caller(protocol)
                .run(concurrency, span.warm, span.measured / 2)
                .await;
            let caller = region.caller(protocol);
            caller.run(concurrency, Duration::ZERO, span.warm).await;
            let before = region.cpu();
            let through = caller.run(concurrency, Duration::ZERO, span.measured).await;
            let cpu = region.cpu().since(&before, through.calls);
            row(way, protocol, concurrency, &direct, &through, &cpu);
            results.push(entry(way, protocol, concurrency, &direct, &through, &cpu));
        }
        if chosen.is(&events) {
            let direct = region
                .function_caller(Protocol::Http1)
                .events(span.events)
                .await;
            let through = region.caller(Protocol::Http1).events(span.events).await;
            println!(
                "| {way} | events | | {:.3} | {:.3} | {:.3} | {:.3} | |",
                through.p50,
                through.p99,
                through.p50 - direct.p50,
                through.p99 - direct.p99
            );
            results.push(json!({
                "way": way, "client": "events", "delay_p50_ms": through.p50, "delay_p99_ms": through.p99,
                "direct_p50_ms": direct.p50, "direct_p99_ms": direct.p99,
            }));
        }
        region.stop();
    }
    println!("{}", Value::Array(results));
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
    cpu: &region::Cpu,
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
    cpu: &region::Cpu,
) -> Value {
    json!({
        "way": way, "client": protocol.name(), "concurrency": concurrency,
        "rate": through.rate, "p50_ms": through.p50, "p99_ms": through.p99,
        "direct_rate": direct.rate, "direct_p50_ms": direct.p50, "direct_p99_ms": direct.p99,
        "cpu_us": { "service": cpu.service, "nats": cpu.nats, "worker": cpu.worker },
    })
}
