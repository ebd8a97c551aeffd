//! The state folder: who may use it, where things lie in it, and how they are written.
//!
//! One supervisor per folder, held by a lock on the file `lock`, which the kernel drops when its holder dies however
//! that happens. Files appear whole or not at all, and those with secrets are readable by their owner only. Besides
//! configuration it keeps the facts that stay the same from start to start (ids and API keys), and the list of
//! processes, by which a later supervisor finds what a dead one left running.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::files::Facts;

/// Everybody may read it.
const PLAIN: u32 = 0o644;
/// Only the owner may read it.
const SECRET: u32 = 0o600;

/// The facts as written in `stack.json`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    function: String,
    version: String,
    api_key: String,
    api_key_none: String,
    #[serde(default = "secret")]
    admin_token: String,
}

/// A state folder.
#[derive(Debug, Clone)]
pub(super) struct Folder(PathBuf);

/// The right to run a stack in a folder, for as long as this lives.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "open is what it is for")] File);

/// Names of the files that others read.
pub(super) const ENDPOINTS: &str = "endpoints.json";
pub(super) const CONTROL: &str = "control.json";
pub(super) const PROCESSES: &str = "processes.json";
pub(super) const API_KEY: &str = "api_key";
pub(super) const ADMIN_TOKEN: &str = "admin_token";
pub(super) const CA: &str = "ca.pem";
const FACTS: &str = "stack.json";

// === impl Folder ===

impl Folder {
    /// Names a folder; nothing is read or made.
    pub(super) fn new(dir: &Path) -> anyhow::Result<Self> {
        let path =
            std::path::absolute(dir).with_context(|| format!("{} is not a path", dir.display()))?;
        Ok(Self(path))
    }

    /// The path of something in it.
    pub(super) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.join(name)
    }

    /// A part's log.
    pub(super) fn log(&self, stem: &str) -> PathBuf {
        self.0.join("logs").join(format!("{stem}.log"))
    }

    /// Makes the folder and takes it, or says who has it.
    pub(super) fn take(&self) -> anyhow::Result<Lock> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.0)
            .with_context(|| format!("{} cannot be made", self.0.display()))?;
        // Whoever only asks whether the folder is in use holds it for an instant.
        let mut tries = 0;
        let lock = loop {
            match self.try_lock()? {
                None if tries < 20 => std::thread::sleep(Duration::from_millis(10)),
                lock => break lock,
            }
            tries += 1;
        };
        match lock {
            Some(lock) => Ok(lock),
            None => bail!(
                "a stack is running in {} already: stop it with `frontdoor local down`, or give this one another --dir",
                self.0.display()
            ),
        }
    }

    /// Whether a supervisor holds the folder.
    pub(super) fn in_use(&self) -> anyhow::Result<bool> {
        Ok(self.0.is_dir() && self.try_lock()?.is_none())
    }

    fn try_lock(&self) -> anyhow::Result<Option<Lock>> {
        let path = self.path("lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(SECRET)
            .open(&path)
            .with_context(|| format!("{} cannot be opened", path.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Lock(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("{} cannot be locked", path.display()))
            }
        }
    }

    /// Removes what a former run left: its queues, journals and logs, and the files that say it is running.
    pub(super) fn clean(&self) -> anyhow::Result<()> {
        for name in [ENDPOINTS, CONTROL, PROCESSES] {
            self.remove(name)?;
        }
        for name in ["jetstream", "journal", "logs"] {
            let path = self.path(name);
            match fs::remove_dir_all(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(error)
                        .with_context(|| format!("{} cannot be cleaned", path.display()));
                }
                _ => fs::create_dir(&path)
                    .with_context(|| format!("{} cannot be made", path.display()))?,
            }
        }
        Ok(())
    }

    /// Removes a file if it is there.
    pub(super) fn remove(&self, name: &str) -> anyhow::Result<()> {
        let path = self.path(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("{} cannot be removed", path.display()))
            }
            _ => Ok(()),
        }
    }

    /// Writes a file that anybody may read.
    pub(super) fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        self.write_as(name, text, PLAIN)
    }

    /// Writes a file that only its owner may read.
    pub(super) fn write_secret(&self, name: &str, text: &str) -> anyhow::Result<()> {
        self.write_as(name, text, SECRET)
    }

    /// A reader sees the old file or the new one, never half of it.
    fn write_as(&self, name: &str, text: &str, mode: u32) -> anyhow::Result<()> {
        let (path, draft) = (self.path(name), self.path(format!(".{name}.new")));
        let write = || {
            // A draft left behind could have another mode.
            let _ = fs::remove_file(&draft);
            let mut file = OpenOptions::new()
                .create_new(true)
                .write(true)
                .mode(mode)
                .open(&draft)?;
            file.write_all(text.as_bytes())?;
            fs::rename(&draft, &path)
        };
        write().with_context(|| format!("{} cannot be written", path.display()))
    }

    /// Reads a JSON file; `None` if it is not there.
    pub(super) fn read<T: DeserializeOwned>(&self, name: &str) -> anyhow::Result<Option<T>> {
        let path = self.path(name);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(error).with_context(|| format!("{} cannot be read", path.display()));
            }
        };
        serde_json::from_str(&text)
            .map(Some)
            .with_context(|| format!("{} is damaged", path.display()))
    }

    /// The folder's ids and keys, made on first use.
    pub(super) fn facts(&self) -> anyhow::Result<Facts> {
        if let Some(written) = self.read::<Written>(FACTS)? {
            return Ok(Facts {
                function: written.function.parse()?,
                version: written.version.parse()?,
                api_key: written.api_key,
                api_key_none: written.api_key_none,
                admin_token: written.admin_token,
            });
        }
        let new = Facts {
            function: Uuid::new_v4().to_string().parse()?,
            version: Uuid::new_v4().to_string().parse()?,
            api_key: format!("fd-{}", secret()),
            api_key_none: format!("fd-{}", secret()),
            admin_token: secret(),
        };
        let written = Written {
            function: new.function.to_string(),
            version: new.version.to_string(),
            api_key: new.api_key.clone(),
            api_key_none: new.api_key_none.clone(),
            admin_token: new.admin_token.clone(),
        };
        self.write_secret(FACTS, &serde_json::to_string_pretty(&written)?)?;
        Ok(new)
    }
}

/// 256 random bits as text.
pub(super) fn secret() -> String {
    hex::encode(rand::random::<[u8; 32]>())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn one_supervisor_per_folder() {
        let dir = tempfile::tempdir().expect("folder");
        let folder = Folder::new(&dir.path().join("state")).expect("path");
        assert!(!folder.in_use().expect("looked"), "not even there");
        let lock = folder.take().expect("taken");
        assert!(folder.in_use().expect("looked"));
        let refused = folder.take().expect_err("taken twice").to_string();
        assert!(
            refused.contains("running") && refused.contains("local down"),
            "{refused}"
        );
        drop(lock);
        assert!(!folder.in_use().expect("looked"));
        folder.take().expect("free again");
    }

    #[test]
    fn facts_stay_and_secrets_are_for_the_owner() {
        let dir = tempfile::tempdir().expect("folder");
        let folder = Folder::new(dir.path()).expect("path");
        let facts = folder.facts().expect("made");
        assert_eq!(folder.facts().expect("read"), facts);
        assert!(facts.api_key.starts_with("fd-") && facts.api_key != facts.api_key_none);
        let mode = |name: &str| {
            fs::metadata(folder.path(name))
                .expect("there")
                .permissions()
                .mode()
                & 0o777
        };
        assert_eq!(mode(FACTS), 0o600);
        folder.write("endpoints.json", "{}").expect("written");
        assert_eq!(mode("endpoints.json") & 0o400, 0o400);
    }

    #[test]
    fn cleaning_keeps_the_facts() {
        let dir = tempfile::tempdir().expect("folder");
        let folder = Folder::new(dir.path()).expect("path");
        let facts = folder.facts().expect("made");
        folder.clean().expect("cleaned");
        fs::write(folder.path("logs/hub.log"), "old").expect("written");
        folder.write(ENDPOINTS, "{}").expect("written");
        folder.clean().expect("cleaned");
        assert!(!folder.path("logs/hub.log").exists() && !folder.path(ENDPOINTS).exists());
        assert_eq!(folder.facts().expect("read"), facts);
    }
}
