//! The load client of the drills, pointed at a [`World`].

use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use tokio::runtime::{Builder, Runtime};

use frontdoor_ops::load::{Caller, Load as Steady, Plan, trusting};

pub use frontdoor_ops::load::{Call, failures, percentile};

use crate::world::World;

/// A load that runs, on a thread of its own: what the test waits for meanwhile (a command that kills a region) must not
/// hold calls back and then send them all at once.
#[derive(Debug)]
pub struct Load {
    load: Steady,
    runtime: Runtime,
    /// When it began.
    pub started: Instant,
}

// === impl Load ===

impl Load {
    /// Starts `rate` POSTs a second, evenly spaced, on four connections; late ones are sent at once (open loop).
    ///
    /// # Errors
    /// If the edge cannot be reached.
    pub async fn start(
        world: &Arc<World>,
        rate: u32,
        headers: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        Self::at(world, rate, headers, "/load/").await
    }

    /// The same at paths that begin with `path` and end with the number of the call.
    ///
    /// # Errors
    /// As [`Load::start`].
    pub async fn at(
        world: &Arc<World>,
        rate: u32,
        headers: &[(&str, &str)],
        path: &str,
    ) -> anyhow::Result<Self> {
        let ca = std::fs::read(world.dir.join("ca.pem"))?;
        let headers = headers.iter().map(|&(n, v)| (n.to_owned(), v.to_owned()));
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("load")
            .enable_all()
            .build()
            .context("a thread for the load")?;
        let plan = Plan {
            caller: Caller {
                address: world.address("/edge/https"),
                host: world.host(),
                tls: trusting(&ca, &["h2"])?,
            },
            key: world.endpoint("/api_key").to_owned(),
            rate,
            connections: 4,
            path: path.to_owned(),
            headers: headers.collect(),
            body: 64,
            large_every: 0,
            large_body: 0,
        };
        let load = runtime.spawn(Steady::start(plan)).await??;
        let started = load.started;
        Ok(Self {
            load,
            runtime,
            started,
        })
    }

    /// Ends the load, waits for what is under way, and returns every call.
    ///
    /// # Panics
    /// If the load itself did.
    pub async fn end(self) -> Vec<Call> {
        let calls = self.runtime.spawn(self.load.end()).await;
        self.runtime.shutdown_background();
        calls.expect("the load did not panic")
    }
}
