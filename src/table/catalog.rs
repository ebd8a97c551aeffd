//! Names to rows: which place a function, or one of its versions, has in every region's column of facts.
//!
//! Pure. A decision looks a function up once and then reads facts by number. A function with one version shares that
//! version's row; with several it has a row of its own, which sums them up. Written by the table only.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use frontdoor_protocol::names::{FunctionId, VersionId};

use crate::region::Row;

/// More rows than this are not kept: what does not fit is routed as if nothing were reported of it.
pub(super) const ROWS: usize = 65_536;

/// The names of all rows; immutable once it is in a snapshot.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    functions: HashMap<FunctionId, Row, Fast>,
    versions: HashMap<(FunctionId, VersionId), Row, Fast>,
    /// Whose each row is; none for one that sums up versions.
    names: Vec<Option<(FunctionId, VersionId)>>,
}

/// What a version that the catalog had not seen meant for its function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Added {
    /// It is the function's only version so far, and its row is the function's.
    First(Row),
    /// It is another version of a function whose row sums up `others`.
    Another { row: Row, sum: Row },
    /// It is the second version: `first` was the function's row, from now on `sum` is.
    Second { row: Row, first: Row, sum: Row },
    /// No room is left.
    Full,
}

// === impl Catalog ===

impl Catalog {
    /// The row of what a call asks for.
    #[must_use]
    pub fn find(&self, function: FunctionId, version: Option<VersionId>) -> Option<Row> {
        match version {
            None => self.functions.get(&function).copied(),
            Some(version) => self.version(function, version),
        }
    }

    /// All functions, each with the row that speaks for all of its versions.
    pub fn functions(&self) -> impl Iterator<Item = (FunctionId, Row)> {
        self.functions
            .iter()
            .map(|(function, row)| (*function, *row))
    }

    /// The row of one version.
    pub(super) fn version(&self, function: FunctionId, version: VersionId) -> Option<Row> {
        self.versions.get(&(function, version)).copied()
    }

    /// Whether a row is this version's.
    pub(super) fn is(&self, row: Row, function: FunctionId, version: VersionId) -> bool {
        self.names.get(row.0 as usize) == Some(&Some((function, version)))
    }

    /// Gives a version a row. It must not have one.
    pub(super) fn add(&mut self, function: FunctionId, version: VersionId, sums: &Sums) -> Added {
        if self.names.len() + 2 > ROWS {
            return Added::Full;
        }
        let row = self.next(Some((function, version)));
        self.versions.insert((function, version), row);
        match self.functions.get(&function).copied() {
            None => {
                self.functions.insert(function, row);
                Added::First(row)
            }
            Some(sum) if sums.is_sum(sum) => Added::Another { row, sum },
            Some(first) => {
                let sum = self.next(None);
                self.functions.insert(function, sum);
                Added::Second { row, first, sum }
            }
        }
    }

    /// Gives a function a row of which no region has told anything, for what live traffic learns of it.
    pub(super) fn learn(&mut self, function: FunctionId) -> Option<Row> {
        if self.names.len() >= ROWS {
            return None;
        }
        let row = self.next(None);
        self.functions.insert(function, row);
        Some(row)
    }

    fn next(&mut self, name: Option<(FunctionId, VersionId)>) -> Row {
        self.names.push(name);
        // There are no more than `ROWS`.
        Row(u32::try_from(self.names.len() - 1).unwrap_or(u32::MAX))
    }
}

/// Which rows sum up others.
#[derive(Debug, Default)]
pub(super) struct Sums {
    parts: HashMap<Row, Vec<Row>, Fast>,
    sum_of: HashMap<Row, Row, Fast>,
}

// === impl Sums ===

impl Sums {
    /// From now on, `part` counts in `sum`.
    pub(super) fn join(&mut self, part: Row, sum: Row) {
        self.parts.entry(sum).or_default().push(part);
        self.sum_of.insert(part, sum);
    }

    pub(super) fn is_sum(&self, row: Row) -> bool {
        self.parts.contains_key(&row)
    }

    /// The row that sums up this one, if there is one.
    pub(super) fn sum_of(&self, part: Row) -> Option<Row> {
        self.sum_of.get(&part).copied()
    }

    /// What a row sums up.
    pub(super) fn parts(&self, sum: Row) -> &[Row] {
        self.parts.get(&sum).map_or(&[], Vec::as_slice)
    }
}

/// Ids are random by nature, but reports come from outside: two multiplications with a folded product are enough to
/// keep them from being chosen into one bucket by accident, and the catalog's bound keeps the rest small.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Folded(u64);

pub(super) type Fast = BuildHasherDefault<Folded>;

// === impl Folded ===

impl Hasher for Folded {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.write_u64(u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            let mut word = [0; 8];
            word[..rest.len()].copy_from_slice(rest);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word ^ 0x9e37_79b9_7f4a_7c15)
            .wrapping_mul(0xa076_1d64_78bd_642f_u128);
        // The low half is meant.
        #[allow(clippy::cast_possible_truncation)]
        let folded = (product as u64) ^ ((product >> 64) as u64);
        self.0 = folded;
    }

    fn write_usize(&mut self, _length: usize) {
        // The length prefix of a fixed-size id says nothing.
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
