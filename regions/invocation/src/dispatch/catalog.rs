//! What is deployed in this region, and which version a call gets.
//!
//! Made once from the configuration. The names that NATS knows a version by are spelled here once, not per call.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use frontdoor_protocol::names::{FunctionId, RegionName, VersionId};
use frontdoor_protocol::subject;
use frontdoor_protocol::target::Target;

use super::watch::Watched;
use crate::config::{Function, Workers};
use crate::pending::Manners;

/// One deployed version.
pub(crate) struct Version {
    pub(crate) function: FunctionId,
    pub(crate) id: VersionId,
    /// Its work queue.
    pub(crate) stream: String,
    /// The consumer its workers share.
    pub(crate) consumer: String,
    /// Where its cancellations go.
    pub(crate) cancel: String,
    /// Whether a worker is known to run calls before it attaches: declared, or seen. Stays so: its like may be there
    /// still. Where it is not declared, a call that ends before the first such worker comes back with one (the very
    /// first call, if it is slow) is misjudged as not started.
    late: AtomicBool,
    /// Calls of it that wait for a worker; the desk counts.
    queued: AtomicI64,
    /// How often its stream was made; with `creating`, lets a crowd of calls make it once.
    pub(super) created: AtomicU64,
    pub(super) creating: tokio::sync::Mutex<()>,
    /// Whether its stream drops messages whose time is over by itself.
    ttl: AtomicBool,
    /// How its queue is, for the calls that have been in it for a while.
    pub(super) watched: Watched,
}

/// All deployed versions.
pub(crate) struct Catalog(HashMap<FunctionId, Vec<Arc<Version>>>);

/// What a call asks for and the region does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unknown {
    /// The function.
    Function,
    /// The version of a function that is here.
    Version,
}

// === impl Version ===

impl Version {
    fn new(region: &RegionName, function: &Function, id: VersionId) -> Self {
        Self {
            function: function.id,
            id,
            stream: subject::work_stream(region, id),
            consumer: subject::work_consumer(region, id),
            cancel: subject::cancel(id),
            late: AtomicBool::new(function.workers == Workers::Late),
            queued: AtomicI64::new(0),
            created: AtomicU64::new(0),
            creating: tokio::sync::Mutex::new(()),
            ttl: AtomicBool::new(false),
            watched: Watched::default(),
        }
    }

    /// How its workers attach, as far as it is known.
    pub(crate) fn manners(&self) -> Manners {
        if self.late.load(Ordering::Relaxed) {
            Manners::Late
        } else {
            Manners::Claiming
        }
    }

    /// Whether messages may say how long they are to be kept.
    pub(super) fn takes_ttl(&self) -> bool {
        self.ttl.load(Ordering::Relaxed)
    }

    /// Remembers what its stream can do.
    pub(super) fn set_takes_ttl(&self, takes: bool) {
        self.ttl.store(takes, Ordering::Relaxed);
    }

    /// Calls of it that wait for a worker here.
    pub(crate) fn queued(&self) -> u32 {
        self.queued.load(Ordering::Relaxed).try_into().unwrap_or(0)
    }

    /// One call more or less waits.
    pub(crate) fn count_queued(&self, by: i64) {
        self.queued.fetch_add(by, Ordering::Relaxed);
    }

    /// Remembers a worker that attached late.
    pub(crate) fn saw_late_worker(&self) {
        if !self.late.swap(true, Ordering::Relaxed) {
            tracing::info!(version = %self.id, "workers attach late: unanswered calls count as started");
        }
    }
}

// === impl Catalog ===

impl Catalog {
    /// From the configuration, which has at least one version per function.
    pub(crate) fn new(region: &RegionName, functions: &[Function]) -> Self {
        let versions = |f: &Function| {
            f.versions
                .iter()
                .map(|&id| Arc::new(Version::new(region, f, id)))
                .collect()
        };
        Self(functions.iter().map(|f| (f.id, versions(f))).collect())
    }

    /// The version a call gets: the one it names, or any, evenly by `seed`; but only one of those `allowed`, if not all
    /// are.
    pub(crate) fn pick(
        &self,
        target: &Target,
        allowed: Option<&[VersionId]>,
        seed: u64,
    ) -> Result<&Arc<Version>, Unknown> {
        let versions = self.0.get(&target.function).ok_or(Unknown::Function)?;
        let may = |version: &&Arc<Version>| allowed.is_none_or(|ids| ids.contains(&version.id));
        let versions: Vec<&Arc<Version>> = versions.iter().filter(may).collect();
        match target.version {
            Some(id) => versions
                .into_iter()
                .find(|v| v.id == id)
                .ok_or(Unknown::Version),
            None => {
                let count = u64::try_from(versions.len()).unwrap_or(1).max(1);
                let index = usize::try_from(seed % count).unwrap_or_default();
                versions.get(index).copied().ok_or(Unknown::Version)
            }
        }
    }

    /// All of them.
    pub(crate) fn versions(&self) -> impl Iterator<Item = &Arc<Version>> {
        self.0.values().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const F: &str = "0196f0c2-7e1f-7a55-8a2e-3d1b5f0c9a11";
    const A: &str = "7f2c1f0e-7f3b-4a55-8a2e-3d1b5f0c9a11";
    const B: &str = "8f2c1f0e-7f3b-4a55-8a2e-3d1b5f0c9a11";

    fn catalog(workers: Workers) -> Catalog {
        let function = Function {
            id: F.parse().expect("valid"),
            name: "echo".into(),
            versions: vec![A.parse().expect("valid"), B.parse().expect("valid")],
            workers,
        };
        Catalog::new(&"us-east".parse().expect("valid"), &[function])
    }

    #[test]
    fn late_workers_are_declared_or_seen() {
        let manners = |workers| {
            let catalog = catalog(workers);
            catalog.versions().map(|v| v.manners()).collect()
        };
        let all: Vec<Manners> = manners(Workers::Late);
        assert_eq!(all, [Manners::Late; 2]);
        let all: Vec<Manners> = manners(Workers::Claiming);
        assert_eq!(all, [Manners::Claiming; 2]);
    }

    #[test]
    fn a_version_is_named_or_drawn() {
        let catalog = catalog(Workers::Claiming);
        let check = |function: &str, version: Option<&str>, seed| {
            let target = Target {
                function: function.parse().expect("valid"),
                version: version.map(|v| v.parse().expect("valid")),
            };
            catalog.pick(&target, None, seed).map(|v| v.id.to_string())
        };
        assert_eq!(check(F, None, 0).as_deref(), Ok(A));
        assert_eq!(check(F, None, 7).as_deref(), Ok(B));
        assert_eq!(check(F, Some(B), 0).as_deref(), Ok(B));
        assert_eq!(check(F, Some(F), 0), Err(Unknown::Version));
        assert_eq!(check(A, None, 0), Err(Unknown::Function));
        assert_eq!(catalog.versions().count(), 2);
        let check = |allowed: &[&str], version: Option<&str>, seed| {
            let target = Target {
                function: F.parse().expect("valid"),
                version: version.map(|v| v.parse().expect("valid")),
            };
            let allowed: Vec<VersionId> =
                allowed.iter().map(|v| v.parse().expect("valid")).collect();
            let picked = catalog.pick(&target, Some(&allowed), seed);
            picked.map(|v| v.id.to_string())
        };
        assert_eq!(check(&[B], None, 0).as_deref(), Ok(B));
        assert_eq!(check(&[B], None, 1).as_deref(), Ok(B));
        assert_eq!(check(&[B], Some(A), 0), Err(Unknown::Version));
        assert_eq!(check(&[F], None, 0), Err(Unknown::Version));
    }
}
