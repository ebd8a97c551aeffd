//! The desk: callers wait at it, workers come to it with a token, and each call's state is decided at it.
//!
//! A call's state is one atomic; an event is applied by compare-and-exchange against the table of `pending.rs`, so of
//! two events that exclude each other (a claim and a deadline) exactly one happens. Tokens are looked up in shards whose
//! locks are held for a map operation and never over an await.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicI64, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use frontdoor_protocol::attach::{Form, ResponseHead};
use frontdoor_protocol::headers::Execution;
use frontdoor_protocol::names::RequestId;
use hyper::body::Incoming;
use tokio::sync::{Notify, oneshot};
use uuid::Uuid;

use super::HeadFault;
use super::closing::Close;
use super::download::Rest;
use super::relay::read_head;
use crate::accounts::Share;
use crate::dispatch::{Cancel, Cancels, Version};
use crate::drain::{self, Crew, Drain};
use crate::pending::{Event, State};
use crate::respond::AttachRefusal;

/// Enough that two cores seldom meet at one.
const SHARDS: usize = 64;
/// Tokens of ended calls that a shard remembers, so that a worker which comes late is told *over*, not *unknown*.
/// Workers treat both alike; this bounds what the difference may cost.
const REMEMBERED: usize = 1024;

/// What a worker brings to a waiting caller.
pub(crate) struct Arrival {
    /// Head and body of the answer.
    pub(crate) stream: Incoming,
    /// The head and what came with it, if it was read already.
    pub(crate) head: Option<Box<(ResponseHead, Option<Bytes>)>>,
    /// Whether it claimed the call before it ran it.
    pub(crate) claimed: bool,
    /// Tells the worker how it ended.
    pub(crate) closing: Close,
}

/// All waiting calls.
pub(crate) struct Desk {
    shards: Box<[Mutex<Shard>]>,
    cancels: Cancels,
    limit: usize,
    open: AtomicUsize,
    queued: AtomicI64,
    running: AtomicI64,
    emptied: Notify,
    drain: Drain,
    began: Instant,
}

#[derive(Default)]
struct Shard {
    tickets: HashMap<Uuid, Ticket>,
    ended: VecDeque<Uuid>,
}

enum Ticket {
    /// POST attach: answer this call.
    Answer(Arc<Entry>),
    /// GET attach: fetch the rest of this call's body.
    Fetch(Arc<Entry>),
    /// A call of this version that is over. A late worker may still come with it, and that must be learnt.
    Ended(Arc<Version>),
}

/// What both sides of a call share.
pub(crate) struct Entry {
    state: AtomicU8,
    version: Arc<Version>,
    seat: Mutex<Option<oneshot::Sender<Arrival>>>,
    rest: Mutex<Option<Rest>>,
}

/// A place among the calls that may be here at once; taken before anything is done for a call.
pub(crate) struct Place(Arc<Desk>, Option<Share>);

/// A waiting call, as its caller's side owns it. Dropping it ends the call: if the caller does not have everything by
/// then, the worker is told and the queue is purged of it.
pub(crate) struct Call {
    entry: Arc<Entry>,
    place: Place,
    id: RequestId,
    answer_token: Uuid,
    fetch_token: Option<Uuid>,
    in_queue: bool,
}

/// An event that came too late or too early; the state it met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moot(pub(crate) State);

// === impl Desk ===

impl Desk {
    /// A desk for at most `limit` calls at once.
    pub(crate) fn new(limit: usize, cancels: Cancels) -> Arc<Self> {
        Arc::new(Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            cancels,
            limit,
            open: AtomicUsize::new(0),
            queued: AtomicI64::new(0),
            running: AtomicI64::new(0),
            emptied: Notify::new(),
            drain: Drain::default(),
            began: Instant::now(),
        })
    }

    /// Takes a place, if there is one.
    pub(crate) fn admit(self: &Arc<Self>) -> Option<Place> {
        // SeqCst: see `phase.rs`.
        let place = |open| (open < self.limit).then_some(open + 1);
        self.open
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, place)
            .ok()
            .map(|_| Place(Arc::clone(self), None))
    }

    /// Calls that nobody claimed yet.
    pub(crate) fn queued(&self) -> u64 {
        self.queued.load(Ordering::Relaxed).try_into().unwrap_or(0)
    }

    /// Calls that a worker has.
    pub(crate) fn running(&self) -> u64 {
        self.running.load(Ordering::Relaxed).try_into().unwrap_or(0)
    }

    /// Seconds after which a caller that is turned away may try again, by what is known of the workers it would wait for.
    pub(crate) fn retry_after(&self, version: &Version, crew: Option<Crew>) -> u64 {
        let queued = u64::from(version.queued());
        let open = u64::try_from(self.open.load(Ordering::Relaxed)).unwrap_or(u64::MAX);
        match crew {
            Some(crew) if queued > 0 => drain::retry_after(queued, Some(crew), 0),
            _ => drain::retry_after(open, None, self.drain.lately(self.second())),
        }
    }

    fn second(&self) -> u64 {
        self.began.elapsed().as_secs()
    }

    /// Waits until no call is here.
    pub(crate) async fn empty(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.open.load(Ordering::SeqCst) == 0 {
                return;
            }
            emptied.await;
        }
    }

    /// Finds the call that a POST attach answers. `Err` says that the call is over, and whose it was.
    pub(super) fn find_answer(&self, token: Uuid) -> Option<Result<Arc<Entry>, Arc<Version>>> {
        match self.shard(token).tickets.get(&token)? {
            Ticket::Answer(entry) => Some(Ok(Arc::clone(entry))),
            Ticket::Fetch(_) => None,
            Ticket::Ended(version) => Some(Err(Arc::clone(version))),
        }
    }

    /// Takes the rest of a request, which is there once, in the form in which it is there.
    pub(super) fn take_rest(&self, token: Uuid, form: Form) -> Result<Rest, AttachRefusal> {
        let mut shard = self.shard(token);
        let Some(Ticket::Fetch(entry)) = shard.tickets.get(&token) else {
            return Err(AttachRefusal::Unknown);
        };
        let entry = Arc::clone(entry);
        let there = lock(&entry.rest).as_ref().map(Rest::form);
        match there {
            Some(there) if there != form => return Err(AttachRefusal::NotAcceptable(there)),
            _ => shard.tickets.remove(&token),
        };
        drop(shard);
        if entry.state() == State::Queued {
            // It runs the call and has not claimed it.
            entry.version.saw_late_worker();
        }
        lock(&entry.rest).take().ok_or(AttachRefusal::Unknown)
    }

    fn shard(&self, token: Uuid) -> MutexGuard<'_, Shard> {
        // Tokens are random, so any of their bytes spreads them evenly.
        let index = usize::from(token.as_bytes()[0]) % SHARDS;
        lock(&self.shards[index])
    }

    fn count(&self, version: &Version, from: Option<State>, to: State) {
        let add = |state: State, n| match state {
            State::Queued => {
                self.queued.fetch_add(n, Ordering::Relaxed);
                version.count_queued(n);
            }
            state if state.is_over() => {}
            _ => _ = self.running.fetch_add(n, Ordering::Relaxed),
        };
        if let Some(from) = from {
            add(from, -1);
        }
        add(to, 1);
    }
}

// === impl Entry ===

impl Entry {
    fn state(&self) -> State {
        State::of_number(self.state.load(Ordering::Acquire))
    }

    /// Applies an event, whole or not at all; tells which state it met.
    pub(super) fn apply(&self, desk: &Desk, event: Event) -> Result<State, Moot> {
        let mut now = self.state.load(Ordering::Acquire);
        loop {
            let state = State::of_number(now);
            let next = state.next(event).ok_or(Moot(state))?;
            match self.state.compare_exchange_weak(
                now,
                next.number(),
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => {
                    desk.count(&self.version, Some(state), next);
                    return Ok(state);
                }
                Err(seen) => now = seen,
            }
        }
    }

    /// Hands a worker's stream to the waiting caller; gives it back if the caller has gone.
    pub(super) fn hand_over(&self, arrival: Arrival) -> Result<(), Arrival> {
        match lock(&self.seat).take() {
            Some(seat) => seat.send(arrival),
            None => Err(arrival),
        }
    }

    pub(super) fn version(&self) -> &Version {
        &self.version
    }
}

// === impl Arrival ===

impl Arrival {
    /// A stream of which nothing was read yet.
    pub(super) const fn new(stream: Incoming, claimed: bool, closing: Close) -> Self {
        Self {
            stream,
            head: None,
            claimed,
            closing,
        }
    }

    /// The head of the answer, and what of the body came with it.
    pub(crate) async fn read_head(&mut self) -> Result<(ResponseHead, Option<Bytes>), HeadFault> {
        match self.head.take() {
            Some(read) => Ok(*read),
            None => read_head(&mut self.stream).await,
        }
    }

    /// Turns the worker away: what it brought is no answer.
    pub(crate) fn refuse(self, fault: HeadFault) {
        self.closing.malformed(fault);
    }
}

// === impl Place ===

impl Place {
    /// Holds an account's share for as long as the call is here.
    pub(crate) fn with(mut self, share: Option<Share>) -> Self {
        self.1 = share;
        self
    }

    /// Seats a call: from now on a worker that has its token finds it. The receiver gets the worker's stream.
    pub(crate) fn seat(
        self,
        id: RequestId,
        version: Arc<Version>,
        rest: Option<Rest>,
    ) -> (Call, oneshot::Receiver<Arrival>) {
        let (seat, arrival) = oneshot::channel();
        let fetch_token = rest.is_some().then(random_token);
        let entry = Arc::new(Entry {
            state: AtomicU8::new(State::Queued.number()),
            version,
            seat: Mutex::new(Some(seat)),
            rest: Mutex::new(rest),
        });
        let call = Call {
            entry,
            place: self,
            id,
            answer_token: random_token(),
            fetch_token,
            in_queue: false,
        };
        let desk = &call.place.0;
        desk.count(&call.entry.version, None, State::Queued);
        let put = |token, ticket| desk.shard(token).tickets.insert(token, ticket);
        put(call.answer_token, Ticket::Answer(Arc::clone(&call.entry)));
        if let Some(token) = call.fetch_token {
            put(token, Ticket::Fetch(Arc::clone(&call.entry)));
        }
        (call, arrival)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.drain.ended(self.0.second());
        if self.0.open.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.emptied.notify_waiters();
        }
    }
}

// === impl Call ===

impl Call {
    /// Token of the POST attach.
    pub(crate) const fn answer_token(&self) -> Uuid {
        self.answer_token
    }

    /// Token of the GET attach, if there is something to get.
    pub(crate) const fn fetch_token(&self) -> Option<Uuid> {
        self.fetch_token
    }

    /// The version that is called.
    pub(crate) fn version(&self) -> &Arc<Version> {
        &self.entry.version
    }

    /// Says whether the item may be in the queue, and so must be taken out when the call ends early.
    pub(crate) const fn set_in_queue(&mut self, may_be: bool) {
        self.in_queue = may_be;
    }

    /// Applies an event; tells what may be said of the call's execution if it ended by that.
    pub(crate) fn apply(&self, event: Event) -> Result<Execution, Moot> {
        self.entry
            .apply(&self.place.0, event)
            .map(|met| met.execution(self.entry.version.manners()))
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let desk = &self.place.0;
        // Moot if it has ended otherwise.
        let _ = self.apply(Event::CallerLeft);
        let unfinished = self.entry.state() != State::Done;
        if unfinished && self.in_queue {
            desk.cancels.push(Cancel {
                version: Arc::clone(&self.entry.version),
                id: self.id,
            });
        }
        lock(&self.entry.rest).take();
        if let Some(token) = self.fetch_token {
            desk.shard(token).tickets.remove(&token);
        }
        let mut shard = desk.shard(self.answer_token);
        if unfinished {
            shard.remember(self.answer_token, Arc::clone(&self.entry.version));
        } else {
            shard.tickets.remove(&self.answer_token);
        }
    }
}

// === impl Shard ===

impl Shard {
    fn remember(&mut self, token: Uuid, version: Arc<Version>) {
        self.tickets.insert(token, Ticket::Ended(version));
        self.ended.push_back(token);
        if self.ended.len() > REMEMBERED
            && let Some(oldest) = self.ended.pop_front()
        {
            self.tickets.remove(&oldest);
        }
    }
}

/// Unguessable, and made without a system call.
fn random_token() -> Uuid {
    uuid::Builder::from_random_bytes(rand::random()).into_uuid()
}

/// Nothing panics while it holds one of these locks, so a poisoned one is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
