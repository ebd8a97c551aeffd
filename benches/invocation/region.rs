//! The processes of one region, and what they cost by the kernel's books.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sha2::Digest as _;
use tempfile::TempDir;

use crate::load::{Caller, Protocol};

pub(crate) const FUNCTION: &str = "0196f0c2-7e1f-7a55-8a2e-3d1b5f0c9a11";
pub(crate) const VERSION: &str = "7f2c1f0e-7f3b-4a55-8a2e-3d1b5f0c9a11";
pub(crate) const REGION: &str = "bench";
pub(crate) const KEY: &str = "open-sesame";

/// One invocation service, one nats-server, one worker, one function.
pub(crate) struct Region {
    pub(crate) service: Process,
    pub(crate) nats: Process,
    pub(crate) worker: Process,
    pub(crate) function: Process,
    pub(crate) front: SocketAddr,
    pub(crate) container: SocketAddr,
    pub(crate) folder: TempDir,
}

/// Ends with its owner.
pub(crate) struct Process(Child);

/// CPU time: absolute in nanoseconds, or in microseconds for each call. Of two other proxies, the first stands as the service.
#[derive(Debug)]
pub(crate) struct Cpu {
    pub(crate) service: f64,
    pub(crate) nats: f64,
    pub(crate) worker: f64,
}

// === impl Region ===

impl Region {
    pub(crate) async fn start(standby: usize) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let [bus, front, admin, workers, container] = [(); 5].map(|()| free());
        let hash = hex::encode(sha2::Sha256::digest(KEY));
        let invocation = folder.path().join("invocation.toml");
        let text = format!(
            "region = \"{REGION}\"\ndomain = \"invocation.localhost\"\nlisten = \"{front}\"\nadmin = \"{admin}\"\n\
             attach_url = \"http://{front}\"\n[nats]\nurl = \"nats://{bus}\"\n[stop]\nnotice = \"0s\"\n\
             [[functions]]\nid = \"{FUNCTION}\"\nname = \"echo\"\nversions = [\"{VERSION}\"]\n\
             [[keys]]\nname = \"bench\"\nsha256 = \"{hash}\"\nfunctions = [\"*\"]\n",
        );
        fs::write(&invocation, text).expect("written");
        let nats = nats_server(folder.path(), bus);
        let listen = container.to_string();
        let region = Self {
            nats,
            function: frontdoor(&["function", "--listen", &listen]),
            service: frontdoor(&["invocation", "-c", &invocation.to_string_lossy()]),
            worker: worker(folder.path(), workers, standby, bus, container),
            front,
            container,
            folder,
        };
        let standing = format!("frontdoor_invocation_standing_streams {standby}");
        until(admin, "/metrics", &standing).await;
        until(workers, "/ready", "true").await;
        region
    }

    /// Calls by way of the region.
    pub(crate) fn caller(&self, protocol: Protocol) -> Caller {
        Caller {
            protocol,
            to: self.front,
            host: format!("{FUNCTION}.invocation.localhost"),
            key: KEY.to_owned(),
        }
    }

    /// Calls to the function itself.
    pub(crate) fn function_caller(&self, protocol: Protocol) -> Caller {
        Caller {
            to: self.container,
            ..self.caller(protocol)
        }
    }

    /// What was used so far.
    pub(crate) fn cpu(&self) -> Cpu {
        Cpu {
            service: self.service.nanoseconds(),
            nats: self.nats.nanoseconds(),
            worker: self.worker.nanoseconds(),
        }
    }

    pub(crate) fn stop(self) {
        // Its folder goes last: they write to it.
        drop((self.service, self.nats, self.worker, self.function));
        drop(self.folder);
    }
}

// === impl Cpu ===

impl Cpu {
    /// Microseconds for each of so many calls.
    #[allow(clippy::cast_precision_loss, reason = "counts of calls are small")]
    pub(crate) fn since(&self, before: &Self, calls: usize) -> Self {
        let each = |now: f64, then: f64| (now - then) / 1e3 / calls.max(1) as f64;
        Self {
            service: each(self.service, before.service),
            nats: each(self.nats, before.nats),
            worker: each(self.worker, before.worker),
        }
    }
}

// === impl Process ===

impl Process {
    pub(crate) fn start(command: &mut Command) -> Self {
        let output = || match std::env::var_os("BENCH_OUTPUT") {
            Some(_) => Stdio::inherit(),
            None => Stdio::null(),
        };
        let started = command.stdout(output()).stderr(output()).spawn();
        Self(started.expect("the program starts"))
    }

    /// Time on a processor of all threads: the kernel counts it in nanoseconds.
    pub(crate) fn nanoseconds(&self) -> f64 {
        let tasks = format!("/proc/{}/task", self.0.id());
        let tasks = fs::read_dir(tasks).expect("it runs");
        tasks
            .filter_map(|task| fs::read_to_string(task.ok()?.path().join("schedstat")).ok())
            .filter_map(|text| text.split(' ').next()?.parse::<f64>().ok())
            .sum()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn frontdoor(args: &[&str]) -> Process {
    let binary = std::env::var_os("BENCH_FRONTDOOR");
    let binary = binary.map_or_else(
        || PathBuf::from(env!("CARGO_BIN_EXE_frontdoor")),
        PathBuf::from,
    );
    Process::start(Command::new(binary).args(args))
}

/// One worker with 128 slots.
pub(crate) fn worker(
    folder: &Path,
    admin: SocketAddr,
    standby: usize,
    bus: SocketAddr,
    container: SocketAddr,
) -> Process {
    let file = folder.join("worker.toml");
    let text = format!(
        "region = \"{REGION}\"\nfunction = \"{FUNCTION}\"\nfunction_name = \"echo\"\nversion = \"{VERSION}\"\n\
         admin = \"{admin}\"\nslots = 128\nstandby = {standby}\n[nats]\nurl = \"nats://{bus}\"\n\
         [container]\nurl = \"http://{container}\"\n",
    );
    fs::write(&file, text).expect("written");
    frontdoor(&["worker", "-c", &file.to_string_lossy()])
}

/// One server with JetStream.
pub(crate) fn nats_server(folder: &Path, at: SocketAddr) -> Process {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/bin/nats-server");
    let mut server = match own.exists() {
        true => Command::new(own),
        false => Command::new("nats-server"),
    };
    let port = at.port().to_string();
    server.args(["-a", "127.0.0.1", "-js", "-p", &port, "-sd"]);
    Process::start(server.arg(folder.join("jetstream")))
}

/// An address that was free a moment ago.
pub(crate) fn free() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("bound")
}

/// Waits until an answer contains a text.
pub(crate) async fn until(at: SocketAddr, path: &str, text: &str) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let ask = async {
            let mut stream = tokio::net::TcpStream::connect(at).await?;
            let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            std::io::Result::Ok(answer)
        };
        let answer = ask.await.unwrap_or_default();
        if answer.contains(text) {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "waited in vain for `{text}` at {path}: {answer}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
