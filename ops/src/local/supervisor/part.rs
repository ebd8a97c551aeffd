//! What the supervisor knows of one part, and of one order that waits for parts. No decisions: those are the supervisor's.

use std::collections::BTreeMap;
use std::path::PathBuf;

use tokio::process::Child;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::Answer;
use crate::local::parts::PartId;
use crate::local::process;
use crate::local::view::{PartView, State};

/// Lines of a dead part's log that are kept for showing.
pub(super) const LOG_LINES: usize = 10;

/// One part's present.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) state: State,
    /// Held until its end has been seen, so that its number cannot be another process's.
    pub(super) child: Option<Child>,
    pub(super) check: Option<AbortHandle>,
    pub(super) log: PathBuf,
    pub(super) ending: Option<String>,
    pub(super) asked: bool,
    /// It was told to end and then to start: it starts when it has ended.
    pub(super) restart: bool,
    pub(super) tail: Vec<String>,
}

/// An order whose answer is not due yet.
pub(super) struct Wait {
    pub(super) parts: Vec<PartId>,
    pub(super) until: State,
    pub(super) deadline: Instant,
    pub(super) answer: Answer,
}

// === impl Part ===

impl Default for Part {
    fn default() -> Self {
        Self {
            state: State::Waiting,
            child: None,
            check: None,
            log: PathBuf::new(),
            ending: None,
            asked: false,
            restart: false,
            tail: vec![],
        }
    }
}

impl Part {
    /// Its process is gone. An ending already known says more than how the process ended.
    pub(super) fn end(&mut self, how: String) {
        self.state = State::Dead;
        self.child = None;
        self.ending.get_or_insert(how);
        self.tail = process::tail(&self.log, LOG_LINES);
        if let Some(check) = self.check.take() {
            check.abort();
        }
        if self.restart {
            *self = Self::default();
        }
    }

    pub(super) fn view(&self, id: &PartId) -> PartView {
        PartView {
            name: id.to_string(),
            state: self.state,
            pid: self.child.as_ref().and_then(Child::id),
            ending: self.ending.clone(),
            asked: self.asked,
            log: self.tail.clone(),
        }
    }
}

// === impl Wait ===

impl Wait {
    pub(super) fn outcome(&self, parts: &BTreeMap<PartId, Part>) -> Option<Result<(), String>> {
        let mine = || {
            self.parts
                .iter()
                .filter_map(|id| Some((id, parts.get(id)?)))
        };
        if mine().all(|(_, part)| part.state == self.until) {
            return Some(Ok(()));
        }
        if self.until == State::Up
            && let Some((id, part)) = mine().find(|(_, part)| part.state == State::Dead)
        {
            let ending = part.ending.as_deref().unwrap_or("ended");
            let log: String = part
                .tail
                .iter()
                .map(|line| format!("\n  | {line}"))
                .collect();
            return Some(Err(format!("{id} {ending}{log}")));
        }
        let late: Vec<_> = mine()
            .filter(|(_, part)| part.state != self.until)
            .map(|(id, _)| id.to_string())
            .collect();
        (Instant::now() > self.deadline).then(|| {
            Err(format!(
                "not {} in time: {}",
                self.until.as_str(),
                late.join(", ")
            ))
        })
    }
}
