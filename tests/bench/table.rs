//! Rows of a bench, for people and for machines.

use std::fmt;
use std::fs;
use std::path::Path;

use serde::Serialize;

use super::harness::docker;

/// What was measured.
#[derive(Debug, Clone, Copy)]
pub struct Figure {
    pub value: f64,
    /// It was given up then.
    pub at_least: bool,
}

impl Figure {
    pub fn is(value: f64) -> Self {
        Self { value, at_least: false }
    }

    pub fn at_least(value: f64) -> Self {
        Self { value, at_least: true }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:.2}", if self.at_least { "> " } else { "" }, self.value)
    }
}

/// One figure and what it is held against.
#[derive(Debug, Serialize)]
pub struct Row {
    pub id: String,
    pub what: String,
    /// Nothing where it cannot be done yet.
    pub value: Option<f64>,
    pub unit: &'static str,
    /// What was measured beside it, in the same run.
    pub against: Option<&'static str>,
    pub their_value: Option<f64>,
    /// Ours by theirs.
    pub ratio: Option<f64>,
    /// No more than this.
    pub target: Option<f64>,
    pub holds: bool,
    /// Everybody else in the same run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub beside: Vec<Beside>,
}

/// Somebody else's figure for the same.
#[derive(Debug, Serialize)]
pub struct Beside {
    pub name: &'static str,
    pub value: f64,
    /// It was given up then.
    pub at_least: bool,
    /// Ours by theirs.
    pub ratio: Option<f64>,
}

impl Beside {
    pub fn new(name: &'static str, figure: Figure) -> Self {
        Self { name, value: rounded(figure.value), at_least: figure.at_least, ratio: None }
    }
}

impl Row {
    pub fn new(id: &str, what: &str, value: f64, unit: &'static str, target: f64) -> Self {
        Self::of(id.to_owned(), what.to_owned(), Some(Figure::is(value)), unit, Some(target))
    }

    /// The same for what may be missing; it holds only if it is there.
    pub fn of(
        id: String,
        what: String,
        figure: Option<Figure>,
        unit: &'static str,
        target: Option<f64>,
    ) -> Self {
        let (value, target) = (figure.map(|figure| rounded(figure.value)), target.map(rounded));
        let within = |value| target.is_none_or(|target| value <= target);
        let holds = figure.is_some_and(|figure| !figure.at_least) && value.is_some_and(within);
        Self {
            id,
            what,
            value,
            unit,
            against: None,
            their_value: None,
            ratio: None,
            target,
            holds,
            beside: vec![],
        }
    }

    pub fn against(self, what: &'static str, their_value: f64) -> Self {
        let ratio = self.value.map(|value| rounded(value / their_value));
        Self { against: Some(what), their_value: Some(rounded(their_value)), ratio, ..self }
    }

    pub fn beside(mut self, mut others: Vec<Beside>) -> Self {
        for other in &mut others {
            other.ratio = self.value.filter(|_| other.value > 0.0).map(|value| rounded(value / other.value));
        }
        self.beside = others;
        self
    }
}

fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// Prints the table and writes the file.
pub fn show(name: &str, rows: &[Row], notes: &[String]) {
    let wide = rows.iter().map(|row| row.id.len()).max().unwrap_or_default().max(15);
    println!(
        "{:<wide$} {:>9} {:<5} {:>9} {:<5}  {:>9} {:>6}  what (against)",
        "row", "value", "unit", "target", "holds", "theirs", "ratio"
    );
    let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"));
    for row in rows {
        println!(
            "{:<wide$} {:>9} {:<5} {:>9} {:<5}  {:>9} {:>6}  {}{}",
            row.id,
            number(row.value),
            row.unit,
            number(row.target),
            if row.holds { "yes" } else { "NO" },
            number(row.their_value),
            number(row.ratio),
            row.what,
            row.against.map_or_else(String::new, |against| format!(" ({against})")),
        );
        let beside: Vec<_> = row
            .beside
            .iter()
            .map(|other| {
                let figure = Figure { value: other.value, at_least: other.at_least };
                format!("{} {figure} {} ({})", other.name, row.unit, number(other.ratio))
            })
            .collect();
        if !beside.is_empty() {
            println!("{:wide$}   {}", "", beside.join(", "));
        }
    }
    notes.iter().for_each(|note| println!("{note}"));
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench");
    fs::create_dir_all(&directory).unwrap();
    let file = directory.join(format!("{name}.json"));
    let content = serde_json::json!({ "machine": machine(), "rows": rows, "notes": notes });
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
