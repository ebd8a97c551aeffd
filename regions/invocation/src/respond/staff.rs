//! What is known, when a call's time is over, of the workers that could have taken it, and how its refusal says that (pure).
//!
//! For whoever reads a 504: all workers busy and no worker there want different things done. Decides nothing about the call.
//! `front/wait.rs` asks when a call is too late and not before, `refusal.rs` puts the words into the detail.

use crate::pending::Manners;

/// Who could have taken a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Staff {
    /// Workers are there, or may be: not every kind tells of itself.
    Perhaps,
    /// Those that were heard lately take no calls now.
    Resting,
    /// None was heard lately.
    Nobody,
}

// === impl Staff ===

impl Staff {
    /// From how a version's workers attach, and how many of those that were heard lately take calls; nothing if none was heard.
    pub(crate) const fn of(manners: Manners, heard: Option<u32>) -> Self {
        match (manners, heard) {
            // These never say that they are there.
            (Manners::Late, _) => Self::Perhaps,
            (Manners::Claiming, None) => Self::Nobody,
            (Manners::Claiming, Some(0)) => Self::Resting,
            (Manners::Claiming, Some(_)) => Self::Perhaps,
        }
    }

    /// What to say after how long the call waited.
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::Perhaps => "",
            Self::Resting => ": those of this function version take no calls now",
            Self::Nobody => ": none is known here for this function version",
        }
    }
}
