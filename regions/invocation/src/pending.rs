//! One accepted call as a state machine: what may follow what, and what may be said about its execution (pure).
//!
//! ```text
//! queued ◀─▶ claimed ──▶ head ──▶ streaming ──▶ done
//!    └──────────┴──────────┴─────────┴────────▶ cancelled | expired | failed
//! ```
//!
//! Knows no clock, no network and no lock. `attach/desk.rs` holds one state per call and applies events to it atomically, which
//! is what decides between *claimed* and *cancelled* or *expired*.

use frontdoor_protocol::headers::Execution;

/// Where a call stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(crate) enum State {
    /// Accepted; no worker has it.
    Queued,
    /// A worker may run it.
    Claimed,
    /// The head of the answer is here.
    Head,
    /// The answer's body is on its way to the caller.
    Streaming,
    /// The caller has everything.
    Done,
    /// The caller left first.
    Cancelled,
    /// The caller's time was over before the head came.
    Expired,
    /// The queue refused it, or the worker's stream broke.
    Failed,
}

/// What can happen to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Event {
    /// A worker attached.
    Claim,
    /// The head of the answer was read.
    HeadArrived,
    /// The head went to the caller.
    BodyBegan,
    /// The last byte went to the caller.
    BodyEnded,
    /// The caller's connection or stream is gone.
    CallerLeft,
    /// The caller's waiting time is over.
    DeadlinePassed,
    /// The work queue did not take the call, or is out of reach.
    QueueFailed,
    /// The worker's stream broke or made no sense.
    WorkerLost,
    /// A worker that was chosen provably did not begin, and will not.
    Returned,
}

/// How the workers of a version attach, as far as it was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manners {
    /// Claim first, then run: nothing runs that was not claimed.
    Claiming,
    /// At least one runs first and attaches late, as NVIDIA's do: a queued call may be running.
    Late,
}

/// All states, in the order of their numbers.
const STATES: [State; 8] = [
    State::Queued,
    State::Claimed,
    State::Head,
    State::Streaming,
    State::Done,
    State::Cancelled,
    State::Expired,
    State::Failed,
];

// === impl State ===

impl State {
    /// The state after `event`, or `None` if the event comes too late or too early to matter.
    pub(crate) const fn next(self, event: Event) -> Option<Self> {
        match (self, event) {
            (Self::Queued, Event::Claim) => Some(Self::Claimed),
            (Self::Claimed, Event::Returned) => Some(Self::Queued),
            (Self::Claimed, Event::HeadArrived) => Some(Self::Head),
            (Self::Head, Event::BodyBegan) => Some(Self::Streaming),
            (Self::Streaming, Event::BodyEnded) => Some(Self::Done),
            (Self::Queued | Self::Claimed | Self::Head | Self::Streaming, Event::CallerLeft) => {
                Some(Self::Cancelled)
            }
            // Once the head is here, the caller's patience for a first byte no longer counts.
            (Self::Queued | Self::Claimed, Event::DeadlinePassed) => Some(Self::Expired),
            // Once a worker has the call, the queue no longer counts.
            (Self::Queued, Event::QueueFailed) => Some(Self::Failed),
            (Self::Claimed | Self::Head | Self::Streaming, Event::WorkerLost) => Some(Self::Failed),
            _ => None,
        }
    }

    /// Whether nothing can happen to the call any more.
    pub(crate) const fn is_over(self) -> bool {
        matches!(
            self,
            Self::Done | Self::Cancelled | Self::Expired | Self::Failed
        )
    }

    /// What may be said of a call that ended while it was in this state.
    pub(crate) const fn execution(self, manners: Manners) -> Execution {
        match (self, manners) {
            (Self::Queued, Manners::Claiming) => Execution::NotStarted,
            _ => Execution::Started,
        }
    }

    /// The state's number, for an atomic.
    pub(crate) const fn number(self) -> u8 {
        self as u8
    }

    /// The state of a number. Numbers come from [`Self::number`] alone; any other reads as over.
    pub(crate) fn of_number(number: u8) -> Self {
        STATES
            .get(usize::from(number))
            .copied()
            .unwrap_or(Self::Failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENTS: [Event; 9] = [
        Event::Claim,
        Event::HeadArrived,
        Event::BodyBegan,
        Event::BodyEnded,
        Event::CallerLeft,
        Event::DeadlinePassed,
        Event::QueueFailed,
        Event::WorkerLost,
        Event::Returned,
    ];

    /// Every event in every state; `_` is refused.
    #[test]
    fn every_event_in_every_state() {
        use State::{Cancelled as X, Claimed as C, Done as D, Expired as E, Failed as F};
        use State::{Head as H, Streaming as S};
        let (q, x, e, f) = (Some(State::Queued), Some(X), Some(E), Some(F));
        let table: [(State, [Option<State>; 9]); 8] = [
            //               Claim  Head   Began  Ended  Left Deadline Queue Worker Returned
            (
                State::Queued,
                [Some(C), None, None, None, x, e, f, None, None],
            ),
            (C, [None, Some(H), None, None, x, e, None, f, q]),
            (H, [None, None, Some(S), None, x, None, None, f, None]),
            (S, [None, None, None, Some(D), x, None, None, f, None]),
            (D, [None; 9]),
            (X, [None; 9]),
            (E, [None; 9]),
            (F, [None; 9]),
        ];
        for (state, row) in table {
            for (event, next) in EVENTS.into_iter().zip(row) {
                assert_eq!(state.next(event), next, "{state:?} on {event:?}");
            }
        }
    }

    #[test]
    fn what_is_over_stays_over() {
        for state in STATES {
            let stuck = EVENTS.into_iter().all(|event| state.next(event).is_none());
            assert_eq!(state.is_over(), stuck, "{state:?}");
        }
    }

    #[test]
    fn only_a_queued_call_of_claiming_workers_is_provably_not_started() {
        for state in STATES {
            for manners in [Manners::Claiming, Manners::Late] {
                let proven = state == State::Queued && manners == Manners::Claiming;
                assert_eq!(
                    state.execution(manners) == Execution::NotStarted,
                    proven,
                    "{state:?} {manners:?}"
                );
            }
        }
    }

    /// What the worker that was granted a call has done with it.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    enum Hands {
        Empty,
        Granted,
        Ran,
    }

    /// A call, all copies of its message, and what its caller was told.
    #[derive(Debug, Clone, PartialEq, Eq, Hash)]
    struct World {
        state: State,
        /// Copies that no worker has brought yet.
        copies: u8,
        hands: Hands,
        runs: u8,
        told: Vec<Execution>,
    }

    impl World {
        /// What the event makes of it; `None` if it cannot happen here.
        fn after(&self, event: Event) -> Option<Self> {
            let mut world = self.clone();
            match event {
                Event::Claim => world.copies = self.copies.checked_sub(1)?,
                // A worker that ran a call does not give it back.
                Event::Returned if self.hands != Hands::Granted => return None,
                _ => {}
            }
            let Some(next) = self.state.next(event) else {
                return Some(world);
            };
            world.state = next;
            match event {
                Event::Claim => world.hands = Hands::Granted,
                Event::Returned => world.hands = Hands::Empty,
                _ => {}
            }
            if next.is_over() {
                world.told.push(self.state.execution(Manners::Claiming));
            }
            Some(world)
        }

        /// The worker that was granted it begins, whatever has become of the call since.
        fn run(&self) -> Option<Self> {
            (self.hands == Hands::Granted).then(|| Self {
                hands: Hands::Ran,
                runs: self.runs + 1,
                ..self.clone()
            })
        }
    }

    /// Every order of every event, with four copies of the message on their way: a walk through all that can be reached.
    #[test]
    fn no_order_of_events_runs_a_call_twice_or_loses_its_caller() {
        let start = World {
            state: State::Queued,
            copies: 4,
            hands: Hands::Empty,
            runs: 0,
            told: Vec::new(),
        };
        let mut seen = std::collections::HashSet::from([start.clone()]);
        let mut open = vec![start];
        while let Some(world) = open.pop() {
            assert!(world.runs <= 1, "{world:?}");
            let over = world.state.is_over();
            assert_eq!(world.told.len(), usize::from(over), "{world:?}");
            if world.told.contains(&Execution::NotStarted) {
                assert_eq!(world.hands, Hands::Empty, "it may still run: {world:?}");
                assert_eq!(world.runs, 0, "{world:?}");
            }
            // Who waits is answered in time whatever else happens, or sees a stream that can break or end.
            let ends = [Event::DeadlinePassed, Event::WorkerLost];
            let ends = ends.iter().filter_map(|e| world.after(*e));
            assert!(
                over || ends.into_iter().any(|w| w.state.is_over()),
                "{world:?}"
            );
            let next = EVENTS.iter().filter_map(|event| world.after(*event));
            for next in next.chain(world.run()) {
                if seen.insert(next.clone()) {
                    open.push(next);
                }
            }
        }
        let states: std::collections::HashSet<State> = seen.iter().map(|w| w.state).collect();
        assert_eq!(states.len(), STATES.len(), "all of it was walked");
    }

    #[test]
    fn numbers_name_states() {
        for state in STATES {
            assert_eq!(State::of_number(state.number()), state);
        }
        assert_eq!(State::of_number(200), State::Failed);
    }
}
