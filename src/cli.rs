//! The arguments of each command, and one short function per command, which calls the crate that does it.
//!
//! A configuration file says what a part is; an argument says only how this run behaves.

mod drill;
mod explain;
mod keys;
mod local;
mod order;
mod service;
mod successor;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use frontdoor::telemetry::{self, Format};

/// A global front door for serverless inference: one address for callers, many regions behind it, and nobody notices
/// when one of them fails.
#[derive(Debug, Parser)]
#[command(name = "frontdoor", version, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
    /// How log lines look. Which ones appear is set by FRONTDOOR_LOG, such as `info,frontdoor=debug` or `off`.
    #[arg(long, global = true, value_enum, default_value_t = Format::Pretty)]
    log: Format,
}

const AFTER_HELP: &str = "Start here:\n  frontdoor local up              the whole system on this machine\n  \
                          frontdoor edge -c FILE --check  is this configuration right?";

#[derive(Debug, Subcommand)]
enum Command {
    /// The global front door: terminates TLS and HTTP/2, chooses a region, moves calls when one fails.
    ///
    /// With `-c FILE` it runs one; `drain`, `undrain` and `weight` give an order to one that runs.
    ///
    /// Signals: SIGTERM and SIGINT stop it in order, a second one at once. SIGHUP reads the configuration again. SIGUSR2
    /// starts the program that now has this one's name with `--upgrade`, which is how a new version takes over.
    #[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
    Edge {
        /// The configuration, a TOML file; see `config/` for one with every key explained.
        #[arg(short, long, value_name = "FILE", required = true)]
        config: Option<PathBuf>,
        /// Only check the configuration: say what is wrong with it, or that it is right, and exit.
        #[arg(long)]
        check: bool,
        /// Write the addresses that are listened on to this file, as JSON, once they are open.
        #[arg(long, value_name = "FILE")]
        ready_file: Option<PathBuf>,
        /// Take over from the edge that runs: get its ports, become ready, serve, and let it finish its calls and end.
        ///
        /// The running one is found at [upgrade] socket of the configuration, which both must name. If this one does not
        /// become ready, it ends, and the running one has not noticed.
        #[arg(long)]
        upgrade: bool,
        #[command(subcommand)]
        order: Option<order::Order>,
    },
    /// A region's invocation service: takes HTTP, queues calls on JetStream, streams answers back.
    Invocation(#[command(flatten)] Service),
    /// A worker beside a function's container: pulls calls, runs them, streams the answers.
    Worker(#[command(flatten)] Service),
    /// The sample function: /echo, /inspect, event streams, delays, sizes.
    Function {
        /// Where to listen.
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8000")]
        listen: SocketAddr,
        /// Append a line for every call that begins, which proves afterwards what ran and how often.
        #[arg(long, value_name = "FILE")]
        journal: Option<PathBuf>,
    },
    /// Why a call went where it went: the table that each decision saw, and the decision made again.
    Explain(#[command(flatten)] explain::Explain),
    /// API keys: make one, say how it is stored, revoke it in every region.
    #[command(subcommand)]
    Keys(keys::Keys),
    /// The whole system on this machine, every part a real process.
    #[command(subcommand)]
    Local(local::Local),
    /// Practise failure: load, a fault, and a verdict in numbers.
    Drill(drill::Drills),
    /// A part of `local`: the name server of the regions' endpoints.
    #[command(hide = true)]
    LocalDns(ConfigFile),
    /// A part of `local`: the delay lines between edge and regions.
    #[command(hide = true)]
    LocalWan(ConfigFile),
}

/// The arguments that every service has.
#[derive(Debug, Args)]
struct Service {
    #[command(flatten)]
    file: ConfigFile,
    /// Only check the configuration: say what is wrong with it, or that it is right, and exit.
    #[arg(long)]
    check: bool,
}

#[derive(Debug, Args)]
struct ConfigFile {
    /// The configuration, a TOML file; see `config/` for one with every key explained.
    #[arg(short, long = "config", value_name = "FILE")]
    config: PathBuf,
}

// === impl Cli ===

impl Cli {
    /// Runs the command that was asked for.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let _logs = telemetry::start(self.log);
        match self.command {
            Command::Edge {
                order: Some(order), ..
            } => order::run(&order),
            Command::Edge {
                config: Some(config),
                check,
                ready_file,
                upgrade,
                ..
            } => {
                let file = ConfigFile { config };
                service::edge(&Service { file, check }, ready_file, upgrade)
            }
            Command::Edge { .. } => anyhow::bail!("name a configuration: frontdoor edge -c FILE"),
            Command::Invocation(service) => service::invocation(&service),
            Command::Worker(service) => service::worker(&service),
            Command::Function { listen, journal } => service::function(listen, journal),
            Command::Explain(explain) => explain::run(&explain),
            Command::Keys(command) => keys::run(command),
            Command::Local(command) => local::run(command, self.log),
            Command::Drill(drills) => drill::run(drills),
            Command::LocalDns(file) => local::dns(&file.config),
            Command::LocalWan(file) => local::wan(&file.config),
        }
    }
}
