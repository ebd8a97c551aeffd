//! `frontdoor drill …`: practise failure, and see in numbers how it was taken.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use frontdoor_ops::drill::{self, Drill, Fresh, Grafana, Hooks, Options, System};
use frontdoor_protocol::names::RegionName;

use super::service::{many_threads, until_signal};

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Drills {
    /// Names of drills; `all` for every one, `list` to see what each does.
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// Drill the stack of this folder, as started by `frontdoor local up`.
    #[arg(long, value_name = "FOLDER", default_value = ".local")]
    dir: PathBuf,
    /// Drill the system that this file describes: a stack's endpoints.json, or one written by hand for a deployed system.
    #[arg(long, value_name = "FILE", conflicts_with = "dir")]
    endpoints: Option<PathBuf>,
    /// Start a stack for each drill and stop it afterwards; nothing else is touched.
    #[arg(long, conflicts_with_all = ["dir", "endpoints"])]
    fresh: bool,
    /// With --fresh: the regions and their one-way delays.
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "REGION=DELAY",
        default_value = "us-east=5ms,eu-west=40ms,ap-south=120ms"
    )]
    wan: Vec<String>,
    /// Do each drill so often.
    #[arg(long, default_value_t = 1)]
    runs: u32,
    /// Shorter phases, as continuous integration uses them.
    #[arg(long)]
    short: bool,
    /// The region to break; otherwise the one that answers most calls.
    #[arg(long)]
    region: Option<RegionName>,
    /// Calls a second, sent when they are due whether earlier ones were answered or not.
    #[arg(long, default_value_t = 300)]
    rate: u32,
    /// One call in so many carries 512 KiB instead of 1 KiB; 0 for none.
    #[arg(long, value_name = "N", default_value_t = 20)]
    large_every: u32,
    /// The id of the function to call; otherwise the first of the endpoints.
    #[arg(long)]
    function: Option<String>,
    /// Where a function that is not the sample function takes POSTs. What ran, and how often, is then not known.
    #[arg(long)]
    path: Option<String>,
    /// For a deployed system: breaks it. Run by sh with FRONTDOOR_DRILL and FRONTDOOR_REGION set; must return at once.
    #[arg(long, value_name = "CMD")]
    inject_command: Option<String>,
    /// Mends it again.
    #[arg(long, value_name = "CMD", requires = "inject_command")]
    heal_command: Option<String>,
    /// Write every run with all its figures to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Print the table as Markdown.
    #[arg(long)]
    markdown: bool,
    /// Mark each drill on Grafana's dashboards. The token comes from the environment variable FRONTDOOR_GRAFANA_TOKEN.
    #[arg(long, value_name = "URL")]
    grafana_url: Option<String>,
}

const AFTER_HELP: &str = "Examples:\n  \
    frontdoor local up                            in one terminal, and in another:\n  \
    frontdoor drill region-kill                   kill the nearest region under load, and see\n  \
    frontdoor drill all --fresh --markdown        everything, on stacks of its own, as a table to keep\n  \
    frontdoor drill region-kill --endpoints prod.json \\\n      \
    --inject-command 'kubectl scale …' --heal-command 'kubectl scale …'\n\n\
    The exit code is 0 if everything was as promised in ops/slo.md, 1 if not.\n\
    ops/README.md explains the columns, and how to hold a game day.";

pub(super) fn run(args: Drills) -> anyhow::Result<ExitCode> {
    if args.names.iter().any(|name| name == "list") {
        for drill in Drill::ALL {
            println!("{drill:<18} {}", drill.what());
        }
        return Ok(ExitCode::SUCCESS);
    }
    let options = options(args)?;
    let mut good = false;
    let code = until_signal(many_threads()?, |stop| {
        let good = &mut good;
        async move {
            *good = drill::run(options, stop).await?;
            Ok(())
        }
    })?;
    Ok(if good { code } else { ExitCode::FAILURE })
}

fn options(args: Drills) -> anyhow::Result<Options> {
    let drills = if args.names.iter().any(|name| name == "all") {
        Drill::ALL.to_vec()
    } else {
        args.names
            .iter()
            .map(|name| name.parse())
            .collect::<Result<_, _>>()?
    };
    let system = match (args.fresh, args.endpoints) {
        (true, _) => System::Fresh(Fresh {
            binary: std::env::current_exe().context("cannot tell where this program is")?,
            wan: args.wan,
        }),
        (false, Some(file)) => System::Running(file),
        (false, None) => System::Running(args.dir.join("endpoints.json")),
    };
    let grafana = match (args.grafana_url, std::env::var("FRONTDOOR_GRAFANA_TOKEN")) {
        (None, _) => None,
        (Some(url), Ok(token)) => Some(Grafana { url, token }),
        (Some(_), Err(_)) => {
            bail!("--grafana-url needs a service account's token in FRONTDOOR_GRAFANA_TOKEN")
        }
    };
    let heal = args.heal_command;
    Ok(Options {
        drills,
        system,
        runs: args.runs,
        region: args.region,
        rate: args.rate,
        large_every: args.large_every,
        function: args.function,
        path: args.path,
        short: args.short,
        hooks: args.inject_command.map(|inject| Hooks { inject, heal }),
        grafana,
        json: args.json,
        markdown: args.markdown,
    })
}
