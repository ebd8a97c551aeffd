//! What the services of one region have said: sequence, freshness, and their words merged into the region's column.
//!
//! Pure. Each service speaks for itself and is told from others by the epoch of its start. What a region can do (slots,
//! free ones, workers) every service sees whole, so the newest word counts; what is queued is each one's own, so it is
//! added up. An older report of a service changes nothing; a gap in its sequence makes its facts old until
//! the next full report. Who falls silent is forgotten while another still speaks: the last word is kept.

use std::sync::Arc;
use std::time::Instant;

use frontdoor_protocol::names::{FunctionId, VersionId};
use frontdoor_protocol::report::Report;

use super::facts::{self, Column, Fact, Lesson};
use super::freshness;
use super::snapshot::HeardView;
use crate::region::Row;

/// Invocation services of one region that are listened to; more would be an attack.
const SPEAKERS: usize = 64;

/// All that a region's services have said.
#[derive(Debug, Default)]
pub(super) struct Hearing {
    speakers: Vec<Speaker>,
    /// Whether the region ever told everything that is deployed there.
    whole: bool,
}

/// One service.
#[derive(Debug)]
struct Speaker {
    epoch: u64,
    seq: u64,
    draining: bool,
    view: HeardView,
    /// Up to when its words are known to be complete.
    sure: Instant,
    /// Its last full report, in its order: the next one is most probably the same, and needs no look-up.
    order: Vec<Row>,
    /// What it said of each row.
    words: Vec<Word>,
    /// Counts its full reports.
    round: u32,
}

/// A speaker's own part of a fact.
#[derive(Debug, Clone, Copy, Default)]
struct Word {
    deployed: bool,
    queued: u16,
    /// The full report that named it last.
    round: u32,
}

// === impl Hearing ===

impl Hearing {
    /// Takes a report; returns the rows whose facts changed. `row` finds or makes the row of a version; most probably it
    /// is the one that it is given.
    pub(super) fn take(
        &mut self,
        report: &Report,
        now: Instant,
        column: &mut Arc<Column>,
        mut row: impl FnMut(FunctionId, VersionId, Option<Row>) -> Option<Row>,
    ) -> Vec<Row> {
        let mut changed = Vec::new();
        let Some(speaker) = self.speaker(report, now) else {
            return changed;
        };
        speaker.listen(report, now);
        if report.full {
            let length = report.functions.len();
            speaker
                .order
                .reserve_exact(length.saturating_sub(speaker.order.len()));
            speaker.round = speaker.round.wrapping_add(1);
        }
        for (place, said) in report.functions.iter().enumerate() {
            let guess = speaker.order.get(place).filter(|_| report.full).copied();
            let Some(row) = row(said.function, said.version, guess) else {
                continue;
            };
            if report.full {
                match speaker.order.get_mut(place) {
                    Some(old) => *old = row,
                    None => speaker.order.push(row),
                }
            }
            let word = Word {
                deployed: said.deployed,
                queued: if said.deployed {
                    facts::narrow(said.queued)
                } else {
                    0
                },
                round: speaker.round,
            };
            let mut fact = speaker.say(row, word, column.fact(row));
            if said.deployed {
                fact.workers = facts::narrow(said.workers);
                fact.slots = facts::narrow(said.slots);
                fact.free = facts::narrow(said.free).min(fact.slots);
                fact.service_ms = match said.mute && said.slots == 0 {
                    true => facts::MUTE,
                    false => said.service_ms.min(facts::MUTE - 1),
                };
                fact.base = column.in_flight(row);
            }
            put(column, row, fact, &mut changed);
        }
        if report.full {
            speaker.order.truncate(report.functions.len());
            speaker.drop_unnamed(column, &mut changed);
            self.whole = true;
        }
        self.forget_silent(now, column, &mut changed);
        changed
    }

    /// What all of them say together, in short.
    pub(super) fn view(&self) -> Option<HeardView> {
        self.speakers.iter().map(|s| s.view).reduce(HeardView::with)
    }

    /// Up to when the region's facts are known to be complete; none if it never told all.
    pub(super) fn sure(&self) -> Option<Instant> {
        let newest = self.speakers.iter().map(|s| s.sure).max();
        newest.filter(|_| self.whole)
    }

    /// A region drains when all of its services say so. One that goes is its own `/health`'s business.
    pub(super) fn draining(&self, now: Instant) -> bool {
        let mut fresh = self.speakers.iter().filter(|s| s.fresh(now)).peekable();
        fresh.peek().is_some() && fresh.all(|s| s.draining)
    }

    /// The speaker of a report, new or known; none if the report is an old one.
    fn speaker(&mut self, report: &Report, now: Instant) -> Option<&mut Speaker> {
        let place = self.speakers.iter().position(|s| s.epoch == report.epoch);
        let place = match place {
            Some(place) if self.speakers[place].seq < report.seq => place,
            Some(_) => return None,
            None if self.speakers.len() < SPEAKERS => {
                self.speakers.push(Speaker::new(report.epoch, now));
                self.speakers.len() - 1
            }
            None => return None,
        };
        Some(&mut self.speakers[place])
    }

    fn forget_silent(&mut self, now: Instant, column: &mut Arc<Column>, changed: &mut Vec<Row>) {
        if !self.speakers.iter().any(|s| s.fresh(now)) {
            return;
        }
        while let Some(place) = self.speakers.iter().position(|s| !s.fresh(now)) {
            let mut gone = self.speakers.swap_remove(place);
            gone.round = gone.round.wrapping_add(1);
            gone.drop_unnamed(column, changed);
        }
    }
}

// === impl Speaker ===

impl Speaker {
    fn new(epoch: u64, now: Instant) -> Self {
        Self {
            epoch,
            seq: 0,
            draining: false,
            view: HeardView {
                at: now,
                queued: 0,
                running: 0,
            },
            sure: now,
            order: Vec::new(),
            words: Vec::new(),
            round: 0,
        }
    }

    fn fresh(&self, now: Instant) -> bool {
        freshness::believed(now.saturating_duration_since(self.view.at))
    }

    fn listen(&mut self, report: &Report, now: Instant) {
        if report.full || report.seq == self.seq + 1 {
            self.sure = now;
        }
        self.seq = report.seq;
        self.draining = report.draining;
        self.view = HeardView {
            at: now,
            queued: report.queued,
            running: report.running,
        };
    }

    /// Replaces this speaker's part of a fact.
    fn say(&mut self, row: Row, word: Word, mut fact: Fact) -> Fact {
        let place = row.0 as usize;
        if self.words.len() <= place {
            self.words.resize(place + 1, Word::default());
        }
        let old = std::mem::replace(&mut self.words[place], word);
        fact.queued = fact
            .queued
            .saturating_sub(old.queued)
            .saturating_add(word.queued);
        fact.speakers = fact
            .speakers
            .saturating_sub(u8::from(old.deployed))
            .saturating_add(u8::from(word.deployed));
        if fact.speakers == 0 {
            return Fact {
                lesson: fact.lesson,
                ..Fact::default()
            };
        }
        if word.deployed && !old.deployed && fact.lesson == Lesson::Absent {
            fact.lesson = Lesson::None;
        }
        fact
    }

    /// What the last full report did not name is not deployed any more.
    fn drop_unnamed(&mut self, column: &mut Arc<Column>, changed: &mut Vec<Row>) {
        for (place, row) in (0..self.words.len()).zip(0_u32..) {
            let word = self.words[place];
            if word.deployed && word.round != self.round {
                let gone = Word {
                    round: self.round,
                    ..Word::default()
                };
                let fact = self.say(Row(row), gone, column.fact(Row(row)));
                put(column, Row(row), fact, changed);
            }
        }
    }
}

fn put(column: &mut Arc<Column>, row: Row, fact: Fact, changed: &mut Vec<Row>) {
    if column.fact(row) != fact {
        facts::set(column, row, fact);
        changed.push(row);
    }
}
