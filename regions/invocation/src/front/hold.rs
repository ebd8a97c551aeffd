//! Calls that outlive the request which made them: each runs in a task of its own, and whoever asks in time gets the answer.
//!
//! One task owns one call from its first byte to its last; callers only send it a question and wait a while. While nobody
//! waits, the beginning of the answer is taken in up to a bound; what is longer stays with the worker, which feels the
//! backpressure. The answer is given once. A call that nobody can ask for, because its first caller left before the id
//! was told, ends at once.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use frontdoor_protocol::names::RequestId;
use frontdoor_protocol::target::Target;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::Front;
use super::invoke::{Answer, Seated};
use crate::attach::Shelf;
use crate::respond::Refusal;

/// Questions that may wait for one answer; who polls more often than that at once gets 429.
const QUESTIONS: usize = 8;
/// How much of one answer is taken in.
const SHELF_EACH: usize = 1024 * 1024;
/// How much of all answers is: past that, workers wait for their callers.
const SHELF_ALL: usize = 64 * 1024 * 1024;

/// How a call that was put aside ended.
pub(super) type Taken = Result<Answer, Refusal>;
/// A question for it, and where the answer goes.
type Question = oneshot::Sender<Taken>;

/// The calls that were put aside, here.
pub(crate) struct Held {
    parcels: Mutex<HashMap<RequestId, Parcel>>,
    tasks: TaskTracker,
    shelf: Arc<Shelf>,
    /// How long an answer waits for its caller, and a call for its answer.
    pub(super) keep: Duration,
}

/// The caller's end of a held call. While one is left, the call goes on.
#[derive(Clone)]
pub(super) struct Parcel {
    /// Whose answer it is: who asks must be allowed to call that.
    pub(super) target: Target,
    questions: mpsc::Sender<Question>,
}

/// Why there is no answer yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotYet {
    /// The time to wait was over first.
    Later,
    /// Too many others ask.
    Crowded,
    /// Another one got it, or its time was over.
    Gone,
}

// === impl Held ===

impl Held {
    /// None yet; answers are kept for `keep`, tasks are run in `tasks`.
    pub(crate) fn new(keep: Duration, tasks: TaskTracker) -> Self {
        Self {
            parcels: Mutex::default(),
            tasks,
            shelf: Shelf::new(SHELF_ALL),
            keep,
        }
    }

    /// Runs a call in a task of its own.
    pub(super) fn begin(&self, front: &Arc<Front>, target: Target, call: Seated) -> Parcel {
        let (questions, asked) = mpsc::channel(QUESTIONS);
        let id = call.id;
        let front = Arc::clone(front);
        self.tasks.spawn(async move {
            carry(&front, call, asked).await;
            front.held.forget(id);
        });
        Parcel { target, questions }
    }

    /// Puts a call aside, to be asked for by its id; `false` if there is one of that id.
    pub(super) fn put(&self, id: RequestId, parcel: Parcel) -> bool {
        match self.parcels().entry(id) {
            Entry::Occupied(mut old) if old.get().questions.is_closed() => {
                old.insert(parcel);
                true
            }
            Entry::Occupied(_) => false,
            Entry::Vacant(place) => {
                place.insert(parcel);
                true
            }
        }
    }

    /// The call of an id, if it was put aside here and its answer was not given yet.
    pub(super) fn find(&self, id: RequestId) -> Option<Parcel> {
        self.parcels().get(&id).cloned()
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.parcels().len()
    }

    /// Drops what has ended.
    fn forget(&self, id: RequestId) {
        let mut parcels = self.parcels();
        if parcels.get(&id).is_some_and(|p| p.questions.is_closed()) {
            parcels.remove(&id);
        }
    }

    fn parcels(&self) -> MutexGuard<'_, HashMap<RequestId, Parcel>> {
        // Nothing panics while it holds the lock.
        self.parcels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Parcel ===

impl Parcel {
    /// Asks for the answer until `deadline`.
    pub(super) async fn ask(&self, deadline: Instant) -> Result<Taken, NotYet> {
        let (question, answer) = oneshot::channel();
        self.questions
            .try_send(question)
            .map_err(|refused| match refused {
                mpsc::error::TrySendError::Full(_) => NotYet::Crowded,
                mpsc::error::TrySendError::Closed(_) => NotYet::Gone,
            })?;
        match tokio::time::timeout_at(deadline, answer).await {
            Ok(taken) => taken.map_err(|_| NotYet::Gone),
            Err(_) => Err(NotYet::Later),
        }
    }
}

/// Runs a call to its answer and keeps that until somebody takes it.
async fn carry(front: &Front, call: Seated, mut questions: mpsc::Receiver<Question>) {
    let mut waiting: Vec<Question> = Vec::new();
    let mut answer = std::pin::pin!(front.answered(call));
    let mut taken = loop {
        tokio::select! {
            biased;
            taken = &mut answer => break taken,
            question = questions.recv() => match question {
                Some(question) => {
                    waiting.retain(|other| !other.is_closed());
                    waiting.push(question);
                }
                None => return,
            },
        }
    };
    for question in waiting {
        match question.send(taken) {
            Ok(()) => return,
            Err(back) => taken = back,
        }
    }
    keep(front, taken, questions).await;
}

/// Waits with an answer for somebody who takes it.
async fn keep(front: &Front, mut taken: Taken, mut questions: mpsc::Receiver<Question>) {
    let mut over = std::pin::pin!(tokio::time::sleep(front.held.keep));
    let mut cutting = std::pin::pin!(front.phases.cutting());
    let mut room = taken.is_ok();
    loop {
        tokio::select! {
            biased;
            question = questions.recv() => {
                let Some(question) = question else { return };
                match question.send(taken) {
                    Ok(()) => return,
                    Err(back) => taken = back,
                }
            }
            () = &mut over => return,
            () = &mut cutting => return,
            () = take_in(&mut taken, &front.held.shelf), if room => room = false,
        }
    }
}

/// Takes in what there is room for.
async fn take_in(taken: &mut Taken, shelf: &Arc<Shelf>) {
    if let Ok(answer) = taken {
        answer.relay.take_in(shelf, SHELF_EACH).await;
    }
}
