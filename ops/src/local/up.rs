//! Brings a stack up in this process: takes the folder and a block of addresses, writes every file, and runs the
//! supervisor, its control port and its display until told to stop.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use axum::Router;
use frontdoor_protocol::names::RegionName;
use serde_json::json;
use time::OffsetDateTime;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::control::{Access, Control, token_digest};
use super::files::{self, EdgePorts, Facts, HubPasswords};
use super::folder::{self, Folder, Lock};
use super::parts::{PartId, RegionPart};
use super::plan::Plan;
use super::process::{Guard, Identity, Launch};
use super::show::{Show, say};
use super::specs::{Check, EdgeAddresses, Programs};
use super::supervisor::{Record, Stack, Supervisor};
use super::tuning::{self, Tuning};
use super::{UpOptions, block, certificates, endpoints, nats};

/// Orders that may wait while the supervisor is busy with one.
const ORDERS: usize = 64;
/// How long answers of the control port may take to leave once everything has stopped.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// The stack of one folder, as the supervisor uses it.
struct Local {
    programs: Programs,
    plan: Plan,
    facts: Facts,
    passwords: HubPasswords,
    ports: EdgePorts,
    set: Vec<Tuning>,
}

/// A stack with its folder and its addresses taken and its files written; nothing runs yet.
struct Prepared {
    local: Local,
    delays: BTreeMap<RegionName, Duration>,
    guard: Guard,
    /// Open: the control port, which also holds the block of addresses.
    control: std::net::TcpListener,
    /// Holds the folder.
    lock: Lock,
}

/// Runs a stack until `shutdown`.
pub(super) async fn run(options: UpOptions, shutdown: CancellationToken) -> anyhow::Result<()> {
    let Prepared {
        local,
        delays,
        guard,
        control: listener,
        lock,
    } = prepare(&options).await?;
    let (folder, plan) = (local.folder().clone(), local.plan.clone());
    // Whoever asks for the end (signal, `down`, closed stdin), the supervisor sees one token.
    let down = shutdown.child_token();
    if options.stop_on_stdin_eof {
        cancel_on_stdin_eof(down.clone());
    }
    let show = Show::new(folder.clone(), options.dir.display().to_string());
    let supervisor = Supervisor::new(local, guard, options.regions.clone(), delays);
    let view = supervisor.watch();
    let (orders, received) = mpsc::channel(ORDERS);
    let access = Access {
        url: format!("http://{}", plan.control()),
        token: folder::secret(),
        pid: std::process::id(),
    };
    let control = Control {
        token: token_digest(&access.token),
        regions: options.regions.into(),
        wan: format!("http://{}/wan", plan.wan_admin()),
        orders,
        view: view.clone(),
        down: down.clone(),
    };
    let listener = TcpListener::from_std(listener)?;
    folder.write_secret(folder::CONTROL, &serde_json::to_string_pretty(&access)?)?;

    let gone = CancellationToken::new();
    let serve = serve_control(listener, control.routes(), gone.clone());
    // All on this thread, and on this task: the children's lives hang on the thread that starts them.
    let supervise = async {
        let outcome = supervisor.run(received, down).await;
        gone.cancel();
        outcome
    };
    let tell = async {
        if !options.quiet {
            show.follow(view).await;
        }
    };
    let (outcome, served, ()) = tokio::join!(supervise, serve, tell);
    for name in [folder::CONTROL, folder::PROCESSES, folder::ENDPOINTS] {
        folder.remove(name)?;
    }
    drop(lock);
    outcome.and(served)
}

async fn prepare(options: &UpOptions) -> anyhow::Result<Prepared> {
    let folder = Folder::new(&options.dir)?;
    let lock = folder.take()?;
    clean(&folder)?;
    let delays = delays(options)?;
    let ports = EdgePorts {
        https: options.https_port,
        http: options.http_port,
        admin: options.admin_port,
    };
    check_ports(ports)?;
    let nats_server = nats::find(options.nats_server.as_deref(), &options.binary).await?;
    let guard = Guard::find().await;
    if !guard.holds() && !options.quiet {
        say(
            "note: there is no `setpriv` of util-linux, so parts would outlive a supervisor that is killed with SIGKILL",
        );
    }
    let (plan, control) = block::claim(&options.regions)?;
    control.set_nonblocking(true)?;
    let local = Local {
        facts: folder.facts()?,
        programs: Programs {
            frontdoor: options.binary.clone(),
            nats_server,
            folder,
            log: options.log,
        },
        passwords: HubPasswords {
            edge: folder::secret(),
            leaf: folder::secret(),
        },
        plan,
        ports,
        set: options.set.clone(),
    };
    let parts = PartId::all(&options.regions).into_iter();
    let parts: Vec<_> = parts
        .map(|part| (part.clone(), files::name(&part)))
        .collect();
    tuning::check(&local.set, &parts)?;
    local.write_files(&delays)?;
    Ok(Prepared {
        local,
        delays,
        guard,
        control,
        lock,
    })
}

/// Ends what a dead supervisor may have left running in this folder, and removes its traces.
fn clean(folder: &Folder) -> anyhow::Result<()> {
    // A damaged list cannot be used and need not stop anybody.
    let left: Option<Vec<Identity>> = folder.read(folder::PROCESSES).unwrap_or_default();
    for process in left.unwrap_or_default() {
        process.kill();
    }
    folder.clean()
}

/// Serves until `gone`, and a little longer for answers on their way; a caller that stays silent is not waited for.
async fn serve_control(
    listener: TcpListener,
    routes: Router,
    gone: CancellationToken,
) -> anyhow::Result<()> {
    let served =
        axum::serve(listener, routes).with_graceful_shutdown(gone.clone().cancelled_owned());
    tokio::select! {
        served = served.into_future() => served.context("the control port failed"),
        () = async { gone.cancelled().await; sleep(LAST_ANSWERS).await } => Ok(()),
    }
}

fn delays(options: &UpOptions) -> anyhow::Result<BTreeMap<RegionName, Duration>> {
    let mut delays: BTreeMap<_, _> = options
        .regions
        .iter()
        .map(|name| (name.clone(), Duration::ZERO))
        .collect();
    for (name, delay) in &options.wan {
        match delays.get_mut(name) {
            Some(known) => *known = *delay,
            None => bail!("--wan names region `{name}`, which is not in --regions"),
        }
        if *delay > super::wan::MAX_DELAY {
            bail!(
                "the WAN delay of `{name}` must be at most {} s",
                super::wan::MAX_DELAY.as_secs()
            );
        }
    }
    Ok(delays)
}

/// Says which of the edge's ports is taken, before anything is started.
fn check_ports(ports: EdgePorts) -> anyhow::Result<()> {
    for (port, option) in [
        (ports.https, "--https-port"),
        (ports.http, "--http-port"),
        (ports.admin, "--admin-port"),
    ] {
        if port != 0 && !block::is_free(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)) {
            bail!(
                "port {port} is in use by another program: stop it, or choose another with {option} (0 takes any free one)"
            );
        }
    }
    Ok(())
}

/// Cancels when stdin is closed. A plain thread, because one that waits for input cannot be made to stop: this one
/// ends with the process, where one of the runtime would keep the process from ending.
fn cancel_on_stdin_eof(token: CancellationToken) {
    std::thread::spawn(move || {
        // An unreadable stdin is as good as a closed one.
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        token.cancel();
    });
}

// === impl Local ===

impl Local {
    fn folder(&self) -> &Folder {
        &self.programs.folder
    }

    fn write_files(&self, delays: &BTreeMap<RegionName, Duration>) -> anyhow::Result<()> {
        let folder = self.folder();
        let made = certificates::make(
            files::certificate_names(self.facts.function),
            OffsetDateTime::now_utc(),
        )?;
        folder.write(folder::CA, &made.ca)?;
        folder.write("edge.pem", &made.chain)?;
        folder.write_secret("edge.key", &made.key)?;
        folder.write_secret(folder::API_KEY, &self.facts.api_key)?;
        folder.write_secret(folder::ADMIN_TOKEN, &self.facts.admin_token)?;
        for part in PartId::all(self.plan.regions()) {
            if let (Some(name), Some(text)) =
                (files::name(&part), self.text(&part, self.ports, delays)?)
            {
                folder.write_secret(&name, &text)?;
            }
        }
        Ok(())
    }

    /// A part's configuration.
    fn text(
        &self,
        part: &PartId,
        ports: EdgePorts,
        delays: &BTreeMap<RegionName, Duration>,
    ) -> anyhow::Result<Option<String>> {
        let at = |region| {
            self.plan
                .region(region)
                .context("a region outside of the plan")
        };
        let text = match part {
            PartId::Hub => {
                let store: PathBuf = self.folder().path("jetstream").join("hub");
                files::hub(&self.plan, &store, &self.passwords)
            }
            PartId::Dns => files::dns(&self.plan)?,
            PartId::Wan => files::wan(&self.plan, delays)?,
            PartId::Edge => files::edge(&self.plan, ports, &self.passwords),
            PartId::In(region, RegionPart::Nats) => {
                let store: PathBuf = self.folder().path("jetstream").join(region.as_str());
                files::nats(region, &at(region)?, &store, &self.passwords)
            }
            PartId::In(region, RegionPart::Invocation) => {
                files::invocation(region, &at(region)?, &self.facts)
            }
            PartId::In(region, RegionPart::Worker) => {
                files::worker(region, &at(region)?, &self.facts)
            }
            PartId::In(_, RegionPart::Function) => return Ok(None),
        };
        tuning::apply(&self.set, part, text).map(Some)
    }

    /// Writes again what has changed since the start: the delays, and the ports the edge was given, so that a restart
    /// finds the same.
    fn rewrite(
        &self,
        part: &PartId,
        ports: EdgePorts,
        delays: &BTreeMap<RegionName, Duration>,
    ) -> anyhow::Result<()> {
        match (files::name(part), self.text(part, ports, delays)?) {
            (Some(name), Some(text)) => self.folder().write_secret(&name, &text),
            _ => Ok(()),
        }
    }
}

impl Stack for Local {
    fn prepare(&self, part: &PartId) -> anyhow::Result<(Launch, Check)> {
        Ok((
            self.programs.launch(part, &self.plan)?,
            self.programs.check(part, &self.plan)?,
        ))
    }

    fn record(&mut self, record: &Record<'_>) -> anyhow::Result<()> {
        let running: Vec<&Identity> = record.processes.values().collect();
        self.folder()
            .write_secret(folder::PROCESSES, &json!(running).to_string())?;
        self.rewrite(&PartId::Wan, self.ports, record.delays)?;
        let Some(edge) = record.edge else {
            return Ok(());
        };
        let EdgeAddresses { https, http, admin } = edge;
        self.ports = EdgePorts {
            https: https.port(),
            http: http.port(),
            admin: admin.port(),
        };
        self.rewrite(&PartId::Edge, self.ports, record.delays)?;
        if record.complete {
            let content = endpoints::endpoints(
                &self.plan,
                &self.facts,
                edge,
                record.processes,
                record.delays,
            );
            self.folder()
                .write_secret(folder::ENDPOINTS, &serde_json::to_string_pretty(&content)?)?;
            let watched = endpoints::prometheus(&self.plan, edge);
            self.folder().write("prometheus.yml", &watched)?;
        }
        Ok(())
    }
}
