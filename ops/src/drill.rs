//! Drills: load on a running system, a fault, and a verdict in numbers.
//!
//! A drill sends calls as callers do, breaks one thing, watches how the edge takes it, mends it, and compares what it saw
//! with `ops/slo.md`. It reads the system from outside only: the edge's ports, its access log, and the journals of the
//! sample functions, which prove what ran. Called by the command line and by tests.

mod kind;

mod target;

mod fresh;

mod inject;

mod watch;

mod figures;

mod slo;

mod show;

mod annotate;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail, ensure};
use frontdoor_protocol::names::RegionName;
use time::OffsetDateTime;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::load::{Held, Load, Plan, Streams};
use crate::local;
use figures::Seen;
use fresh::Stack;
use inject::{Fault, Unsupported};
use slo::Slo;
use target::Target;
use watch::Watch;

pub use annotate::Grafana;
pub use figures::Figures;
pub use fresh::Fresh;
pub use inject::Hooks;
pub use kind::{Drill, UnknownDrill};

/// What is drilled.
#[derive(Debug, Clone)]
pub enum System {
    /// What an `endpoints.json` describes.
    Running(PathBuf),
    /// A stack of the drill's own, a new one for each drill.
    Fresh(Fresh),
}

/// What to drill, and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// The drills, in this order.
    pub drills: Vec<Drill>,
    /// Where.
    pub system: System,
    /// How often each.
    pub runs: u32,
    /// The region to break; otherwise the one that answers most calls.
    pub region: Option<RegionName>,
    /// Calls a second.
    pub rate: u32,
    /// Every so many calls one has a large body; 0 for none.
    pub large_every: u32,
    /// Another function than the first of the endpoints.
    pub function: Option<String>,
    /// A path for functions that are not the sample function; what ran is then not known.
    pub path: Option<String>,
    /// Shorter phases, for continuous integration.
    pub short: bool,
    /// An operator's own way to break and mend.
    pub hooks: Option<Hooks>,
    /// Where marks go.
    pub grafana: Option<Grafana>,
    /// Where the JSON goes.
    pub json: Option<PathBuf>,
    /// Print Markdown instead of the table.
    pub markdown: bool,
}

/// One run of one drill.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    drill: Drill,
    run: u32,
    region: String,
    /// RFC 3339.
    started: String,
    /// What the edge said was wrong with the region, one after the other.
    names: Vec<String>,
    /// What is worse than promised.
    broken: Vec<String>,
    /// Why it could not be done.
    unsupported: Option<String>,
    figures: Option<Figures>,
}

/// Sizes of bodies.
const BODY: usize = 1 << 10;
const LARGE_BODY: usize = 512 << 10;
/// How long a caller of a drill waits for the first byte: long for a call, short for a drill.
const POLL_SECONDS: &str = "10";
/// How long a region may take to be well before a drill, and again after one.
const WELL: Duration = Duration::from_secs(60);

/// Runs drills and prints what they came to; `Ok(true)` if all is as promised.
///
/// # Errors
/// If a drill cannot be done: no such system, nothing to break it with, a region that is unwell beforehand.
pub async fn run(options: Options, stop: CancellationToken) -> anyhow::Result<bool> {
    let slo = Slo::shipped()?;
    ensure!(
        !options.drills.is_empty() && options.runs > 0,
        "there is nothing to drill"
    );
    let mut outcomes = Vec::new();
    for drill in &options.drills {
        for run in 1..=options.runs {
            let drilled = one(&options, &slo, *drill, run);
            let Some(outcome) = stop.run_until_cancelled(drilled).await else {
                bail!(
                    "interrupted during {drill}: what it broke may still be broken; `frontdoor local status` shows it"
                );
            };
            // One that could not be done is no reason to lose what the others showed.
            outcomes.push(outcome.unwrap_or_else(|error| {
                say(&format!("  {error:#}"));
                Outcome::undone(*drill, run, &error)
            }));
        }
    }
    if let Some(file) = &options.json {
        let text = serde_json::to_string_pretty(&show::json(&outcomes))?;
        std::fs::write(file, text)
            .with_context(|| format!("{} cannot be written", file.display()))?;
    }
    if options.markdown {
        print(&show::markdown(&outcomes, &heading(&options)));
    } else {
        print(&show::table(&outcomes));
    }
    Ok(outcomes.iter().all(Outcome::ok))
}

async fn one(options: &Options, slo: &Slo, drill: Drill, run: u32) -> anyhow::Result<Outcome> {
    let fresh = match &options.system {
        System::Running(_) => None,
        System::Fresh(fresh) => Some(Stack::start(fresh, drill.slots()).await?),
    };
    let file = match (&options.system, &fresh) {
        (System::Running(file), None) => file.clone(),
        (_, Some(stack)) => stack.dir().join("endpoints.json"),
        (System::Fresh(_), None) => bail!("no stack"),
    };
    let outcome = on(options, slo, &file, drill, run).await;
    if let Some(stack) = fresh {
        let keep = !outcome.as_ref().is_ok_and(Outcome::ok);
        if keep {
            say(&format!(
                "  the stack's files are kept in {}",
                stack.dir().display()
            ));
        }
        stack.stop(keep).await?;
    }
    let outcome = outcome?;
    say(&format!("  {}", outcome.verdict()));
    Ok(outcome)
}

/// One run on the system behind a file.
async fn on(
    options: &Options,
    slo: &Slo,
    file: &Path,
    drill: Drill,
    run: u32,
) -> anyhow::Result<Outcome> {
    let target = Target::open(file)?;
    let times = drill.times(options.short);
    say(&format!(
        "{drill}: {} (run {run} of {})",
        drill.what(),
        options.runs
    ));
    well(&target).await?;
    let certificates = match drill {
        Drill::CertRotate => Some(local::certificates(
            target.text("/functions/0/id").parse()?,
        )?),
        _ => None,
    };
    let trusted = certificates.as_ref().map_or("", |made| made.ca.as_str());
    let path = format!("/drill/{}/", uuid::Uuid::new_v4().simple());
    let moves = target.moves().await;
    let load = Load::start(Plan {
        caller: target.caller(options.function.as_deref(), trusted)?,
        key: target.text("/api_key").to_owned(),
        rate: options.rate,
        connections: 8,
        path: options
            .path
            .clone()
            .map_or_else(|| path.clone(), |path| format!("{path}?call=")),
        headers: vec![("nvcf-poll-seconds".to_owned(), POLL_SECONDS.to_owned())],
        body: BODY,
        large_every: options.large_every,
        large_body: LARGE_BODY,
    })
    .await?;
    let streams = Streams::open(
        &target.caller(options.function.as_deref(), trusted)?,
        target.text("/api_key"),
        drill.streams(options.short),
    )
    .await?;
    let watch = Watch::start(&target, load.started);
    say(&format!(
        "  {:?} of {} calls a second",
        times.warm_up, options.rate
    ));
    sleep(times.warm_up).await;
    let region = match &options.region {
        Some(region) => region.clone(),
        None => busiest(&target).await?,
    };

    let (begun, fault) = (SystemTime::now(), load.started.elapsed());
    let injection = Fault {
        drill,
        target: &target,
        region: &region,
        hooks: options.hooks.as_ref(),
        certificates: certificates.as_ref(),
    };
    say(&format!(
        "  now: {drill} of {region}, for {:?}",
        times.fault
    ));
    let injected = injection.inject(times.fault).await;
    if injected.is_ok() {
        sleep_until(Instant::from_std(load.started + fault + times.fault)).await;
    }
    let heal = load.started.elapsed();
    say("  mending it");
    let mended = injection.heal().await;
    let healed = load.started.elapsed();
    let unsupported = match injected {
        Err(error) if error.is::<Unsupported>() => Some(error.to_string()),
        other => {
            other?;
            mended?;
            None
        }
    };
    if unsupported.is_none() {
        if drill.returns() {
            returned(&load, region.as_str(), healed, times.patience).await;
        }
        sleep(times.after).await;
    }
    let held = streams.end().await;
    let calls = load.end().await;
    let changes = watch.end().await;
    for change in &changes {
        say(&format!(
            "  {:8.3} s  {} {} {}",
            signed(change.at, fault),
            change.region,
            change.health,
            change.fault
        ));
    }
    let (after, executions, rerouted) = (
        target.moves().await,
        target.executions(&path),
        target.rerouted(&path),
    );
    // The bus is nobody's own, and its loss shows with each region.
    let concerned = |c: &&watch::Change| drill == Drill::NatsHubLoss || c.region == region.as_str();
    let noticed = changes
        .iter()
        .filter(|_| drill.is_named())
        .filter(concerned)
        .find(|c| c.at > fault && (c.health != "up" || c.fault != "none"));
    let names = changes.iter().filter(|c| c.region == region.as_str());
    let mut names: Vec<String> = names.map(|c| c.fault.clone()).collect();
    names.dedup();
    let figures = Figures::of(&Seen {
        drill,
        region: region.as_str(),
        calls: &calls,
        fault,
        settled: fault + times.settled,
        heal,
        healed,
        noticed: noticed.map(|c| c.at),
        executions: executions.as_ref().filter(|_| options.path.is_none()),
        rerouted: rerouted.as_ref(),
        moves: after
            .zip(moves)
            .map(|(after, before)| (after - before).max(0.0)),
    });
    for line in crate::load::failures(&calls).lines().take(FAILURES_SHOWN) {
        say(&format!("  failed {line}"));
    }
    let mut broken = match unsupported {
        Some(_) => vec![],
        None => slo.bars(drill).broken(drill, options.rate, &figures),
    };
    if held.open > 0 {
        let Held { open, cut } = &held;
        say(&format!("  {} of {open} event streams were cut", cut.len()));
        if let Some(first) = cut.first() {
            broken.push(format!(
                "{} of {open} event streams cut ({first})",
                cut.len()
            ));
        }
    }
    let outcome = Outcome {
        drill,
        run,
        region: region.to_string(),
        started: OffsetDateTime::from(begun).to_string(),
        broken,
        names,
        figures: unsupported.is_none().then_some(figures),
        unsupported,
    };
    if let Some(grafana) = &options.grafana {
        let text = format!("drill {drill} of {region}: {}", outcome.verdict());
        // A mark that cannot be set is no reason to fail a drill.
        if let Err(error) = grafana
            .mark(
                unix_ms(begun),
                unix_ms(SystemTime::now()),
                drill.as_str(),
                &text,
            )
            .await
        {
            say(&format!("  {error:#}"));
        }
    }
    Ok(outcome)
}

/// Failed calls that are printed.
const FAILURES_SHOWN: usize = 10;

/// Waits until every region is well: a drill on a system that is broken already would say nothing.
async fn well(target: &Target) -> anyhow::Result<()> {
    let limit = Instant::now() + WELL;
    loop {
        let unwell = match target.health().await {
            Ok(health) => health
                .into_iter()
                .filter(|seen| seen.health != "up" || seen.fault != "none")
                .map(|seen| format!("{} is {} ({})", seen.region, seen.health, seen.fault))
                .collect(),
            Err(error) => vec![format!("{error:#}")],
        };
        if unwell.is_empty() {
            return Ok(());
        }
        ensure!(
            Instant::now() < limit,
            "the system is not well before the drill ({}): mend it first, for example with `frontdoor local start`",
            unwell.join(", ")
        );
        sleep(Duration::from_millis(100)).await;
    }
}

/// The region that serves most, which is the one worth breaking.
async fn busiest(target: &Target) -> anyhow::Result<RegionName> {
    let world = target.admin("/regions").await?;
    let regions = world["regions"].as_array().into_iter().flatten();
    let busiest = regions.max_by_key(|r| r["served"].as_u64().unwrap_or_default());
    let name = busiest.and_then(|r| r["name"].as_str().map(str::to_owned));
    name.or_else(|| target.regions().first().cloned())
        .context("the system has no region; name one with --region")?
        .parse()
        .context("the edge's name of a region")
}

/// Waits until the region answers calls again that were sent after it was mended, or patience ends; the figures say which.
async fn returned(load: &Load, region: &str, healed: Duration, patience: Duration) {
    let limit = Instant::now() + patience;
    while Instant::now() < limit && load.last_answered_by(region).is_none_or(|at| at < healed) {
        sleep(Duration::from_millis(50)).await;
    }
}

fn heading(options: &Options) -> String {
    let form = if options.short {
        "short form"
    } else {
        "full form"
    };
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    let date = OffsetDateTime::now_utc().date();
    let share = match options.large_every {
        0 => String::new(),
        every => format!(", one in {every} of 512 KiB"),
    };
    format!(
        "{date}, {processors} processors, {} calls a second (POST of 1 KiB{share}), {form}, {} run(s) each. Times are \
         median (worst), counts are sums.",
        options.rate, options.runs
    )
}

fn signed(at: Duration, fault: Duration) -> f64 {
    at.as_secs_f64() - fault.as_secs_f64()
}

fn unix_ms(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Progress goes to standard error, so that the table alone can be kept.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

fn print(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{}", text.trim_end());
}

// === impl Outcome ===

impl Outcome {
    fn ok(&self) -> bool {
        self.broken.is_empty() && self.unsupported.is_none()
    }

    /// One that came to no figures.
    fn undone(drill: Drill, run: u32, error: &anyhow::Error) -> Self {
        Self {
            drill,
            run,
            region: String::new(),
            started: OffsetDateTime::now_utc().to_string(),
            broken: vec![format!("{error:#}")],
            names: vec![],
            unsupported: None,
            figures: None,
        }
    }

    fn verdict(&self) -> String {
        match (&self.unsupported, self.broken.as_slice()) {
            (Some(why), _) => why.clone(),
            (None, []) => "ok: as promised".to_owned(),
            (None, broken) => format!("FAILED: {}", broken.join("; ")),
        }
    }
}
