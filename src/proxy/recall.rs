//! Calls a call back that waits in a region which has nobody for it, when another one has.
//!
//! With no worker anywhere a call waits where the first one will most probably come, for as long as its caller does. If it
//! comes elsewhere, reports say so, and the edge tells the region on the connection on which the call went; the region gives
//! the call back if nobody has claimed it (its own answer says so), and it moves as any other that did not begin. Nothing
//! here is waited for, and a call that nobody calls back waits as it did.

use std::time::Duration;

use frontdoor_protocol::headers;
use http::HeaderValue;
use pingora_core::protocols::http::ServerSession;

use super::EdgeProxy;
use super::context::Context;
use super::exchange::Exchange;
use super::replay::Replay;
use crate::route::{self, Policy};

/// How often a call without an answer looks whether it should be elsewhere; one that waits for long, less often.
const LOOK: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(2));

/// How long until the next look of a call that has waited so long: ten thousand that wait are thousands of looks a second.
pub(super) fn until_look(waited: Duration) -> Duration {
    (waited / 8).clamp(LOOK.0, LOOK.1)
}

// === impl EdgeProxy ===

impl EdgeProxy {
    /// Looks once whether the call would be better off elsewhere, and if so, says so.
    pub(super) fn look(
        &self,
        exchange: &mut Exchange,
        session: &mut ServerSession,
        ctx: &mut Context,
        replay: &Replay,
    ) {
        let Some(attempt) = &ctx.attempt else {
            return;
        };
        let decision = attempt.decision;
        let may = ctx.attempts <= self.policy.load().moves
            && ctx.polled().is_none()
            && session.is_body_done()
            && replay.chunks().is_some();
        let better = |policy: &Policy| {
            route::better(&self.snapshots.load(), policy, &ctx.ask(), decision.region)
        };
        if !may || !better(&self.policy.load()) {
            return;
        }
        let endpoint = crate::region::Endpoint {
            region: decision.region,
            address: decision.address,
        };
        let scheme = match self.pool.secures(endpoint) {
            true => "https",
            false => "http",
        };
        let uri = format!("{scheme}://{}{}", decision.address, headers::RECALL_PATH);
        let id = HeaderValue::from_str(&ctx.id.to_string());
        let request = id.map_err(http::Error::from).and_then(|id| {
            let request = http::Request::post(uri).version(http::Version::HTTP_2);
            request.header(headers::REQUEST_ID, id).body(())
        });
        if let Ok(request) = request {
            ctx.recalled = exchange.mention(request);
        }
    }
}
