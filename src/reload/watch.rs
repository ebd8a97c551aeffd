//! Whether files changed: by time, size and inode, which a rewritten file, a renamed one and Kubernetes' swapped links all
//! change. Asked in turns rather than told by the kernel: a turn is a few system calls, and misses nothing.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

/// What a file looks like from outside; none if it is not there.
type Look = Option<(i64, i64, u64, u64)>;

/// Files that are followed.
#[derive(Debug)]
pub struct Watched {
    files: Vec<PathBuf>,
    known: Vec<Look>,
    last: Vec<Look>,
}

// === impl Watched ===

impl Watched {
    /// Follows files from how they look now: to be called before they are read.
    pub(super) async fn new(files: Vec<PathBuf>) -> Self {
        let known = look(&files).await;
        Self {
            files,
            last: known.clone(),
            known,
        }
    }

    /// The files that are followed.
    pub(super) fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Whether they look different, and looked the same the last time: whoever writes them is done.
    pub(super) async fn changed(&mut self) -> bool {
        let now = look(&self.files).await;
        let settled = now == self.last;
        let changed = settled && now != self.known;
        if changed {
            self.known.clone_from(&now);
        }
        self.last = now;
        changed
    }
}

async fn look(files: &[PathBuf]) -> Vec<Look> {
    let mut looks = Vec::with_capacity(files.len());
    for file in files {
        let metadata = tokio::fs::metadata(file).await.ok();
        looks.push(metadata.map(|m| (m.mtime(), m.mtime_nsec(), m.size(), m.ino())));
    }
    looks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_change_is_seen_once_and_only_when_it_is_whole() {
        let dir = tempfile::tempdir().expect("folder");
        let file = dir.path().join("edge.toml");
        std::fs::write(&file, "a").expect("written");
        let mut watched = Watched::new(vec![file.clone()]).await;
        assert!(!watched.changed().await);
        std::fs::write(&file, "ab").expect("written");
        assert!(!watched.changed().await, "it may be half of it");
        assert!(watched.changed().await);
        assert!(!watched.changed().await);
        // Another file under the same name, as certificate tools do.
        std::fs::write(dir.path().join("new"), "ab").expect("written");
        std::fs::rename(dir.path().join("new"), &file).expect("renamed");
        assert!(!watched.changed().await);
        assert!(watched.changed().await);
        std::fs::remove_file(&file).expect("removed");
        assert!(!watched.changed().await);
        assert!(watched.changed().await);
    }
}
