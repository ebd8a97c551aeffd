//! Takes a free loopback block for a stack. The control listener that comes with it is the lock: the block is ours as
//! long as it is open, also against another supervisor that picks at the same moment.

use std::io;
use std::net::{SocketAddrV4, TcpListener};

use anyhow::{Context as _, bail};
use frontdoor_protocol::names::RegionName;

use super::plan::{Block, Plan};

/// Blocks tried before giving up. Two stacks meet in one try of thousands, so many failures mean another reason.
const TRIES: usize = 16;

/// Plans a stack on a free block, and holds that block.
pub(super) fn claim(regions: &[RegionName]) -> anyhow::Result<(Plan, TcpListener)> {
    let mut taken = None;
    for _ in 0..TRIES {
        let plan = Plan::new(Block::pick(rand::random()), regions.to_vec())?;
        let lock = match TcpListener::bind(plan.control()) {
            Ok(lock) => lock,
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => continue,
            Err(error) => {
                return Err(error).with_context(|| format!("{} cannot be opened", plan.control()));
            }
        };
        match plan.listens().into_iter().find(|addr| !is_free(*addr)) {
            None => return Ok((plan, lock)),
            Some(addr) => taken = Some(addr),
        }
    }
    match taken {
        Some(addr) => bail!(
            "port {} is taken on every loopback address: something listens on 0.0.0.0:{}; stop it first",
            addr.port(),
            addr.port()
        ),
        None => bail!("no free block of loopback addresses found in {TRIES} tries"),
    }
}

/// Whether a TCP address can be listened on now.
pub(super) fn is_free(addr: SocketAddrV4) -> bool {
    TcpListener::bind(addr).is_ok()
}
