//! Every NATS subject, stream and consumer name is built here, so that no other file formats one.
//!
//! `rq…` and `nvcf.…` are NVCF's, `frontdoor.…` is ours; they stay inside a region. `fd.…` is chatter, the only prefix
//! that crosses a leaf link.

use crate::names::{RegionName, RequestId, VersionId};

/// The only subjects that cross a leaf node link.
pub const CHATTER: &str = "fd.>";
/// Reports of all regions.
pub const REPORTS: &str = "fd.report.*";
/// An edge that has just come to chatter asks all regions for everything: what changes alone tells nothing of the rest.
pub const ASK_REPORTS: &str = "fd.ask-reports";
/// Verdicts of all edges.
pub const VERDICTS: &str = "fd.edge.*.verdict";
/// Revoked API keys, for every region at once (`revocation.rs`).
pub const REVOKED: &str = "fd.revoked";
/// The inbox prefix for requests over chatter: ordinary inboxes do not cross the leaf.
pub const CHATTER_INBOX: &str = "fd.inbox";

/// One queued call: `rq.<region>.<version>.<request>`.
#[must_use]
pub fn work(region: &RegionName, version: VersionId, request: RequestId) -> String {
    format!("rq.{region}.{version}.{request}")
}

/// All queued calls of a version: what its stream holds.
#[must_use]
pub fn work_of_version(region: &RegionName, version: VersionId) -> String {
    format!("rq.{region}.{version}.>")
}

/// The work queue of a version.
#[must_use]
pub fn work_stream(region: &RegionName, version: VersionId) -> String {
    format!("rq_{region}_{version}")
}

/// The durable pull consumer which all workers of a version share.
#[must_use]
pub fn work_consumer(region: &RegionName, version: VersionId) -> String {
    format!("rq_{region}_{version}_workers")
}

/// Cancellations of a version's calls; the payload is the request id as text.
#[must_use]
pub fn cancel(version: VersionId) -> String {
    format!("nvcf.cancel.{version}")
}

/// Where the worker of a call that answered 202 is asked for the rest, if it attaches late (NVCF): a request, to which it
/// says something at once; the answer comes by attach.
#[must_use]
pub fn polling(request: RequestId) -> String {
    format!("rq_polling.{request}")
}

/// Whose a call is that a late worker answered 202 to.
#[must_use]
pub fn tracking(region: &RegionName, request: RequestId) -> String {
    format!("requestToFunctionVersion.{region}.{request}")
}

/// All such calls of a region: what its tracking stream holds.
#[must_use]
pub fn tracking_of_region(region: &RegionName) -> String {
    format!("requestToFunctionVersion.{region}.>")
}

/// The tracking stream of a region.
#[must_use]
pub fn tracking_stream(region: &RegionName) -> String {
    format!("requestToFunctionVersion_{region}")
}

/// Where the workers of a version speak of themselves (`presence.rs`).
#[must_use]
pub fn worker_presence(region: &RegionName, version: VersionId) -> String {
    format!("frontdoor.{region}.worker.{version}")
}

/// Where a worker says that a canary came to it.
#[must_use]
pub fn canary(id: RequestId) -> String {
    format!("frontdoor.canary.{id}")
}

/// All workers of a region.
#[must_use]
pub fn workers_of_region(region: &RegionName) -> String {
    format!("frontdoor.{region}.worker.*")
}

/// Where the invocation services of a region speak of themselves to its workers (`presence.rs`).
#[must_use]
pub fn service_presence(region: &RegionName) -> String {
    format!("frontdoor.{region}.invocation")
}

/// Where the invocation services of a region ask each other who holds an answer (`locate.rs`); the payload is the request
/// id as text.
#[must_use]
pub fn locate(region: &RegionName) -> String {
    format!("frontdoor.{region}.locate")
}

/// A region's own news (`report.rs`).
#[must_use]
pub fn report(region: &RegionName) -> String {
    format!("fd.report.{region}")
}

/// What one edge sees (`verdict.rs`).
#[must_use]
pub fn verdict(edge: u64) -> String {
    format!("fd.edge.{edge:016x}.verdict")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_nvcfs() {
        let region = "us-east".parse().expect("valid");
        let version = "0196f0c2-7e1f-7a55-8a2e-3d1b5f0c9a11"
            .parse()
            .expect("valid");
        let request = "7f2c1f0e-7f3b-4a55-8a2e-3d1b5f0c9a11"
            .parse()
            .expect("valid");
        assert_eq!(
            work(&region, version, request),
            "rq.us-east.0196f0c2-7e1f-7a55-8a2e-3d1b5f0c9a11.7f2c1f0e-7f3b-4a55-8a2e-3d1b5f0c9a11"
        );
        assert_eq!(
            work_stream(&region, version),
            "rq_us-east_0196f0c2-7e1f-7a55-8a2e-3d1b5f0c9a11"
        );
        assert_eq!(
            work_consumer(&region, version),
            "rq_us-east_0196f0c2-7e1f-7a55-8a2e-3d1b5f0c9a11_workers"
        );
        assert_eq!(
            cancel(version),
            "nvcf.cancel.0196f0c2-7e1f-7a55-8a2e-3d1b5f0c9a11"
        );
        assert_eq!(
            polling(request),
            "rq_polling.7f2c1f0e-7f3b-4a55-8a2e-3d1b5f0c9a11"
        );
        assert_eq!(
            tracking(&region, request),
            "requestToFunctionVersion.us-east.7f2c1f0e-7f3b-4a55-8a2e-3d1b5f0c9a11"
        );
        assert_eq!(tracking_stream(&region), "requestToFunctionVersion_us-east");
    }
}
