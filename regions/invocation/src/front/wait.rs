//! The wait of an accepted call for a worker: publish and listen at once, until one comes or the call must end.
//!
//! However it ends without a worker, the call is first made impossible to claim; what that met decides what may be said
//! about its execution. Used by `front/invoke.rs` alone.

use std::sync::Arc;
use std::time::Duration;

use frontdoor_protocol::attach::handover;
use frontdoor_protocol::envelope::{MESSAGE_LIMIT, WorkerInvokeFunctionRequest};
use frontdoor_protocol::headers::Execution;
use frontdoor_protocol::names::RequestId;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::invoke::worker_failed;
use super::recall::Recalls;
use crate::attach::desk::{Arrival, Call};
use crate::attach::standby::{Standby, Way};
use crate::dispatch::{Dispatch, Fault, Kept, Version};
use crate::pending::{Event, Manners};
use crate::phase::Phases;
use crate::respond::{Refusal, Staff};
use crate::workers::Workers;

/// A call that waits.
pub(super) struct Wait<'a> {
    pub(super) dispatch: &'a Dispatch,
    pub(super) standby: &'a Standby,
    pub(super) phases: &'a Phases,
    pub(super) call: &'a mut Call,
    pub(super) arrival: oneshot::Receiver<Arrival>,
    pub(super) deadline: Instant,
    /// How long the caller waits in all, for the words of a refusal.
    pub(super) patience: Duration,
    /// How long it waits for a NATS that is away.
    pub(super) outage: Duration,
    /// Whether it has somewhere else to go; if not, its edge may still say so.
    pub(super) movable: bool,
    pub(super) recalls: &'a Recalls,
    /// Whose silence ends the wait of a call that has somewhere else to go.
    pub(super) workers: &'a Workers,
}

/// A call that could go elsewhere waits at least so long in the queue before the silence of workers ends its wait: the
/// claim of one that lives takes a few milliseconds.
const CLAIMED: Duration = Duration::from_millis(100);

// === impl Wait ===

impl Wait<'_> {
    /// Finds a worker: one that stands ready, or else whoever takes the work item from the queue.
    pub(super) async fn worker(
        self,
        id: RequestId,
        deadline_unix_ms: u64,
        work: WorkerInvokeFunctionRequest,
    ) -> Result<Arrival, Refusal> {
        let Self {
            dispatch,
            standby,
            phases,
            call,
            mut arrival,
            deadline,
            patience,
            outage,
            movable,
            recalls,
            workers,
        } = self;
        let frame = handover::frame(deadline_unix_ms, &work);
        drop(work);
        let item = handover::item_of(&frame);
        if item.len() <= MESSAGE_LIMIT {
            let way = standby.hand(call, &frame, &dispatch.metrics);
            match tokio::time::timeout_at(deadline, way).await {
                Ok(Way::Answered(arrival)) => return Ok(arrival),
                Ok(Way::Failed(arrival, fault)) => return Err(worker_failed(call, arrival, fault)),
                Ok(Way::Queue) => {}
                Err(_) => {
                    let staff = staff(dispatch, workers, call.version());
                    return Err(too_late(call, patience, staff));
                }
            }
        }
        call.set_in_queue(true);
        let version = Arc::clone(call.version());
        let kept = Kept {
            version: &version,
            id,
            deadline_unix_ms,
            deadline,
            item,
            patience: outage,
        };
        let recall = recalls.enter(id);
        let mut keep = std::pin::pin!(dispatch.keep_queued(&kept));
        let mut cutting = std::pin::pin!(phases.cutting());
        let silence = async {
            match movable {
                true => tokio::time::sleep(CLAIMED).await,
                false => recall.told().await,
            }
            match version.manners() {
                // Whoever calls it back knows that there are workers elsewhere; here none may ever have been.
                Manners::Claiming => workers.silent(version.id, !movable).await,
                // A worker that attaches late may be running what nobody has claimed.
                Manners::Late => std::future::pending().await,
            }
        };
        let mut silence = std::pin::pin!(silence);
        let mut hoping = true;
        let mut staying = true;
        let mut keeping = true;
        loop {
            tokio::select! {
                biased;
                // The call holds the other end for as long as it is seated.
                arrived = &mut arrival => return arrived.map_err(|_| Refusal::WorkerLost),
                fault = &mut keep, if keeping => {
                    keeping = false;
                    // Nothing if a worker has the call: its streams do not pass NATS.
                    if let Some(refusal) = failed(call, &fault) {
                        return Err(refusal);
                    }
                }
                () = &mut cutting, if staying => {
                    staying = false;
                    // Moot if a worker has the call: it is about to arrive, and is cut with all that run.
                    if let Ok(execution) = call.apply(Event::QueueFailed) {
                        return Err(Refusal::Stopped(execution));
                    }
                }
                () = &mut silence, if hoping => {
                    hoping = false;
                    // Moot if a worker has the call.
                    if let Ok(execution) = call.apply(Event::QueueFailed) {
                        return Err(Refusal::NoWorker(execution));
                    }
                }
                () = tokio::time::sleep_until(deadline) => {
                    return Err(too_late(call, patience, staff(dispatch, workers, &version)));
                }
            }
        }
    }
}

/// What is known of those who could have taken a call, for the words of its refusal.
fn staff(dispatch: &Dispatch, workers: &Workers, version: &Version) -> Staff {
    let heard = workers.seen(version.id).map(|seen| seen.workers);
    match dispatch.link.is_up() {
        true => Staff::of(version.manners(), heard),
        // Nobody is heard meanwhile.
        false => Staff::Perhaps,
    }
}

/// Ends a call whose time is over.
pub(super) fn too_late(call: &Call, waited: Duration, staff: Staff) -> Refusal {
    let execution = call
        .apply(Event::DeadlinePassed)
        .unwrap_or(Execution::Started);
    Refusal::TooLate {
        waited,
        staff,
        execution,
    }
}

/// Ends a call that could not be queued, unless a worker has it all the same.
fn failed(call: &mut Call, fault: &Fault) -> Option<Refusal> {
    let execution = call.apply(Event::QueueFailed).ok()?;
    // What is certainly not ours in the queue must not be purged.
    call.set_in_queue(matches!(fault, Fault::Unknown(_) | Fault::LinkLost));
    Some(match fault {
        // The caller of this says when to come back.
        Fault::Full => Refusal::QueueFull { retry: 1 },
        Fault::Duplicate => Refusal::Duplicate,
        Fault::TooLarge => Refusal::HeadTooLarge,
        Fault::LinkLost => Refusal::BusLost(execution),
        Fault::Unknown(reason) => {
            tracing::warn!(reason, "a call could not be queued");
            Refusal::PublishFailed(execution)
        }
    })
}
