//! Logging for every command of the binary, and the access line.
//!
//! Lines go through a bounded queue to a thread of their own, so a slow terminal or disk never holds a request. At most
//! one line a request: the access line, under the target `access`. Never a credential, never a body.

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    Pretty,
    /// One JSON object a line, for machines.
    Json,
}

/// Lines that wait to be written; beyond that they are dropped rather than waited for.
const QUEUE: usize = 16_384;
/// Without `FRONTDOOR_LOG`: our own news, and what other crates call an error. The engine's own lines about
/// requests are left out, since the access line says it better.
const DEFAULT_FILTER: &str = "info,pingora_core=error,async_nats=warn,async_nats::connector=off,hickory_resolver=error,hickory_proto=error,hickory_net=error,hickory_server=error,h2=error,hyper=error";

/// Starts logging to standard error. Keep the guard until the end: dropping it writes what is left.
pub fn start(format: Format) -> WorkerGuard {
    let (writer, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(QUEUE)
        .lossy(true)
        .finish(std::io::stderr());
    let filter =
        EnvFilter::try_from_env("FRONTDOOR_LOG").unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer);
    // A second start in one process, as in tests, keeps the first.
    let _ = match format {
        Format::Pretty => lines
            .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
            .try_init(),
        Format::Json => lines
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .try_init(),
    };
    guard
}
