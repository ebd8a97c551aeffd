//! What parts of a running stack hold in memory, from /proc.

use std::fmt;

use test_support::world::World;

/// What grows by one mebibyte, in the kernel's unit.
pub(super) const MIB: u64 = 1024;

/// Parts of a region and the edge, and what each held in the beginning, in KiB.
pub(super) struct Memory {
    parts: Vec<(&'static str, i64, u64)>,
}

/// How much each part holds more, in KiB.
pub(super) struct Growth(pub(super) Vec<(&'static str, u64)>);

// === impl Memory ===

impl Memory {
    /// Begins to measure, at what is held now.
    pub(super) fn of(world: &World, parts: &[&'static str]) -> Self {
        let text = std::fs::read_to_string(world.dir.join("endpoints.json")).expect("endpoints");
        let endpoints: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let parts = parts.iter().map(|&part| {
            let pointer = match part {
                "edge" => "/edge/pid".to_owned(),
                part => format!("/regions/us-east/{part}/pid"),
            };
            let pid = endpoints
                .pointer(&pointer)
                .and_then(serde_json::Value::as_i64);
            let pid = pid.unwrap_or_else(|| panic!("no {pointer}"));
            // The peak begins anew; where that is not allowed the one of the start stands, and growth looks larger.
            let _ = std::fs::write(format!("/proc/{pid}/clear_refs"), "5");
            (part, pid, read(pid, "VmRSS:"))
        });
        Self {
            parts: parts.collect(),
        }
    }

    /// The most that each part has held since, beyond the beginning.
    pub(super) fn grown(&self) -> Growth {
        let grown = self.parts.iter();
        let grown =
            grown.map(|&(part, pid, before)| (part, read(pid, "VmHWM:").saturating_sub(before)));
        Growth(grown.collect())
    }
}

// === impl Growth ===

impl Growth {
    /// For each of so many calls, in KiB with a decimal.
    pub(super) fn for_each(&self, calls: u64) -> String {
        let parts = self.0.iter().map(|(part, kib)| {
            let tenths = kib * 10 / calls.max(1);
            format!("{part} {}.{} KiB", tenths / 10, tenths % 10)
        });
        parts.collect::<Vec<_>>().join(", ")
    }
}

impl fmt::Display for Growth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = self.0.iter().map(|(part, kib)| {
            let tenths = kib * 10 / MIB;
            format!("{part} +{}.{} MiB", tenths / 10, tenths % 10)
        });
        f.write_str(&parts.collect::<Vec<_>>().join(", "))
    }
}

/// A line of a process's status, in KiB.
fn read(pid: i64, line: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let value = status.lines().find_map(|l| l.strip_prefix(line));
    let kib = value.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    kib.expect("the kernel says it")
}
