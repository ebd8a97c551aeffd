//! The services: load the configuration, or only check it; run until a signal; stop in order.
//!
//! The first SIGTERM or SIGINT begins an orderly stop, the second one ends the process at once.

use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use frontdoor::edge::Start;
use frontdoor::handover;
use frontdoor_protocol::config::ConfigError;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{Service, successor};

mod check;

pub(super) fn edge(
    service: &Service,
    ready_file: Option<PathBuf>,
    upgrade: bool,
) -> anyhow::Result<ExitCode> {
    // While there is one thread: it changes the environment.
    let activated = handover::activated().context("the service manager's sockets are of no use")?;
    let start = Start {
        ready_file,
        upgrade,
        activated,
    };
    with(
        service,
        frontdoor::config::load,
        check::edge,
        |_| None,
        |settings, stop| async {
            // Before anything else touches TLS: the engine would install another provider.
            rustls::crypto::aws_lc_rs::default_provider()
                .install_default()
                .map_err(|_| anyhow!("a crypto provider is installed already"))?;
            let successors = successor::on_signal(settings.upgrade.socket.is_some())?;
            tokio::select! {
                ran = frontdoor::edge::run(settings, start, stop) => ran.context("the edge cannot run"),
                never = successors => match never {},
            }
        },
    )
}

pub(super) fn invocation(service: &Service) -> anyhow::Result<ExitCode> {
    with(
        service,
        frontdoor_invocation::config::load,
        check::invocation,
        |settings| Some(settings.threads.unwrap_or_else(half_of_the_processors)),
        |settings, stop| async {
            frontdoor_invocation::run(settings, stop)
                .await
                .context("the invocation service cannot run")
        },
    )
}

pub(super) fn worker(service: &Service) -> anyhow::Result<ExitCode> {
    with(
        service,
        frontdoor_worker::config::load,
        check::worker,
        |settings| Some(settings.threads),
        |settings, stop| async {
            frontdoor_worker::run(settings, stop)
                .await
                .context("the worker cannot run")
        },
    )
}

pub(super) fn function(listen: SocketAddr, journal: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    let options = frontdoor_function::Options { listen, journal };
    until_signal(many_threads()?, |stop| {
        frontdoor_function::run(options, stop)
    })
}

/// Runs a service with its settings, or checks them. With as many threads as it says; else one for each processor.
fn with<S, F>(
    service: &Service,
    load: impl FnOnce(&Path) -> Result<S, ConfigError>,
    check: impl FnOnce(&S) -> anyhow::Result<()>,
    threads: impl FnOnce(&S) -> Option<usize>,
    run: impl FnOnce(S, CancellationToken) -> F,
) -> anyhow::Result<ExitCode>
where
    F: Future<Output = anyhow::Result<()>>,
{
    let settings = load(&service.file.config)?;
    if service.check {
        let file = service.file.config.display();
        // Of a file that is named and cannot be used, the service would say so only at its start.
        check(&settings).with_context(|| file.to_string())?;
        println!("{file}: right");
        return Ok(ExitCode::SUCCESS);
    }
    let runtime = match threads(&settings) {
        None => many_threads()?,
        Some(threads) => so_many_threads(threads)?,
    };
    until_signal(runtime, |stop| run(settings, stop))
}

/// Runs until the work ends by itself or by a signal.
pub(super) fn until_signal<F>(
    runtime: tokio::runtime::Runtime,
    run: impl FnOnce(CancellationToken) -> F,
) -> anyhow::Result<ExitCode>
where
    F: Future<Output = anyhow::Result<()>>,
{
    runtime.block_on(async {
        let stop = CancellationToken::new();
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let work = run(stop.clone());
        tokio::pin!(work);
        loop {
            let name = tokio::select! {
                ended = &mut work => return ended.map(|()| ExitCode::SUCCESS),
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            };
            if stop.is_cancelled() {
                tracing::error!(signal = name, "second signal: ending at once");
                return Ok(ExitCode::FAILURE);
            }
            tracing::info!(
                signal = name,
                "stopping in order; a second signal ends at once"
            );
            stop.cancel();
        }
    })
}

pub(super) fn many_threads() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("no runtime")
}

/// What a region's services run on. One thread runs everything in turn: no task is ever passed to another thread, nor a
/// thread woken for it.
fn so_many_threads(threads: usize) -> anyhow::Result<tokio::runtime::Runtime> {
    use tokio::runtime::Builder;
    let mut builder = match threads {
        1 => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    builder
        .worker_threads(threads)
        .enable_all()
        .build()
        .context("no runtime")
}

/// The others are for the kernel's part of the same calls, NATS, and whoever shares the machine.
fn half_of_the_processors() -> usize {
    let all = std::thread::available_parallelism();
    (all.map_or(1, usize::from) / 2).max(1)
}
