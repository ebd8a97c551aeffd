//! The least that a hop can be: bytes that come are read and written again, by a thread for each direction that does nothing
//! else. It knows no HTTP, so two of these in a row are what two wakings cost on a machine.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::thread;

use crate::region::Process;

/// The word that makes this program one of them.
const WORD: &str = "be-one-relay";

/// One in a process of its own.
pub(crate) fn start(from: SocketAddr, to: SocketAddr) -> Process {
    let this = std::env::current_exe().expect("this program");
    let addresses = [from, to].map(|a| a.to_string());
    Process::start(Command::new(this).arg(WORD).args(addresses))
}

/// Whether this process is to be one. Then it does not return before it is ended.
pub(crate) fn is_one() -> bool {
    let mut args = std::env::args().skip(1);
    if args.next().as_deref() != Some(WORD) {
        return false;
    }
    let mut address = || args.next().expect("two addresses");
    let (from, to) = (address(), address());
    let listener = TcpListener::bind(from).expect("free");
    for near in listener.incoming() {
        let near = near.expect("a connection");
        let far = TcpStream::connect(&to).expect("somebody listens");
        for stream in [&near, &far] {
            stream.set_nodelay(true).expect("TCP");
        }
        let back = (clone(&far), clone(&near));
        thread::spawn(move || pump(near, far));
        thread::spawn(move || pump(back.0, back.1));
    }
    true
}

/// Until one side ends. The thread stays: what it has cost is in the kernel's books no longer than that.
fn pump(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Write);
    loop {
        thread::park();
    }
}

fn clone(stream: &TcpStream) -> TcpStream {
    stream.try_clone().expect("a descriptor")
}
