//! News off NATS, in any order: what is believed speaks for its sender, and the table that it makes can always be decided by.
//!
//! Input: records of a kind, tenths of a second to pass before it, the length of a message (16 bits, little-endian), and the
//! message.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use frontdoor::chatter;
use frontdoor::orders::{Book, MAX_WEIGHT, Wish};
use frontdoor::region::{Endpoint, RegionIndex};
use frontdoor::route::{self, Ask, Policy};
use frontdoor::table::{Event, Limits, Order, ProbeOutcome, ServedOutcome, Table};
use frontdoor_protocol::names::FunctionId;
use frontdoor_protocol::report::Report;
use frontdoor_protocol::revocation::Revocation;
use frontdoor_protocol::subject;
use frontdoor_protocol::target::Target;
use frontdoor_protocol::verdict::{Canary, Verdict};
use uuid::Uuid;

const REGIONS: [&str; 3] = ["us-east", "eu-west", "ap-south"];

/// More would show nothing new.
const MOST_RECORDS: usize = 64;

pub(crate) fn law(input: &[u8]) {
    let mut world = World::new();
    let mut rest = input;
    for _ in 0..MOST_RECORDS {
        let [kind, wait, low, high, after @ ..] = rest else {
            return;
        };
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(after.len());
        let (message, after) = after.split_at(length);
        rest = after;
        world.now += Duration::from_millis(u64::from(*wait) * 100);
        world.hear(*kind, message);
        world.decide();
    }
}

/// An edge without its I/O.
struct World {
    table: Table,
    book: Book,
    now: Instant,
    /// Last named by a report.
    function: Option<FunctionId>,
}

impl World {
    fn new() -> Self {
        let names = REGIONS.map(|name| (name.parse().expect("valid"), 1.0));
        let mut table = Table::new(names, Limits::default());
        let now = Instant::now();
        for (index, _) in REGIONS.iter().enumerate() {
            let addresses = vec![address(index)];
            let region = RegionIndex(index);
            table.apply(Event::Resolved { region, addresses }, now);
        }
        Self {
            table,
            book: Book::default(),
            now,
            function: None,
        }
    }

    fn hear(&mut self, kind: u8, message: &[u8]) {
        match kind % 8 {
            0..=2 => self.report(message),
            3 => self.verdict(message),
            4 => self.wish(message),
            5 => {
                if let Some(revocation) = Revocation::decode(message) {
                    assert_eq!(Revocation::decode(&revocation.encode()), Some(revocation));
                }
            }
            6 => self.see(message),
            _ => {
                assert!(chatter::heard("fd.report.elsewhere", message).is_none());
                assert!(chatter::heard("fd.elsewhere", message).is_none());
            }
        }
    }

    fn report(&mut self, message: &[u8]) {
        let Ok(report) = Report::decode(message) else {
            return;
        };
        if let Some(said) = report.functions.first() {
            self.function = Some(said.function);
        }
        let event = chatter::heard(&subject::report(&report.region), message);
        let event = event.expect("its own word");
        let Event::Heard(heard) = &event else {
            panic!("{event:?}");
        };
        assert_eq!(*heard, report);
        self.table.apply(event, self.now);
    }

    fn verdict(&mut self, message: &[u8]) {
        let Ok(verdict) = Verdict::decode(message) else {
            return;
        };
        let event = chatter::heard(&subject::verdict(verdict.edge), message);
        self.table.apply(event.expect("its own word"), self.now);
    }

    /// An order off the hub's bucket; the region is the first byte.
    fn wish(&mut self, message: &[u8]) {
        let [region, text @ ..] = message else {
            return;
        };
        let index = usize::from(*region) % REGIONS.len();
        let name = REGIONS[index].parse().expect("valid");
        let Some(wish) = Wish::decode(text) else {
            return;
        };
        assert_eq!(Wish::decode(&wish.encode()).as_ref(), Some(&wish));
        assert!(wish.weight.is_none_or(|w| (0.0..=MAX_WEIGHT).contains(&w)));
        let taken = self.book.take(&name, &wish);
        assert!(!self.book.take(&name, &wish), "the same twice");
        if taken {
            let order = match (wish.weight, wish.drain) {
                (Some(weight), false) => Order::Weight(weight),
                (_, true) => Order::Drain,
                (None, false) => Order::Undrain,
            };
            let region = RegionIndex(index);
            self.table.apply(Event::Ordered { region, order }, self.now);
        }
    }

    /// What probes, traffic and canaries show: each byte is one.
    fn see(&mut self, message: &[u8]) {
        for byte in message {
            let index = usize::from(byte >> 6).min(REGIONS.len() - 1);
            let region = RegionIndex(index);
            let address = address(index);
            let endpoint = Endpoint { region, address };
            let target = self.function.map(|function| Target {
                function,
                version: None,
            });
            let served = |outcome| Event::Served {
                endpoint,
                outcome,
                target,
            };
            let event = match byte & 15 {
                0 => served(ServedOutcome::Answered(u32::from(*byte))),
                1 => served(ServedOutcome::Unreachable),
                2 => served(ServedOutcome::Silent),
                3 => served(ServedOutcome::Broke),
                4 => served(ServedOutcome::Declined),
                5 => served(ServedOutcome::NoWorker),
                6 => served(ServedOutcome::NotHere),
                7 => Event::Canary {
                    region,
                    outcome: Canary::Workers,
                },
                8 => Event::Bus(byte & 16 == 0),
                9 => Event::Tick,
                10 | 11 => Event::Probed {
                    endpoint,
                    outcome: ProbeOutcome::Bad,
                },
                shift => Event::Probed {
                    endpoint,
                    outcome: ProbeOutcome::Good(Duration::from_millis(1 << shift)),
                },
            };
            self.now += Duration::from_millis(u64::from(byte & 48));
            self.table.apply(event, self.now);
        }
    }

    /// A decision is made or honestly refused, and can be made again from what it read.
    fn decide(&mut self) {
        let snapshot = self.table.snapshot(self.now);
        let policy = Policy::default();
        for function in [self.function, Some(FunctionId::from_uuid(Uuid::max()))] {
            let ask = Ask {
                function,
                ..Ask::default()
            };
            let decided = route::decide(&snapshot, &policy, &ask, 7);
            let _ = route::spare(&snapshot, &policy, &ask, RegionIndex(0));
            let (trace, again) = route::traced(&snapshot, &policy, &ask, 7);
            assert_eq!(again, decided);
            let explained = trace.explain();
            match (&decided, &explained.decision) {
                (Ok(one), Ok((name, reason))) => {
                    assert_eq!((REGIONS[one.region.0], one.reason), (&**name, *reason));
                    assert_eq!(one.address, address(one.region.0));
                }
                (Err(one), Err(other)) => assert_eq!(one, other),
                other => panic!("{other:?}"),
            }
            serde_json::to_string(&explained).expect("can be shown");
            if let Err(refused) = decided {
                let wait = refused.retry_after;
                assert!(wait <= Duration::from_secs(3600), "ask again in {wait:?}");
            }
        }
    }
}

fn address(region: usize) -> SocketAddr {
    let host = u8::try_from(region).expect("few");
    SocketAddr::from(([10, 0, 0, host], 80))
}
