//! Files of configuration: settings or an error that names the file; never a panic, and never one where settings are used.
//!
//! Input: a byte that says whose file it is, then its text.

use std::sync::Arc;
use std::time::Instant;

use frontdoor::explain::Diary;
use frontdoor::proxy::Admission;
use frontdoor::region::RegionIndex;
use frontdoor::route::{self, Ask};
use frontdoor::table::{Event, Table};
use tokio::sync::Semaphore;

pub(crate) fn law(input: &[u8]) {
    let [whose, text @ ..] = input else {
        return;
    };
    let Ok(text) = std::str::from_utf8(text) else {
        return;
    };
    let environment = |name: &str| (name == "NAME").then(|| "eu-west\"\n".to_owned());
    let said = match whose % 4 {
        0 => frontdoor::config::parse(NAME, text, environment).map(|settings| edge(&settings)),
        1 => frontdoor_invocation::config::parse(NAME, text, environment).map(|settings| {
            let _ = Instant::now() + settings.stop.grace + settings.stop.notice + settings.ping;
            let _ = Semaphore::new(settings.limits.waiting);
        }),
        2 => frontdoor_worker::config::parse(NAME, text, environment).map(|settings| {
            let _ = Instant::now() + settings.grace + settings.ping;
            let _ = Semaphore::new(settings.slots);
        }),
        _ => frontdoor_invocation::config::parse_keys(NAME, text, &[]).map(drop),
    };
    if let Err(error) = said {
        let error = error.to_string();
        assert!(error.starts_with(NAME), "{error}");
    }
}

const NAME: &str = "some.toml";

/// What the edge makes of its settings at its start, and for each call.
fn edge(settings: &frontdoor::config::Settings) {
    let now = Instant::now();
    let _ = Arc::new(Semaphore::new(settings.listen.connections));
    let _ = Admission::new(settings.calls);
    let _ = Diary::new(settings.explain);
    for span in [
        settings.upstream.grace,
        settings.upstream.connect,
        settings.upstream.ping_interval,
        settings.stop.grace,
        settings.resolver.max_ttl,
        settings.probe.interval.mul_f64(1.5),
        settings.calls.write,
        settings.listen.ping,
        settings.upgrade.grace,
    ] {
        let _ = now + span;
    }
    let regions = settings.regions.iter();
    let mut table = Table::new(
        regions.map(|region| (region.name.clone(), region.weight)),
        settings.limits,
    );
    for (index, _) in settings.regions.iter().enumerate() {
        let addresses = vec![([10, 0, 0, 1], 80).into()];
        let region = RegionIndex(index);
        table.apply(Event::Resolved { region, addresses }, now);
    }
    let later = now + settings.limits.ramp;
    table.apply(Event::Tick, later);
    let _ = route::decide(&table.snapshot(later), &settings.policy, &Ask::default(), 7);
}
