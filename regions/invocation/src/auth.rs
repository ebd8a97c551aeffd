//! May this caller call this function? Finds out from the `Authorization` header: revoked keys first, then the keys
//! known here, then the authority outside, if there is one.
//!
//! A key is looked up by its SHA-256; it is neither stored nor compared nor logged, and only NVCF's own authority, which
//! keeps the keys, ever gets it. Called once per call by `front/invoke.rs`. The judgement itself is `verdict.rs`.

// In dependency order.

mod counts;

mod verdict;

mod revoked;

mod cache;

mod authority;

mod revocations;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use frontdoor_protocol::key::KeyHash;
use frontdoor_protocol::target::Target;
use http::{HeaderValue, Method};
use prometheus::Registry;
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::authority::Authority;
use self::authority::file::Book;
use self::cache::{Cache, Used};
use self::counts::Counts;
use self::revoked::Revoked;
use self::verdict::Policy;
use crate::config;
use crate::tasks::Tasks;

pub use self::authority::TrustError;
pub(crate) use revocations::hear as hear_revocations;
pub(crate) use verdict::{Caller, Denied, Verdict, bearer};

/// Why nobody can be judged.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// The authority cannot be known by its certificate.
    #[error("the authority cannot be asked over TLS: {0}")]
    Trust(#[from] TrustError),
    /// A metric's name is taken twice; a fault of ours.
    #[error("metrics cannot be registered: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// Who may call.
pub(crate) struct Auth {
    book: Arc<Book>,
    outside: Option<Outside>,
    /// Held for a look or an entry, never while anything is awaited.
    revoked: RwLock<Revoked>,
    counts: Arc<Counts>,
}

/// The authority outside, and what is known of its verdicts.
struct Outside {
    authority: Authority,
    cache: Cache,
    /// Calls that may wait for a verdict.
    waiting: Semaphore,
}

/// What of a call an authority may be told.
pub(crate) struct CallHead<'a> {
    pub(crate) authorization: Option<&'a HeaderValue>,
    pub(crate) method: &'a Method,
    pub(crate) host: &'a str,
    pub(crate) path: &'a str,
}

// === impl Auth ===

impl Auth {
    /// From the settings. Connections to an authority live in `tasks` until `stop`; at most `waiting` calls wait for it.
    ///
    /// # Errors
    /// If the certificates that it is to be known by cannot be used.
    pub(crate) fn new(
        settings: config::Auth,
        waiting: usize,
        registry: &Registry,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> Result<Self, AuthError> {
        let counts = Arc::new(Counts::register(registry)?);
        let policy = Policy {
            ttl: settings.ttl,
            negative_ttl: settings.negative_ttl,
            stale: settings.stale,
        };
        let tasks = Tasks {
            tracker: tasks.clone(),
            stop: stop.clone(),
        };
        let outside = match settings.authority {
            None => None,
            Some(authority) => Some(Outside {
                authority: Authority::new(authority, tasks, Arc::clone(&counts))?,
                cache: Cache::new(settings.cache, policy),
                waiting: Semaphore::new(waiting),
            }),
        };
        let book = Book::open(settings.keys, settings.keys_file, Arc::clone(&counts));
        Ok(Self {
            book: Arc::new(book),
            outside,
            revoked: RwLock::new(Revoked::new()),
            counts,
        })
    }

    /// Judges one call: who calls, or why not. Waits for an authority, if that must be asked, and never for longer than
    /// its time limit.
    pub(crate) async fn judge(&self, call: &CallHead<'_>, target: Target) -> Verdict {
        let token = match call.authorization {
            None => return Err(Denied::Missing),
            Some(value) => bearer(value.as_bytes()).ok_or(Denied::Malformed)?,
        };
        let hash = KeyHash(Sha256::digest(token).into());
        self.unless_revoked(&hash)?;
        if let Some(verdict) = self.book.judge(&hash, target.function, SystemTime::now()) {
            return verdict;
        }
        let outside = self.outside.as_ref().ok_or(Denied::Unknown)?;
        let caller = self.ask(outside, hash, token, call, target).await?;
        // Once more: it may have been revoked while we waited.
        self.unless_revoked(&hash)?;
        Ok(caller)
    }

    async fn ask(
        &self,
        outside: &Outside,
        hash: KeyHash,
        token: &[u8],
        call: &CallHead<'_>,
        target: Target,
    ) -> Verdict {
        let question = outside.authority.question(hash, target, call);
        let at = Instant::now().into_std();
        if let Some(verdict) = outside.cache.known(&question, at) {
            return verdict;
        }
        let _place = outside.waiting.try_acquire().map_err(|_| Denied::Unsure)?;
        let ask = || async {
            let answer = outside.authority.ask(&question, token).await;
            (answer, Instant::now().into_std())
        };
        let (verdict, used) = outside.cache.verdict(&question, at, ask).await;
        if used == Used::Stale {
            self.counts.stale.inc();
        }
        verdict
    }

    /// Refuses a key from now on; says whether that is news.
    pub(crate) fn revoke(&self, hash: KeyHash) -> bool {
        let mut revoked = self.revoked.write().unwrap_or_else(PoisonError::into_inner);
        revoked.insert(hash, Instant::now().into_std())
    }

    fn unless_revoked(&self, hash: &KeyHash) -> Result<(), Denied> {
        let revoked = self.revoked.read().unwrap_or_else(PoisonError::into_inner);
        match revoked.contains(hash, Instant::now().into_std()) {
            true => Err(Denied::Revoked),
            false => Ok(()),
        }
    }

    /// Follows the keys file until `stop`.
    pub(crate) async fn follow_keys(self: Arc<Self>, stop: CancellationToken) {
        Arc::clone(&self.book).follow(stop).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Key, Scope};

    const FUNCTION: &str = "0196f0c2-7e1f-7a55-8a2e-3d1b5f0c9a11";

    #[tokio::test]
    async fn a_key_is_found_by_its_hash_until_it_is_revoked() {
        let hash = KeyHash(Sha256::digest(b"open sesame").into());
        let settings = config::Auth {
            keys: vec![Key {
                name: "local".into(),
                hash,
                scope: Scope::All,
                expires: None,
            }],
            keys_file: None,
            authority: None,
            cache: 1,
            ttl: Default::default(),
            negative_ttl: Default::default(),
            stale: Default::default(),
        };
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let auth = Auth::new(settings, 1, &Registry::new(), &tasks, &stop).expect("fresh");
        let target = Target {
            function: FUNCTION.parse().expect("valid"),
            version: None,
        };
        let judge = async |text: Option<&'static str>| {
            let value = text.map(HeaderValue::from_static);
            let call = CallHead {
                authorization: value.as_ref(),
                method: &Method::GET,
                host: "",
                path: "/",
            };
            let verdict = auth.judge(&call, target).await;
            verdict.map(|caller| caller.subject.to_string())
        };
        let good = Some("Bearer open sesame");
        assert_eq!(judge(good).await.as_deref(), Ok("local"));
        let unknown = Some("Bearer open sesam");
        assert_eq!(judge(unknown).await, Err(Denied::Unknown));
        let basic = Some("Basic b3Blbg==");
        assert_eq!(judge(basic).await, Err(Denied::Malformed));
        assert_eq!(judge(None).await, Err(Denied::Missing));
        assert!(auth.revoke(hash) && !auth.revoke(hash));
        assert_eq!(judge(good).await, Err(Denied::Revoked));
    }
}
