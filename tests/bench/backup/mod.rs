//! Backups to an S3 server on loopback, beside restic and rclone on the same server and the same tree.
//!
//! Each step is done by everybody in turn before the next begins. The tree and what is restored lie in memory, so that no
//! disk is measured. Ours is the whole node with its command line; its engine is absent, so that nothing else happens.

mod server;
mod tools;

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use super::harness::SOON;
use super::harness::TestNode;
use super::process::megabytes;
use super::sync::tree;
use super::table::Beside;
use super::table::Figure;
use super::table::Row;
use server::Counter;
use server::Server;
use tools::Cost;
use tools::Rclone;
use tools::Restic;

/// Files that are changed between two runs.
const CHANGED: usize = 20;
/// Bytes a file has in the mean.
const MEAN: usize = 9_800;
/// How old a tree has to be before a look at it proves anything.
const OLD: Duration = Duration::from_millis(2_500);

/// How much is measured.
pub struct Extent {
    pub files: usize,
    pub rounds: usize,
    pub steps: Vec<Step>,
}

impl Extent {
    pub fn full() -> Self {
        Self { files: 20_000, rounds: 2, steps: Step::ALL.into() }
    }

    pub fn quick() -> Self {
        Self { files: 2_000, rounds: 1, ..Self::full() }
    }
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Step {
    First,
    Unchanged,
    Changed,
    Restore,
    One,
    /// A first run to two destinations at once.
    Two,
    /// How many requests a mirror needs.
    Requests,
}

impl Step {
    pub const ALL: [Self; 7] =
        [Self::First, Self::Unchanged, Self::Changed, Self::Restore, Self::One, Self::Two, Self::Requests];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Unchanged => "unchanged",
            Self::Changed => "changed",
            Self::Restore => "restore",
            Self::One => "one",
            Self::Two => "two",
            Self::Requests => "requests",
        }
    }
}

/// What one contender took for each step.
#[derive(Default)]
struct Took {
    first: Vec<Cost>,
    unchanged: Vec<Cost>,
    changed: Vec<Cost>,
    restore: Vec<Cost>,
    one: Vec<Cost>,
}

impl Took {
    fn all(&self) -> [&Vec<Cost>; 5] {
        [&self.first, &self.unchanged, &self.changed, &self.restore, &self.one]
    }
}

pub async fn run(extent: &Extent) -> (Vec<Row>, Vec<String>) {
    let memory = tempfile::Builder::new().prefix("nexus-bench-").tempdir_in("/dev/shm").unwrap();
    let server = Server::start(memory.path());
    let counter = Counter::start(server.port());
    let mut bench = Bench::new(memory.path(), &server, &counter, extent).await;
    let mut all: Vec<Took> = (0..7).map(|_| Took::default()).collect();
    let (mut two, mut alone) = (Vec::new(), Vec::new());
    let mut stored = (0, 0);
    for round in 0..extent.rounds {
        bench.begin(round);
        bench.plant(extent.files);
        tokio::time::sleep(OLD).await;
        // Nothing else can be measured before it.
        bench.each(&mut all, Step::First);
        stored = (server.stored("snapshots-a"), server.stored(&bench.restic_bucket()));
        bench.each(&mut all, Step::Unchanged);
        if bench.measures(Step::Changed) {
            bench.change(round);
            tokio::time::sleep(OLD).await;
        }
        for step in [Step::Changed, Step::Restore, Step::One] {
            bench.each(&mut all, step);
        }
        if bench.measures(Step::Two) {
            alone.push(bench.node_run(&["--destination", "two-a"]).seconds);
            alone.push(bench.node_run(&["--destination", "two-b"]).seconds);
            bench.forget("two-a");
            bench.forget("two-b");
            two.push(bench.node_run_two());
        }
        eprintln!("round {}/{}", round + 1, extent.rounds);
    }
    let requests = if bench.measures(Step::Requests) { Some(bench.requests(&counter).await) } else { None };
    (rows(extent, &all, stored, &two, &alone, requests), bench.notes())
}

struct Bench {
    node: TestNode,
    projects: PathBuf,
    tree: PathBuf,
    out: PathBuf,
    restics: Vec<Restic>,
    rclones: Vec<Rclone>,
    files: usize,
    steps: Vec<Step>,
    round: usize,
    compared: usize,
}

impl Bench {
    fn measures(&self, step: Step) -> bool {
        self.steps.contains(&step)
    }

    async fn new(memory: &Path, server: &Server, counter: &Counter, extent: &Extent) -> Self {
        let mut node = TestNode::prepare();
        let projects = memory.join("projects");
        let tree = projects.join("shop");
        fs::create_dir_all(&tree).unwrap();
        fs::write(tree.join("index.html"), "text").unwrap();
        node.set_engine(&format!("unix://{}", memory.join("no-engine.sock").display()));
        node.set("NEXUS_WORKSPACES_DIR", &projects.display().to_string());
        node.set("NEXUS_LOG", "warn");
        node.set("AWS_ACCESS_KEY_ID", server::KEY);
        node.set("AWS_SECRET_ACCESS_KEY", server::SECRET);
        fs::create_dir_all(node.home()).unwrap();
        let place = |name: &str, form: &str, port: u16| {
            let (endpoint, url) = (format!("http://127.0.0.1:{port}"), format!("s3://{name}/there"));
            format!("    {name}: {{ url: \"{url}\", endpoint: \"{endpoint}\", form: {form} }}\n")
        };
        let places = [
            place("snapshots-a", "incremental", server.port()),
            place("mirror-a", "mirror", server.port()),
            place("two-a", "incremental", server.port()),
            place("two-b", "mirror", server.port()),
            place("counted", "mirror", counter.port()),
        ];
        let config = format!("backup:\n  schedule: never\n  destinations:\n{}", places.concat());
        fs::write(node.home().join("config.yaml"), config).unwrap();
        node.spawn();
        node.wait_until_up().await;
        let until = Instant::now() + SOON;
        while node.cli(&["backup", "run", "shop", "--dry-run"]).0 != 0 {
            assert!(Instant::now() < until, "the workspace never came; log:\n{}", node.log_tail());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let restics = tools::restics().into_iter().map(|program| Restic::new(program, memory, server.port()));
        let rclones = [false, true].map(|tuned| Rclone::new(tuned, server.port()));
        Self {
            node,
            projects,
            tree,
            out: memory.join("out"),
            restics: restics.collect(),
            rclones: rclones.into(),
            files: extent.files,
            steps: extent.steps.clone(),
            round: 0,
            compared: 0,
        }
    }

    /// A tree and destinations that nobody knows yet.
    fn begin(&mut self, round: usize) {
        self.round = round;
        fs::remove_dir_all(&self.tree).ok();
        for name in ["snapshots-a", "mirror-a", "two-a", "two-b", "counted"] {
            self.forget(name);
        }
        self.restics.iter().for_each(Restic::begin);
        self.rclones.iter().for_each(Rclone::begin);
    }

    /// What the node knows of a destination.
    fn forget(&self, name: &str) {
        let backup = self.node.home().join("backup");
        for part in ["known", "mirror"] {
            fs::remove_dir_all(backup.join(part).join(name)).ok();
        }
        fs::remove_file(backup.join(format!("keys/{name}.json"))).ok();
        server::empty(name);
    }

    fn restic_bucket(&self) -> String {
        self.restics.last().map(Restic::bucket).unwrap_or_default()
    }

    fn plant(&self, files: usize) {
        for index in 0..files {
            let path = self.tree.join(tree::path(index));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content(index, "")).unwrap();
        }
    }

    fn change(&self, round: usize) {
        for number in 0..CHANGED {
            let index = number * (self.files / CHANGED);
            let note = format!("changed in round {round}");
            fs::write(self.tree.join(tree::path(index)), content(index, &note)).unwrap();
        }
    }

    /// One step of everybody: our two forms, each restic, each rclone.
    fn each(&mut self, all: &mut [Took], step: Step) {
        if step != Step::First && !self.measures(step) {
            return;
        }
        for (index, name) in ["snapshots-a", "mirror-a"].into_iter().enumerate() {
            let cost = match step {
                Step::First | Step::Unchanged | Step::Changed => self.node_run(&["--destination", name]),
                Step::Restore => self.node_restore(name, None),
                Step::One => self.node_restore(name, Some(&tree::path(1))),
                Step::Two | Step::Requests => unreachable!("nobody else takes part in it"),
            };
            push(&mut all[index], step, cost);
        }
        let one = tree::path(1);
        for index in 0..self.restics.len() {
            fs::remove_dir_all(&self.out).ok();
            let restic = &self.restics[index];
            let cost = match step {
                Step::First | Step::Unchanged | Step::Changed => {
                    restic.back_up(&self.tree, step == Step::First)
                }
                Step::Restore => restic.restore(&self.out, None),
                Step::One => restic.restore(&self.out, Some(&self.tree.join(&one))),
                Step::Two | Step::Requests => unreachable!("nobody else takes part in it"),
            };
            push(&mut all[2 + index], step, cost);
        }
        for index in 0..self.rclones.len() {
            fs::remove_dir_all(&self.out).ok();
            let rclone = &self.rclones[index];
            // Whatever lists folder by folder is no measure of rclone here: see the notes.
            if matches!(step, Step::First | Step::Unchanged) && self.measures(step) {
                push(&mut all[4 + index], step, rclone.sync(&self.tree));
            }
        }
        fs::remove_dir_all(&self.out).ok();
    }

    /// A run of ours, and the most memory the node had meanwhile.
    fn node_run(&self, words: &[&str]) -> Cost {
        self.measured(&[&["backup", "run", "shop", "--json"], words].concat()).0
    }

    /// A run to both of the destinations that are there for that, begun at once.
    fn node_run_two(&self) -> f64 {
        let began = Instant::now();
        let start = |name: &str| {
            let words = ["run", "shop", "--json", "--destination", name];
            self.node.command("backup").args(words).stdout(Stdio::null()).spawn().unwrap()
        };
        for mut child in [start("two-a"), start("two-b")] {
            assert!(child.wait().unwrap().success());
        }
        began.elapsed().as_secs_f64()
    }

    fn node_restore(&mut self, name: &str, one: Option<&str>) -> Cost {
        let mut words =
            vec!["backup", "restore", "shop", "--destination", name, "--to", "back", "--yes", "--json"];
        words.extend(one);
        let (cost, _) = self.measured(&words);
        let back = self.projects.join("back");
        if one.is_none() {
            self.compare(&back, name);
        }
        fs::remove_dir_all(back).unwrap();
        cost
    }

    fn compare(&mut self, back: &Path, name: &str) {
        let diff = Command::new("diff").args(["--recursive", "--brief"]).arg(&self.tree).arg(back).status();
        assert!(diff.unwrap().success(), "what {name} gives back is not what was there");
        self.compared += 1;
    }

    fn measured(&self, words: &[&str]) -> (Cost, String) {
        let pid = self.node.child.as_ref().unwrap().id();
        // The most memory so far counts from here on.
        fs::write(format!("/proc/{pid}/clear_refs"), "5").unwrap();
        let began = Instant::now();
        let (code, out, error) = self.node.cli(words);
        let seconds = began.elapsed().as_secs_f64();
        assert_eq!(code, 0, "{words:?}: {out}{error}\n{}", self.node.log_tail());
        (Cost { seconds, megabytes: megabytes(pid, "status", "VmHWM:").unwrap() }, out)
    }

    /// Requests of a mirror: of the first run, of one without changes, of one with some.
    async fn requests(&mut self, counter: &Counter) -> [u64; 3] {
        let count = |bench: &Self| {
            let before = counter.requests();
            bench.node_run(&["--destination", "counted"]);
            counter.requests() - before
        };
        let first = count(self);
        let unchanged = count(self);
        self.change(self.round + 1);
        tokio::time::sleep(OLD).await;
        [first, unchanged, count(self)]
    }

    fn notes(&self) -> Vec<String> {
        let restics: Vec<_> = self.restics.iter().map(Restic::version).collect();
        vec![
            format!(
                "s3s-fs on loopback, its folder and the tree in memory; restic {}",
                restics.join(" and ")
            ),
            format!("{} restores were compared with the tree, byte for byte", self.compared),
            "memory of ours is that of the whole node; two destinations are one of each form".to_owned(),
            "s3s-fs walks a whole bucket for each page of a list and knows no `--fast-list`: rclone's lists are dearer \
             here than elsewhere, and its restores are left out"
                .to_owned(),
        ]
    }
}

fn push(took: &mut Took, step: Step, cost: Cost) {
    match step {
        Step::First => took.first.push(cost),
        Step::Unchanged => took.unchanged.push(cost),
        Step::Changed => took.changed.push(cost),
        Step::Restore => took.restore.push(cost),
        Step::One => took.one.push(cost),
        Step::Two | Step::Requests => unreachable!("nobody else takes part in it"),
    }
}

/// Files of source: most are small, a few hundred times as large as others.
fn content(index: usize, note: &str) -> Vec<u8> {
    let mut bytes = tree::content(index, note);
    let times = match index % 50 {
        0 => 20 * MEAN / 2_100,
        1..=10 => 2 * MEAN / 2_100,
        _ => MEAN / 2_100 / 2,
    };
    for part in 1..times {
        bytes.extend(tree::content(index + part * 1_000_003, ""));
    }
    bytes
}

fn median(costs: &[Cost]) -> f64 {
    let mut seconds: Vec<f64> = costs.iter().map(|cost| cost.seconds).collect();
    middle(&mut seconds)
}

fn middle(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    f64::midpoint(values[half], values[(values.len() - 1) / 2])
}

fn most<'a>(costs: impl IntoIterator<Item = &'a Cost>) -> f64 {
    costs.into_iter().map(|cost| cost.megabytes).fold(0.0, f64::max)
}

fn rows(
    extent: &Extent,
    all: &[Took],
    stored: (u64, u64),
    two: &[f64],
    alone: &[f64],
    requests: Option<[u64; 3]>,
) -> Vec<Row> {
    let [snapshots, mirror, old, new, default, tuned] = &all[..6] else { unreachable!("six take part") };
    let newest = if new.first.is_empty() { old } else { new };
    let steps = [Step::First, Step::Unchanged, Step::Changed, Step::Restore, Step::One];
    let ids = ["first", "unchanged", "changed", "restore", "one-file"];
    let what = ["the first run", "a run without changes", "20 files changed", "all back", "one file back"];
    let measured = |step: Step| extent.steps.contains(&step);
    let mut rows = Vec::new();
    for (index, most) in [1.1, 0.2, 0.5, 0.65, 0.55].into_iter().enumerate() {
        if !measured(steps[index]) {
            continue;
        }
        let (ours, theirs) = (median(snapshots.all()[index]), median(newest.all()[index]));
        let title = format!("snapshots: {}", what[index]);
        let row = Row::new(&format!("snapshots-{}", ids[index]), &title, ours, "s", theirs * most);
        let row = row.against("restic, the newer", theirs);
        let older = Beside::new("restic, the older", Figure::is(median(old.all()[index])));
        rows.push(if new.first.is_empty() { row } else { row.beside(vec![older]) });
    }
    let bytes = |count: u64| count as f64 / 1_000_000.0;
    let row = Row::new("snapshots-stored", "snapshots: stored", bytes(stored.0), "MB", bytes(stored.1));
    rows.push(row.against("restic, the newer", bytes(stored.1)));
    for (id, ours, theirs, share) in [
        ("rss-backup", &snapshots.first, &newest.first, 0.8),
        ("rss-restore", &snapshots.restore, &newest.restore, 1.5),
    ] {
        if !ours.is_empty() {
            let (ours, theirs) = (most(ours), most(theirs));
            let row =
                Row::new(&format!("snapshots-{id}"), "snapshots: most memory", ours, "MB", theirs * share);
            rows.push(row.against("restic, the newer", theirs));
        }
    }
    for (index, most) in [Some(0.8), Some(0.2), None, None, None].into_iter().enumerate() {
        if !measured(steps[index]) {
            continue;
        }
        let (id, title) = (format!("mirror-{}", ids[index]), format!("mirror: {}", what[index]));
        let ours = Some(Figure::is(median(mirror.all()[index])));
        let Some(most) = most else {
            rows.push(Row::of(id, title, ours, "s", None));
            continue;
        };
        let theirs = median(tuned.all()[index]);
        let plain = Beside::new("rclone", Figure::is(median(default.all()[index])));
        let row = Row::of(id, title, ours, "s", Some(theirs * most));
        rows.push(row.against("rclone tuned", theirs).beside(vec![plain]));
    }
    let files = (extent.files + 1) as f64;
    let limits = [("first", files + 5.0), ("unchanged", 3.0), ("changed", (CHANGED * 3 + 6) as f64)];
    for ((id, limit), count) in limits.into_iter().zip(requests.into_iter().flatten()) {
        let (id, title) = (format!("mirror-requests-{id}"), format!("mirror: requests of the {id} run"));
        rows.push(Row::new(&id, &title, count as f64, "", limit));
    }
    if measured(Step::Two) {
        let slower = middle(&mut alone.chunks(2).map(|pair| pair[0].max(pair[1])).collect::<Vec<_>>());
        let both = middle(&mut two.to_vec());
        let row =
            Row::new("two-destinations", "a first run to two destinations at once", both, "s", slower * 1.25);
        rows.push(row.against("the slower alone", slower));
    }
    rows
}
