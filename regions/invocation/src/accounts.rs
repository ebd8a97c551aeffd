//! How much of the waiting room one account may take, so that a flood of one keeps nobody else out.
//!
//! Counts are kept in shards whose locks are held for a map operation and never over an await; without a bound none is kept.
//! Knows nothing of calls: whoever lets one in holds its share for as long as the call is here.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Enough that two cores seldom meet at one.
const SHARDS: usize = 16;

type Counts = HashMap<Arc<str>, usize>;

/// The accounts that have calls here.
pub(crate) struct Accounts {
    /// Calls of one account; unbounded if `None`.
    limit: Option<usize>,
    hasher: RandomState,
    shards: [Mutex<Counts>; SHARDS],
}

/// One call's share. Given back when dropped.
pub(crate) struct Share {
    accounts: Arc<Accounts>,
    account: Arc<str>,
}

/// The account has as many calls here as it may.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Crowded;

// === impl Accounts ===

impl Accounts {
    /// Nobody has a call yet.
    pub(crate) fn new(limit: Option<usize>) -> Arc<Self> {
        Arc::new(Self {
            limit,
            hasher: RandomState::new(),
            shards: Default::default(),
        })
    }

    /// Takes a share, if there is one left for this account; none is needed without a bound.
    pub(crate) fn admit(self: &Arc<Self>, account: &Arc<str>) -> Result<Option<Share>, Crowded> {
        let Some(limit) = self.limit else {
            return Ok(None);
        };
        let mut counts = self.shard(account);
        match counts.get_mut(account) {
            Some(open) if *open >= limit => return Err(Crowded),
            Some(open) => *open += 1,
            None => _ = counts.insert(Arc::clone(account), 1),
        }
        Ok(Some(Share {
            accounts: Arc::clone(self),
            account: Arc::clone(account),
        }))
    }

    fn shard(&self, account: &Arc<str>) -> MutexGuard<'_, Counts> {
        let shards = u64::try_from(SHARDS).unwrap_or(u64::MAX);
        let index = usize::try_from(self.hasher.hash_one(account) % shards).unwrap_or(0);
        // Nothing panics while it holds the lock.
        self.shards[index]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut counts = self.accounts.shard(&self.account);
        if let Some(open) = counts.get_mut(&self.account) {
            *open -= 1;
            if *open == 0 {
                counts.remove(&self.account);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_account_has_its_own_bound_and_nothing_is_left_behind() {
        let accounts = Accounts::new(Some(2));
        let (one, two) = (Arc::<str>::from("one"), Arc::<str>::from("two"));
        let first = accounts.admit(&one).expect("room");
        let second = accounts.admit(&one).expect("room");
        assert_eq!(accounts.admit(&one).err(), Some(Crowded));
        let other = accounts.admit(&two).expect("room of its own");
        drop(first);
        let third = accounts.admit(&one).expect("room again");
        assert_eq!(accounts.admit(&one).err(), Some(Crowded));
        drop((second, third, other));
        let left: usize = accounts
            .shards
            .iter()
            .map(|s| s.lock().expect("sound").len())
            .sum();
        assert_eq!(left, 0);
    }

    #[test]
    fn without_a_bound_nothing_is_counted() {
        let accounts = Accounts::new(None);
        let one = Arc::<str>::from("one");
        assert!((0..10).all(|_| matches!(accounts.admit(&one), Ok(None))));
    }
}
