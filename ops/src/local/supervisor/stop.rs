//! The end of a stack: from the edge inwards, each step with its own patience, and nothing left behind.

use std::time::Duration;

use futures_util::future::join_all;
use nix::sys::signal::Signal;
use tokio::process::Child;
use tokio::time::{Instant, timeout, timeout_at};

use super::part::Part;
use super::{Stack, Supervisor};
use crate::local::process;
use crate::local::view::Phase;

/// How long to wait for a process that got SIGKILL. Only one stuck in the kernel takes longer.
const KILLED: Duration = Duration::from_secs(2);

impl<S: Stack> Supervisor<S> {
    /// Stops everything, step by step, and returns when every child has been waited for.
    pub(super) async fn stop(&mut self) {
        self.phase = Phase::Stopping;
        self.checks.shutdown().await;
        self.succession.leave();
        for wait in self.waits.drain(..) {
            let _ = wait.answer.send(Err("the stack is stopping".to_owned()));
        }
        self.publish();
        let mut parts: Vec<_> = self.parts.keys().cloned().collect();
        parts.sort_by_key(|id| id.stop_step().0);
        for step in parts.chunk_by(|a, b| a.stop_step().0 == b.stop_step().0) {
            let patience = step.first().map_or(Duration::ZERO, |id| id.stop_step().1);
            let deadline = Instant::now() + patience;
            let leaving = self.parts.iter_mut().filter(|(id, _)| step.contains(id));
            join_all(leaving.map(|(_, part)| part.leave(deadline))).await;
            self.publish();
        }
        self.succession.end().await;
    }
}

impl Part {
    /// Asks the process to stop, and makes it stop when the deadline has passed.
    async fn leave(&mut self, deadline: Instant) {
        let Some(child) = &mut self.child else { return };
        self.asked = true;
        if let Some(pid) = child.id() {
            // A process that is held would not see the first signal without the second. Failing means it is gone.
            let _ = (
                process::send(pid, Signal::SIGTERM),
                process::send(pid, Signal::SIGCONT),
            );
        }
        let ended = match timeout_at(deadline, child.wait()).await {
            Ok(ended) => ended,
            Err(_) => kill(child).await,
        };
        let how = ended.map_or_else(|error| format!("lost: {error}"), process::ending);
        self.end(how);
    }
}

async fn kill(child: &mut Child) -> std::io::Result<std::process::ExitStatus> {
    child.start_kill()?;
    timeout(KILLED, child.wait()).await?
}
