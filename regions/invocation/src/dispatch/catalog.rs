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
    /// Where calls through the API go.
    pub(crate) path: String,
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
            path: function.invocation_path.clone(),
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

    /// The versions a call may get: the one it names, or all, but only those `allowed`, if not all are; at least one.
    pub(crate) fn candidates(
        &self,
        target: &Target,
        allowed: Option<&[VersionId]>,
    ) -> Result<Vec<&Arc<Version>>, Unknown> {
        let versions = self.0.get(&target.function).ok_or(Unknown::Function)?;
        let may = |version: &&Arc<Version>| {
            target.version.is_none_or(|id| id == version.id)
                && allowed.is_none_or(|ids| ids.contains(&version.id))
        };
        let versions: Vec<_> = versions.iter().filter(may).collect();
        if versions.is_empty() {
            return Err(Unknown::Version);
        }
        Ok(versions)
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
            invocation_path: "/".into(),
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
    fn a_version_is_named_or_all_may_be_drawn() {
        let catalog = catalog(Workers::Claiming);
        let check = |function: &str, version: Option<&str>| {
            let target = Target {
                function: function.parse().expect("valid"),
                version: version.map(|v| v.parse().expect("valid")),
            };
            let candidates = catalog.candidates(&target, None)?;
            Ok(candidates.iter().map(|v| v.id.to_string()).collect())
        };
        let these = |ids: &[&str]| Ok(ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>());
        assert_eq!(check(F, None), these(&[A, B]));
        assert_eq!(check(F, Some(B)), these(&[B]));
        assert_eq!(check(F, Some(F)), Err(Unknown::Version));
        assert_eq!(check(A, None), Err(Unknown::Function));
        assert_eq!(catalog.versions().count(), 2);
        let check = |allowed: &[&str], version: Option<&str>| {
            let target = Target {
                function: F.parse().expect("valid"),
                version: version.map(|v| v.parse().expect("valid")),
            };
            let allowed: Vec<VersionId> =
                allowed.iter().map(|v| v.parse().expect("valid")).collect();
            let candidates = catalog.candidates(&target, Some(&allowed))?;
            Ok(candidates.iter().map(|v| v.id.to_string()).collect())
        };
        assert_eq!(check(&[B], None), these(&[B]));
        assert_eq!(check(&[B], Some(A)), Err(Unknown::Version));
        assert_eq!(check(&[F], None), Err(Unknown::Version));
    }
}
