//! A stand-in for the `frontdoor` program, for tests of the local stack alone: DNS, delay lines and the stack's own
//! commands are the real ones, the edge and the parts of a region only listen where they should and say that they are
//! ready. Its command line is the one the stack uses.
//!
//! `STAND_IN_FAILS=worker` makes that part die at its start; `STAND_IN_DEAF=edge` makes it ignore SIGTERM.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use axum::Router;
use axum::routing::get;
use frontdoor_ops::local::{self, LogFormat, UpOptions};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Arguments as `--name value` and words.
struct Args(Vec<String>);

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::process::ExitCode {
    match start().await {
        Ok(()) => std::process::ExitCode::SUCCESS,
        // Without a backtrace, whatever the environment says: the log's end is to be read.
        Err(error) => {
            eprintln!("error: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}

async fn start() -> anyhow::Result<()> {
    let args = Args(std::env::args().skip(1).collect());
    let shutdown = CancellationToken::new();
    let part = args.word(0)?.to_owned();
    let deaf = std::env::var("STAND_IN_DEAF").is_ok_and(|deaf| deaf == part);
    let (mut term, mut int) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let token = shutdown.clone();
    let listen_for_signals = async move {
        loop {
            tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
            if !deaf {
                token.cancel();
            }
        }
    };
    tokio::select! {
        done = run(&part, &args, shutdown) => done,
        () = listen_for_signals => Ok(()),
    }
}

async fn run(part: &str, args: &Args, shutdown: CancellationToken) -> anyhow::Result<()> {
    if part != "local" {
        let log = args.option("--log").unwrap_or("nothing");
        println!("stand-in: {part}, told {log} of log lines");
    }
    if std::env::var("STAND_IN_FAILS").is_ok_and(|fails| fails == part) {
        bail!("told to fail");
    }
    match part {
        "local" => local_command(args, shutdown).await,
        "local-dns" => local::dns(Path::new(args.option("-c")?), shutdown).await,
        "local-wan" => local::delay_line(Path::new(args.option("-c")?), shutdown).await,
        "function" => serve(&[args.option("--listen")?.to_owned()], None, shutdown).await,
        "invocation" => serve(&config(args, &["listen", "admin"])?, None, shutdown).await,
        "worker" => serve(&config(args, &["admin"])?, None, shutdown).await,
        "edge" => {
            let listen = config(args, &["listen.https", "listen.http", "listen.admin"])?;
            serve(
                &listen,
                Some(Path::new(args.option("--ready-file")?)),
                shutdown,
            )
            .await
        }
        other => bail!("no stand-in for `{other}`"),
    }
}

/// Addresses from a configuration file.
fn config(args: &Args, keys: &[&str]) -> anyhow::Result<Vec<String>> {
    let file: toml::Value = toml::from_str(&std::fs::read_to_string(args.option("-c")?)?)?;
    let find = |key: &&str| {
        let value = key.split('.').try_fold(&file, |table, key| table.get(key));
        value
            .and_then(toml::Value::as_str)
            .map(str::to_owned)
            .with_context(|| format!("no {key}"))
    };
    keys.iter().map(find).collect()
}

async fn serve(
    listen: &[String],
    ready: Option<&Path>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let mut servers = tokio::task::JoinSet::new();
    let mut bound: Vec<SocketAddr> = vec![];
    for addr in listen {
        let listener = TcpListener::bind(addr)
            .await
            .with_context(|| addr.clone())?;
        bound.push(listener.local_addr()?);
        let routes = Router::new()
            .route("/ready", get(async || "ok"))
            .route("/health", get(async || "ok"));
        let stop = shutdown.clone().cancelled_owned();
        servers.spawn(async {
            axum::serve(listener, routes)
                .with_graceful_shutdown(stop)
                .await
        });
    }
    if let (Some(file), [https, http, admin]) = (ready, bound.as_slice()) {
        let text = serde_json::json!({"https": https, "http": http, "admin": admin});
        std::fs::write(file, text.to_string())?;
    }
    servers
        .join_all()
        .await
        .into_iter()
        .collect::<Result<(), _>>()?;
    Ok(())
}

async fn local_command(args: &Args, shutdown: CancellationToken) -> anyhow::Result<()> {
    let dir = PathBuf::from(args.option("--dir").unwrap_or(".local"));
    match args.word(1)? {
        "up" => local::up(up_options(args, dir)?, shutdown).await,
        "down" => local::down(&dir).await,
        "status" => local::status(&dir, args.has("--json")).await,
        "kill" => {
            local::kill(
                &dir,
                args.word(2)?,
                args.option("--signal").unwrap_or("KILL"),
            )
            .await
        }
        "start" => local::start(&dir, args.word(2)?).await,
        "wan" => local::wan(&dir, &delays(args.word(2)?)?).await,
        other => bail!("no stand-in for `local {other}`"),
    }
}

fn up_options(args: &Args, dir: PathBuf) -> anyhow::Result<UpOptions> {
    let port = |name| args.option(name).unwrap_or("0").parse();
    let regions = args.option("--regions").unwrap_or("us-east,eu-west");
    Ok(UpOptions {
        dir,
        regions: regions
            .split(',')
            .map(str::parse)
            .collect::<Result<_, _>>()?,
        wan: args.option("--wan").map_or_else(|_| Ok(vec![]), delays)?,
        https_port: port("--https-port")?,
        http_port: port("--http-port")?,
        admin_port: port("--admin-port")?,
        detach: args.has("--detach"),
        binary: std::env::current_exe()?,
        nats_server: args.option("--nats-server").ok().map(PathBuf::from),
        set: vec![],
        log: match args.option("--log") {
            Ok("json") => LogFormat::Json,
            _ => LogFormat::Pretty,
        },
        quiet: args.has("--quiet"),
        stop_on_stdin_eof: args.has("--stop-on-stdin-eof"),
    })
}

fn delays(text: &str) -> anyhow::Result<Vec<(frontdoor_protocol::names::RegionName, Duration)>> {
    text.split(',')
        .map(|pair| {
            let (name, delay) = pair.split_once('=').context("REGION=DELAY")?;
            Ok((name.parse()?, humantime::parse_duration(delay)?))
        })
        .collect()
}

// === impl Args ===

impl Args {
    fn word(&self, index: usize) -> anyhow::Result<&str> {
        self.0
            .get(index)
            .map(String::as_str)
            .context("a word is missing")
    }

    fn option(&self, name: &str) -> anyhow::Result<&str> {
        let at = self
            .0
            .iter()
            .position(|arg| arg == name)
            .with_context(|| format!("no {name}"))?;
        self.word(at + 1)
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|arg| arg == name)
    }
}
