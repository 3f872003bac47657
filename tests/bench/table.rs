//! Rows of a bench, for people and for machines.

use std::fs;
use std::path::Path;

use serde::Serialize;

use super::harness::docker;

/// One figure and what it is held against.
#[derive(Debug, Serialize)]
pub struct Row {
    pub id: &'static str,
    pub what: &'static str,
    pub value: f64,
    pub unit: &'static str,
    /// What was measured beside it, in the same run.
    pub against: Option<&'static str>,
    pub their_value: Option<f64>,
    /// Ours by theirs.
    pub ratio: Option<f64>,
    /// No more than this.
    pub target: f64,
    pub holds: bool,
}

impl Row {
    pub fn new(id: &'static str, what: &'static str, value: f64, unit: &'static str, target: f64) -> Self {
        let (value, target) = (rounded(value), rounded(target));
        Self {
            id,
            what,
            value,
            unit,
            against: None,
            their_value: None,
            ratio: None,
            target,
            holds: value <= target,
        }
    }

    pub fn against(self, what: &'static str, their_value: f64) -> Self {
        Self {
            against: Some(what),
            their_value: Some(rounded(their_value)),
            ratio: Some(rounded(self.value / their_value)),
            ..self
        }
    }
}

fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// Prints the table and writes the file.
pub fn show(name: &str, rows: &[Row]) {
    println!(
        "{:<15} {:>9} {:<5} {:>9} {:<5}  {:>9} {:>6}  what (against)",
        "row", "value", "unit", "target", "holds", "theirs", "ratio"
    );
    for row in rows {
        let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"));
        println!(
            "{:<15} {:>9.2} {:<5} {:>9.2} {:<5}  {:>9} {:>6}  {}{}",
            row.id,
            row.value,
            row.unit,
            row.target,
            if row.holds { "yes" } else { "NO" },
            number(row.their_value),
            number(row.ratio),
            row.what,
            row.against.map_or_else(String::new, |against| format!(" ({against})")),
        );
    }
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench");
    fs::create_dir_all(&directory).unwrap();
    let file = directory.join(format!("{name}.json"));
    let content = serde_json::json!({ "machine": machine(), "rows": rows });
    fs::write(&file, serde_json::to_string_pretty(&content).unwrap() + "\n").unwrap();
    eprintln!("{}", file.display());
}

/// What it was measured on.
fn machine() -> String {
    let field = |file: &str, name: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!(
        "{}, {cores} cores, {}, Linux {}, engine {}",
        field("/proc/cpuinfo", "model name"),
        field("/proc/meminfo", "MemTotal"),
        kernel.trim(),
        docker(&["version", "--format", "{{.Server.Version}}"]).trim(),
    )
}
