//! What a worker makes of bytes off the wire, without any I/O.
//!
//! For tests and fuzz targets of other crates; nothing here uses it. Pure.

use frontdoor_protocol::names::{FunctionId, RegionName, VersionId};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method};

use crate::call::{self, Identity};
use crate::item::Item;

/// The call to a container.
#[derive(Debug)]
pub struct Call {
    /// Its method.
    pub method: Method,
    /// Its path and query.
    pub path: PathAndQuery,
    /// Its headers.
    pub headers: HeaderMap,
    /// The first bytes of its body.
    pub inline: Vec<u8>,
}

/// The worker that is asked.
#[derive(Debug)]
pub struct Worker(Identity);

// === impl Worker ===

impl Worker {
    /// A worker of this region and version.
    #[must_use]
    pub fn new(region: &RegionName, function: FunctionId, version: VersionId) -> Self {
        let name = HeaderValue::from_static("function");
        Self(Identity::new(region, function, name, version))
    }

    /// The call that a work item makes: its payload and the two NATS headers of ours.
    ///
    /// # Errors
    /// With the reason, if the worker would not run it.
    pub fn call(
        &self,
        payload: &[u8],
        claim: bool,
        deadline: Option<&str>,
        now_ms: u64,
    ) -> Result<Call, String> {
        let item = Item::decode(payload, claim, deadline).map_err(|error| error.to_string())?;
        if item.expired(now_ms) {
            return Err("expired".to_owned());
        }
        if item.whole {
            return Err("the request comes by GET attach".to_owned());
        }
        Ok(Call {
            headers: call::of_request(&item, &self.0, now_ms),
            method: item.method,
            path: item.path,
            inline: item.inline.into(),
        })
    }
}

/// The headers of a container's answer that travel on.
pub fn answer(headers: &mut HeaderMap) {
    call::of_answer(headers);
}
