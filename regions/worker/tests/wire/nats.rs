//! A real nats-server on a free port, killed by its handle on drop.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub(crate) struct NatsServer {
    port: u16,
    process: Child,
    store: tempfile::TempDir,
}

impl NatsServer {
    pub(crate) fn start() -> Self {
        let port = free_port();
        let store = tempfile::tempdir().unwrap();
        let process = spawn(port, &store);
        Self {
            port,
            process,
            store,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Dies at once and comes back on the same port; what was in memory is gone.
    pub(crate) fn restart(&mut self) {
        self.kill();
        self.process = spawn(self.port, &self.store);
    }

    fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        self.kill();
    }
}

pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

fn spawn(port: u16, store: &tempfile::TempDir) -> Child {
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/../../.tools/bin/nats-server");
    let shipped = PathBuf::from(shipped);
    let binary = if shipped.exists() {
        shipped
    } else {
        "nats-server".into()
    };
    let process = Command::new(binary)
        .args(["-a", "127.0.0.1", "-p", &port.to_string(), "-js", "-sd"])
        .arg(store.path())
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("nats-server in .tools/bin or on PATH");
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let patience = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect(address).is_err() {
        assert!(Instant::now() < patience, "nats-server does not come up");
        std::thread::sleep(Duration::from_millis(10));
    }
    process
}
