//! The process as the kernel sees it, and which build it is, under the names that every Prometheus dashboard knows.
//!
//! Read when somebody asks, never before. The `prometheus` crate has a collector of its own; it counts whole seconds of CPU,
//! which is of no use where a call takes a tenth of a millisecond.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Counter, Gauge, IntGauge, IntGaugeVec, Opts, Registry};
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

/// The commit that this was built from, if whoever built it said so.
const REVISION: &str = match option_env!("FRONTDOOR_REVISION") {
    Some(revision) => revision,
    None => "unknown",
};

/// Registers what the process shows: `process_*` and `frontdoor_build_info`.
///
/// # Errors
/// If the registry holds one of these names already.
pub fn register(registry: &Registry) -> Result<(), prometheus::Error> {
    registry.register(Box::new(Process::new()?))?;
    let build = Opts::new("frontdoor_build_info", "Always 1; says which build runs.");
    let build = IntGaugeVec::new(build, &["version", "revision"])?;
    build
        .with_label_values(&[env!("CARGO_PKG_VERSION"), REVISION])
        .set(1);
    registry.register(Box::new(build))
}

struct Process {
    cpu: Counter,
    resident: IntGauge,
    virtual_memory: IntGauge,
    open_fds: IntGauge,
    max_fds: IntGauge,
    threads: IntGauge,
    start_time: Gauge,
}

/// What `/proc/self/stat` tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    threads: u64,
    /// Clock ticks from the start of the machine to that of the process.
    started: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

// === impl Process ===

impl Process {
    fn new() -> Result<Self, prometheus::Error> {
        let process = Self {
            cpu: Counter::new(
                "process_cpu_seconds_total",
                "CPU time that the process used, in user and kernel.",
            )?,
            resident: IntGauge::new(
                "process_resident_memory_bytes",
                "Memory of the process that is in RAM.",
            )?,
            virtual_memory: IntGauge::new(
                "process_virtual_memory_bytes",
                "Addresses that the process reserved.",
            )?,
            open_fds: IntGauge::new("process_open_fds", "File descriptors in use.")?,
            max_fds: IntGauge::new("process_max_fds", "File descriptors that may be in use.")?,
            threads: IntGauge::new("process_threads", "Threads of the process.")?,
            start_time: Gauge::new(
                "process_start_time_seconds",
                "When the process began, in seconds since 1970.",
            )?,
        };
        if let (Some(stat), Some(boot)) = (Stat::now(), boot_time()) {
            let ticks = Duration::from_secs(stat.started)
                / u32::try_from(rustix::param::clock_ticks_per_second())
                    .unwrap_or(100)
                    .max(1);
            process.start_time.set((boot + ticks).as_secs_f64());
        }
        Ok(process)
    }

    fn all(&self) -> [&dyn Collector; 7] {
        [
            &self.cpu,
            &self.resident,
            &self.virtual_memory,
            &self.open_fds,
            &self.max_fds,
            &self.threads,
            &self.start_time,
        ]
    }

    /// What cannot be read stays as it was.
    fn read(&self) {
        let used = clock_gettime(ClockId::ProcessCPUTime);
        let used = Duration::try_from(used).unwrap_or_default().as_secs_f64();
        self.cpu.inc_by((used - self.cpu.get()).max(0.0));
        if let Some(stat) = Stat::now() {
            let page = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
            self.resident.set(whole(stat.resident_pages * page));
            self.virtual_memory.set(whole(stat.virtual_bytes));
            self.threads.set(whole(stat.threads));
        }
        if let Ok(folder) = fs::read_dir("/proc/self/fd") {
            // One of them is the folder itself.
            let count = folder.count().saturating_sub(1);
            self.open_fds.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        let most = getrlimit(Resource::Nofile).current;
        self.max_fds.set(most.map_or(i64::MAX, whole));
    }
}

impl Collector for Process {
    fn desc(&self) -> Vec<&Desc> {
        self.all().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.read();
        self.all()
            .into_iter()
            .flat_map(Collector::collect)
            .collect()
    }
}

// === impl Stat ===

impl Stat {
    fn now() -> Option<Self> {
        Self::parse(&fs::read_to_string("/proc/self/stat").ok()?)
    }

    /// Reads proc_pid_stat(5). The second field is the program's name, which may hold anything.
    fn parse(text: &str) -> Option<Self> {
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // The first of these is the third of all.
        let field = |number: usize| fields.get(number - 3)?.parse().ok();
        Some(Self {
            threads: field(20)?,
            started: field(22)?,
            virtual_bytes: field(23)?,
            resident_pages: field(24)?,
        })
    }
}

/// When the machine began.
fn boot_time() -> Option<Duration> {
    let up = Duration::try_from(clock_gettime(ClockId::Boottime)).ok()?;
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()?
        .checked_sub(up)
}

fn whole(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use prometheus::TextEncoder;

    use super::*;

    fn value(text: &str, name: &str) -> f64 {
        let line = text.lines().find(|line| line.starts_with(name));
        let (_, value) = line
            .and_then(|line| line.rsplit_once(' '))
            .unwrap_or_else(|| panic!("{name} is missing in\n{text}"));
        value.parse().expect("a number")
    }

    #[test]
    fn a_process_shows_itself() {
        let registry = Registry::new();
        register(&registry).expect("fresh");
        let page = || {
            TextEncoder::new()
                .encode_to_string(&registry.gather())
                .expect("text")
        };
        let before = page();
        let held: Vec<fs::File> = (0..20)
            .map(|_| fs::File::open("/proc/self/stat").expect("opens"))
            .collect();
        let mut memory = vec![0_u8; 64 << 20];
        for (at, byte) in memory.iter_mut().enumerate() {
            *byte = u8::try_from(at % 251).expect("small");
        }
        std::hint::black_box(&memory);
        let after = page();
        let grew = |name| value(&after, name) - value(&before, name);
        assert!(grew("process_cpu_seconds_total ") > 0.0, "{after}");
        // Pages of 64 MiB, less what the test beside this one freed meanwhile.
        assert!(grew("process_resident_memory_bytes") > f64::from(32 << 20));
        assert!(grew("process_open_fds") >= 20.0 - 5.0, "{after}");
        drop(held);
        assert!(value(&after, "process_threads") >= 1.0);
        assert!(value(&after, "process_max_fds") > value(&after, "process_open_fds"));
        let began = value(&after, "process_start_time_seconds");
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("after 1970");
        let age = now.as_secs_f64() - began;
        assert!((-1.0..600.0).contains(&age), "{age}");
        let version = format!("version=\"{}\"", env!("CARGO_PKG_VERSION"));
        assert!(after.contains("frontdoor_build_info{") && after.contains(&version));
        assert!(register(&registry).is_err(), "names are unique");
    }

    #[test]
    fn whatever_the_program_is_called() {
        let rest: Vec<String> = (4..=52).map(|number| number.to_string()).collect();
        let text = format!("7 (a) (b c) S {}", rest.join(" "));
        let stat = Stat {
            threads: 20,
            started: 22,
            virtual_bytes: 23,
            resident_pages: 24,
        };
        assert_eq!(Stat::parse(&text), Some(stat));
        for wrong in ["", "7 (a) S", "7 (a) S 4 5 6 x"] {
            assert_eq!(Stat::parse(wrong), None, "{wrong}");
        }
    }
}
