//! The edge's successor while it becomes ready, and its predecessors while they finish their calls.
//!
//! The part is the process that serves: it changes when the successor has said so, and not if that one fails.

use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::process::Child;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::part::{LOG_LINES, Part};
use super::{Answer, Checked, Stack, Supervisor};
use crate::local::parts::PartId;
use crate::local::process;
use crate::local::view::State;

/// How long predecessors may take once everything else has stopped; the edge's own grace is over by then.
const PREDECESSORS: Duration = Duration::from_secs(1);

/// Processes of the edge beside the one that serves.
#[derive(Default)]
pub(super) struct Succession {
    next: Option<Next>,
    before: Vec<Child>,
}

/// A successor that is not ready yet. Dropped, it is killed.
struct Next {
    child: Child,
    check: AbortHandle,
    log: PathBuf,
    answer: Answer,
}

impl<S: Stack> Supervisor<S> {
    pub(super) fn upgrade(&mut self, answer: Answer) {
        let serves = |part: &Part| part.state == State::Up;
        if !self.parts.get(&PartId::Edge).is_some_and(serves) {
            let _ = answer.send(Err("the edge does not run".to_owned()));
        } else if self.succession.next.is_some() {
            let _ = answer.send(Err("an upgrade is under way".to_owned()));
        } else {
            match self.successor() {
                Ok((child, check, log)) => {
                    self.succession.next = Some(Next {
                        child,
                        check,
                        log,
                        answer,
                    });
                }
                Err(error) => drop(answer.send(Err(format!("{error:#}")))),
            }
        }
    }

    fn successor(&mut self) -> anyhow::Result<(Child, AbortHandle, PathBuf)> {
        let (mut launch, check) = self.stack.prepare(&PartId::Edge)?;
        launch.args.push("--upgrade".into());
        let child = self.guard.start(&launch)?;
        let pid = child.id();
        let check = self.checks.spawn(async move {
            let outcome = check.wait().await;
            Checked {
                part: PartId::Edge,
                pid,
                outcome,
            }
        });
        Ok((child, check, launch.log))
    }

    /// If this is the successor's check: what comes of it is the part's, and its process the part's process. Otherwise
    /// it is handed back.
    pub(super) fn succeed(&mut self, checked: Checked) -> Option<Checked> {
        let mine = |next: &mut Next| next.child.id() == checked.pid && checked.pid.is_some();
        let Some(next) = self.succession.next.take_if(mine) else {
            return Some(checked);
        };
        if let Err(error) = checked.outcome {
            next.fail(&format!("{error:#}"));
            return None;
        }
        let part = self.parts.get_mut(&PartId::Edge)?;
        if let Some(old) = part.child.replace(next.child) {
            self.succession.before.push(old);
        }
        let _ = next.answer.send(Ok(()));
        Some(checked)
    }
}

// === impl Succession ===

impl Succession {
    /// Sees which of them have ended.
    pub(super) fn reap(&mut self) {
        self.before
            .retain_mut(|child| matches!(child.try_wait(), Ok(None)));
        let ended = |next: &mut Next| !matches!(next.child.try_wait(), Ok(None));
        if let Some(next) = self.next.take_if(ended) {
            next.fail("ended before it served");
        }
    }

    /// The stack stops: nobody follows any more, and predecessors get as little time as the edge itself.
    pub(super) fn leave(&mut self) {
        if let Some(next) = self.next.take() {
            next.fail("the stack is stopping");
        }
        for child in &self.before {
            if let Some(pid) = child.id() {
                // Failing means that it is gone.
                let _ = process::send(pid, Signal::SIGTERM);
            }
        }
    }

    /// Returns when none is left.
    pub(super) async fn end(&mut self) {
        for child in &mut self.before {
            if timeout(PREDECESSORS, child.wait()).await.is_err() {
                // Only one that is stuck in the kernel outlives this.
                let _ = timeout(PREDECESSORS, child.kill()).await;
            }
        }
        self.before.clear();
    }
}

// === impl Next ===

impl Next {
    fn fail(self, why: &str) {
        self.check.abort();
        let log: String = process::tail(&self.log, LOG_LINES)
            .iter()
            .map(|line| format!("\n  | {line}"))
            .collect();
        let text = format!("the old edge goes on; the new one {why}{log}");
        let _ = self.answer.send(Err(text));
    }
}
