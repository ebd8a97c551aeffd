//! The one owner of the stack's processes: starts them in order, sees them become ready and die, and carries out orders.
//!
//! It is a loop around plain state. Orders come in over a channel, answers go out when what they wait for has come
//! about, and after each event the state is published for whoever shows it. A part that dies stays dead until
//! somebody orders its start: a stack for drills must not heal behind the operator's back.

mod part;
mod stop;
mod succession;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use frontdoor_protocol::names::RegionName;
use frontdoor_protocol::span::Span;
use nix::sys::signal::Signal;
use tokio::process::Child;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval};
use tokio_util::sync::CancellationToken;

use super::parts::PartId;
use super::process::{self, Guard, Identity, Launch};
use super::specs::{Check, EdgeAddresses};
use super::view::{Phase, RegionView, StackView, State};
use part::{Part, Wait};
use succession::Succession;

/// How often processes are looked at for changes that no signal tells of (SIGSTOP by somebody else).
const LOOK: Duration = Duration::from_millis(250);
/// How long an order waits for processes to die after SIGKILL.
const DEATH: Duration = Duration::from_secs(5);
/// How long an order waits for parts to become ready; each part's own check ends earlier.
const READY: Duration = Duration::from_secs(90);

/// Something to be done. The answer comes when it is done, or says why it cannot be.
#[derive(Debug)]
pub(super) enum Order {
    /// Start what is not running of these, and answer when all are ready.
    Start(Vec<PartId>, Answer),
    /// Send a signal to these, at once; after SIGKILL answer when all are gone.
    Signal(Vec<PartId>, Signal, Answer),
    /// Replace the edge by a new process, without a gap, and answer when the new one serves.
    Upgrade(Answer),
    /// Delays have been changed; remember them.
    Delays(BTreeMap<RegionName, Duration>, Answer),
}

/// Where an answer goes.
pub(super) type Answer = oneshot::Sender<Result<(), String>>;

/// What the supervisor needs from the rest of the stack. Called between events, so it must be quick.
pub(super) trait Stack {
    /// The command line of a part, and how to see that it is ready.
    fn prepare(&self, part: &PartId) -> anyhow::Result<(Launch, Check)>;
    /// Writes down what others read: processes, endpoints, changed configuration.
    fn record(&mut self, record: &Record<'_>) -> anyhow::Result<()>;
}

/// What is true of the running stack.
#[derive(Debug)]
pub(super) struct Record<'a> {
    /// The whole stack has been ready once.
    pub(super) complete: bool,
    /// The processes that run.
    pub(super) processes: &'a BTreeMap<PartId, Identity>,
    /// Where the edge listens, once it has said so.
    pub(super) edge: Option<&'a EdgeAddresses>,
    /// WAN delays.
    pub(super) delays: &'a BTreeMap<RegionName, Duration>,
}

/// The supervisor; [`Supervisor::run`] runs it.
pub(super) struct Supervisor<S> {
    stack: S,
    guard: Guard,
    regions: Vec<RegionName>,
    delays: BTreeMap<RegionName, Duration>,
    edge: Option<EdgeAddresses>,
    phase: Phase,
    parts: BTreeMap<PartId, Part>,
    checks: JoinSet<Checked>,
    waits: Vec<Wait>,
    succession: Succession,
    view: watch::Sender<StackView>,
}

/// What a readiness check found, and of which process: it may be gone by now, and another in its place.
struct Checked {
    part: PartId,
    pid: Option<u32>,
    outcome: anyhow::Result<Option<EdgeAddresses>>,
}

// === impl Supervisor ===

impl<S: Stack> Supervisor<S> {
    /// A supervisor of a stack that is not started yet.
    pub(super) fn new(
        stack: S,
        guard: Guard,
        regions: Vec<RegionName>,
        delays: BTreeMap<RegionName, Duration>,
    ) -> Self {
        let parts: BTreeMap<_, _> = PartId::all(&regions)
            .into_iter()
            .map(|id| (id, Part::default()))
            .collect();
        let view = StackView {
            phase: Phase::Starting,
            regions: vec![],
            parts: vec![],
        };
        let new = Self {
            stack,
            guard,
            regions,
            delays,
            edge: None,
            phase: Phase::Starting,
            parts,
            checks: JoinSet::new(),
            waits: vec![],
            succession: Succession::default(),
            view: watch::Sender::new(view),
        };
        new.publish();
        new
    }

    /// The present state, and every later one.
    pub(super) fn watch(&self) -> watch::Receiver<StackView> {
        self.view.subscribe()
    }

    /// Starts everything, carries out orders until `shutdown`, then stops everything. `Err` if the stack did not come
    /// up; it is stopped in that case too.
    pub(super) async fn run(
        mut self,
        mut orders: mpsc::Receiver<Order>,
        shutdown: CancellationToken,
    ) -> anyhow::Result<()> {
        let outcome = self.live(&mut orders, &shutdown).await;
        orders.close();
        self.stop().await;
        outcome
    }

    async fn live(
        &mut self,
        orders: &mut mpsc::Receiver<Order>,
        shutdown: &CancellationToken,
    ) -> anyhow::Result<()> {
        let mut died = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::child())
            .context("the death of processes cannot be seen")?;
        let mut look = interval(LOOK);
        let (answer, mut complete) = oneshot::channel();
        self.start(PartId::all(&self.regions), answer);
        loop {
            self.advance();
            self.settle();
            match complete.try_recv() {
                Ok(Ok(())) => {
                    self.phase = Phase::Running;
                    self.record()?;
                }
                Ok(Err(reason)) => anyhow::bail!(reason),
                Err(_) => {}
            }
            self.publish();
            tokio::select! {
                Some(order) = orders.recv() => self.carry_out(order),
                Some(done) = self.checks.join_next() => if let Ok(done) = done {
                    self.checked(done);
                },
                _ = died.recv() => self.reap(),
                _ = look.tick() => self.reap(),
                () = shutdown.cancelled() => return Ok(()),
            }
        }
    }

    fn carry_out(&mut self, order: Order) {
        match order {
            Order::Start(parts, answer) => self.start(parts, answer),
            Order::Signal(parts, signal, answer) => self.signal(parts, signal, answer),
            Order::Upgrade(answer) => self.upgrade(answer),
            Order::Delays(delays, answer) => {
                self.delays.extend(delays);
                let _ = answer.send(self.record().map_err(|e| format!("{e:#}")));
            }
        }
    }

    fn start(&mut self, parts: Vec<PartId>, answer: Answer) {
        self.reap();
        for id in &parts {
            let Some(part) = self.parts.get_mut(id) else {
                continue;
            };
            match &part.child {
                Some(_) if part.asked => {
                    part.restart = true;
                    part.state = State::Starting;
                }
                // Already there; at most it has to be let go on.
                Some(child) => {
                    if let Some(pid) = child.id().filter(|&pid| process::is_stopped(pid)) {
                        let _ = process::send(pid, Signal::SIGCONT);
                    }
                }
                None => *part = Part::default(),
            }
        }
        self.waits.push(Wait {
            parts,
            until: State::Up,
            deadline: Instant::now() + READY,
            answer,
        });
    }

    fn signal(&mut self, parts: Vec<PartId>, signal: Signal, answer: Answer) {
        let mut hit = false;
        for id in &parts {
            let Some(part) = self.parts.get_mut(id) else {
                continue;
            };
            if let Some(pid) = part.child.as_ref().and_then(Child::id) {
                // These are no order to end, and a part that must be reloaded goes on.
                part.asked |= !matches!(signal, Signal::SIGSTOP | Signal::SIGCONT | Signal::SIGHUP);
                hit |= process::send(pid, signal).is_ok();
            }
        }
        if !hit {
            let _ = answer.send(Err("nothing of it is running".to_owned()));
        } else if signal == Signal::SIGKILL {
            self.waits.push(Wait {
                parts,
                until: State::Dead,
                deadline: Instant::now() + DEATH,
                answer,
            });
        } else {
            let _ = answer.send(Ok(()));
        }
    }

    /// Starts every waiting part whose needs are met. A need that is dead and not being started is not waited for: a
    /// region runs without its hub.
    fn advance(&mut self) {
        let pending = |id: &PartId| {
            let state = self.parts.get(id).map(|part| part.state);
            matches!(state, Some(State::Waiting | State::Starting))
        };
        let waiting = self
            .parts
            .iter()
            .filter(|(_, part)| part.state == State::Waiting);
        let ready: Vec<PartId> = waiting
            .filter(|(id, _)| !id.needs(&self.regions).iter().any(pending))
            .map(|(id, _)| id.clone())
            .collect();
        let any = !ready.is_empty();
        for id in ready {
            if let Err(error) = self.launch(&id)
                && let Some(part) = self.parts.get_mut(&id)
            {
                part.end(format!("cannot be started: {error:#}"));
            }
        }
        if any && let Err(error) = self.record() {
            tracing::error!(
                error = format!("{error:#}"),
                "the state folder is out of date"
            );
        }
    }

    fn launch(&mut self, id: &PartId) -> anyhow::Result<()> {
        let (launch, check) = self.stack.prepare(id)?;
        let child = self
            .guard
            .start(&launch)
            .with_context(|| launch.program.display().to_string())?;
        let (part, pid) = (id.clone(), child.id());
        let check = self.checks.spawn(async move {
            let outcome = check.wait().await;
            Checked { part, pid, outcome }
        });
        let part = Part {
            state: State::Starting,
            child: Some(child),
            check: Some(check),
            log: launch.log,
            ..Part::default()
        };
        self.parts.insert(id.clone(), part);
        Ok(())
    }

    fn checked(&mut self, checked: Checked) {
        let Some(checked) = self.succeed(checked) else {
            return;
        };
        let Some(part) = self.parts.get_mut(&checked.part) else {
            return;
        };
        if part.child.as_ref().and_then(Child::id) != checked.pid {
            return;
        }
        part.check = None;
        match checked.outcome {
            Ok(addresses) => {
                part.state = State::Up;
                if let Some(addresses) = addresses {
                    self.edge = Some(addresses);
                }
                // The endpoints name processes, and these have just changed.
                if self.phase == Phase::Running
                    && let Err(error) = self.record()
                {
                    tracing::error!(
                        error = format!("{error:#}"),
                        "the state folder is out of date"
                    );
                }
            }
            Err(error) => {
                // A process that runs and is never ready is no use; its log says what it waits for.
                if let Some(child) = &mut part.child {
                    let _ = child.start_kill();
                }
                part.ending = Some(format!("{error:#}"));
            }
        }
    }

    /// Sees which processes have ended, stopped or gone on.
    fn reap(&mut self) {
        self.succession.reap();
        for part in self.parts.values_mut() {
            let Some(child) = &mut part.child else {
                continue;
            };
            match child.try_wait() {
                Ok(None) => {
                    let stopped = child.id().is_some_and(process::is_stopped);
                    match part.state {
                        State::Up if stopped => part.state = State::Stopped,
                        State::Stopped if !stopped => part.state = State::Up,
                        _ => {}
                    }
                }
                Ok(Some(status)) => part.end(process::ending(status)),
                Err(error) => part.end(format!("lost: {error}")),
            }
        }
    }

    /// Answers the orders that are done, have failed or have waited long enough.
    fn settle(&mut self) {
        let parts = &self.parts;
        for wait in std::mem::take(&mut self.waits) {
            match wait.outcome(parts) {
                // The asker may be gone, which is no reason to undo anything.
                Some(outcome) => drop(wait.answer.send(outcome)),
                None => self.waits.push(wait),
            }
        }
    }

    fn record(&mut self) -> anyhow::Result<()> {
        let processes = self
            .parts
            .iter()
            .filter_map(|(id, part)| Some((id.clone(), Identity::of(part.child.as_ref()?.id()?)?)))
            .collect();
        self.stack.record(&Record {
            complete: self.phase == Phase::Running,
            processes: &processes,
            edge: self.edge.as_ref(),
            delays: &self.delays,
        })
    }

    fn publish(&self) {
        let regions = self.regions.iter().map(|name| RegionView {
            name: name.clone(),
            wan: Span(self.delays.get(name).copied().unwrap_or_default()),
        });
        let parts = PartId::all(&self.regions)
            .into_iter()
            .filter_map(|id| Some(self.parts.get(&id)?.view(&id)));
        let now = StackView {
            phase: self.phase,
            regions: regions.collect(),
            parts: parts.collect(),
        };
        self.view.send_if_modified(|view| {
            let changed = *view != now;
            *view = now;
            changed
        });
    }
}
