//! The keys that this region knows by itself: those of the configuration, and those of the keys file, which is read
//! again whenever it changes.
//!
//! A file that is wrong is refused whole; the keys from before stay in use. Looking a key up takes the time it takes
//! for any other key of the same hash prefix: whole hashes are compared in constant time.

use std::collections::HashMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use frontdoor_protocol::key::KeyHash;
use frontdoor_protocol::names::FunctionId;
use subtle::ConstantTimeEq as _;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::super::counts::{Counts, Reread};
use super::super::verdict::{self, Verdict};
use crate::config::{self, Key};

/// How often the file is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// The keys known here.
pub(in crate::auth) struct Book {
    /// Those of the configuration, which stay.
    own: Vec<Key>,
    file: Option<PathBuf>,
    index: ArcSwap<Index>,
    counts: Arc<Counts>,
}

/// Keys by the first bytes of their hash.
#[derive(Default)]
struct Index(HashMap<[u8; 8], Vec<Key>>);

/// What tells that a file is another one than before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    inode: u64,
    device: u64,
    size: u64,
    changed: (i64, i64),
}

// === impl Book ===

impl Book {
    /// Reads the file, which the configuration has checked already. Should it have become wrong meanwhile, the keys of
    /// the configuration alone count until it is right.
    pub(in crate::auth) fn open(own: Vec<Key>, file: Option<PathBuf>, counts: Arc<Counts>) -> Self {
        let book = Self {
            index: ArcSwap::from_pointee(Index::new(own.iter())),
            own,
            file,
            counts,
        };
        book.counts.keys.set(count(book.own.len()));
        if let Some(path) = &book.file {
            book.read(path);
        }
        book
    }

    /// What is known here about a key and a function; `None` if the key is not.
    pub(in crate::auth) fn judge(
        &self,
        hash: &KeyHash,
        function: FunctionId,
        now: SystemTime,
    ) -> Option<Verdict> {
        let index = self.index.load();
        let key = index.find(hash)?;
        Some(verdict::judge(key, function, now))
    }

    /// Follows the file until `stop`.
    pub(in crate::auth) async fn follow(self: Arc<Self>, stop: CancellationToken) {
        let Some(path) = self.file.clone() else {
            return;
        };
        let mut seen = None;
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = look.tick() => {}
            }
            // Before the file is read, so that a change meanwhile is seen the next time.
            let mark = tokio::fs::metadata(&path).await.ok().map(|m| Mark::of(&m));
            if seen == Some(mark) {
                continue;
            }
            // What was read at start is read once more: nobody knows whether it changed since.
            let (book, path) = (Arc::clone(&self), path.clone());
            // The file may be long, and its disk slow.
            let read = tokio::task::spawn_blocking(move || book.read(&path)).await;
            seen = read.is_ok().then_some(mark);
        }
    }

    /// Takes over the file's keys, or says what is wrong with them.
    fn read(&self, path: &Path) {
        match config::keys(path, &self.own) {
            Ok(keys) => {
                let known = self.own.len() + keys.len();
                self.index
                    .store(Arc::new(Index::new(self.own.iter().chain(&keys))));
                self.counts.reread(Reread::Taken);
                self.counts.keys.set(count(known));
                tracing::info!(keys = known, "keys are read");
            }
            Err(error) => {
                self.counts.reread(Reread::Refused);
                tracing::error!(%error, "the keys file is refused; the keys from before stay in use");
            }
        }
    }
}

// === impl Index ===

impl Index {
    fn new<'a>(keys: impl Iterator<Item = &'a Key>) -> Self {
        let mut index = HashMap::<_, Vec<Key>>::new();
        for key in keys {
            index
                .entry(prefix(&key.hash))
                .or_default()
                .push(key.clone());
        }
        Self(index)
    }

    fn find(&self, hash: &KeyHash) -> Option<&Key> {
        let alike = self.0.get(&prefix(hash))?;
        alike
            .iter()
            .find(|key| bool::from(key.hash.0.ct_eq(&hash.0)))
    }
}

fn prefix(hash: &KeyHash) -> [u8; 8] {
    let mut prefix = [0; 8];
    prefix.copy_from_slice(&hash.0[..8]);
    prefix
}

fn count(keys: usize) -> i64 {
    i64::try_from(keys).unwrap_or(i64::MAX)
}

// === impl Mark ===

impl Mark {
    fn of(metadata: &Metadata) -> Self {
        Self {
            inode: metadata.ino(),
            device: metadata.dev(),
            size: metadata.size(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

#[cfg(test)]
mod tests {
    use prometheus::Registry;

    use super::*;
    use crate::config::Scope;

    const FUNCTION: &str = "0196f0c2-7e1f-7a55-8a2e-3d1b5f0c9a11";

    fn key(hash: KeyHash) -> Key {
        Key {
            name: "local".into(),
            hash,
            scope: Scope::All,
            expires: None,
        }
    }

    #[test]
    fn a_key_is_found_by_its_whole_hash() {
        let mut near = KeyHash([7; 32]);
        near.0[31] = 8;
        let mut third = near;
        third.0[30] = 0;
        let keys = [key(KeyHash([7; 32])), key(near)];
        let index = Index::new(keys.iter());
        assert_eq!(index.0.len(), 1, "one prefix");
        assert_eq!(index.find(&near).map(|key| key.hash), Some(near));
        assert!(index.find(&third).is_none());
        assert!(index.find(&KeyHash([0; 32])).is_none());
    }

    #[test]
    fn a_wrong_file_changes_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("keys.toml");
        let counts = Arc::new(Counts::register(&Registry::new()).expect("fresh"));
        let write = |text: &str| std::fs::write(&path, text).expect("written");
        let text = |hash: KeyHash| {
            format!("[[keys]]\nname = \"a\"\nsha256 = \"{hash}\"\nfunctions = [\"*\"]\n")
        };
        let [own, one, two] = [1, 2, 3].map(|n| KeyHash([n; 32]));
        write(&text(one));
        let book = Book::open(vec![key(own)], Some(path.clone()), counts);
        let function = FUNCTION.parse().expect("valid");
        let known = |hash: &KeyHash| {
            let verdict = book.judge(hash, function, SystemTime::UNIX_EPOCH);
            verdict.is_some()
        };
        assert!(known(&own) && known(&one) && !known(&two));
        for wrong in ["[[keys]]", "keys = 1", &text(own), "\u{0}"] {
            write(wrong);
            book.read(&path);
            assert!(known(&own) && known(&one), "{wrong}");
        }
        std::fs::remove_file(&path).expect("there");
        book.read(&path);
        assert!(known(&one), "a lost file");
        write(&text(two));
        book.read(&path);
        assert!(known(&own) && !known(&one) && known(&two));
        assert_eq!(book.counts.keys.get(), 2);
    }
}
