//! Takes one contender through everything that is measured.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

use super::super::process::megabytes;
use super::super::process::processor_percent;
use super::super::table::Figure;
use super::contender::Contender;
use super::contender::Ends;
use super::contender::Name;
use super::contender::Way;
use super::see;
use super::see::Eye;
use super::tree;
use super::tree::Branch;
use super::tree::Template;
use super::tree::Tree;

/// How long one edit may take to arrive.
const EDIT_LIMIT: Duration = Duration::from_secs(20);
/// How long everything may take to arrive, and how much longer for each file.
const INITIAL_LIMIT: Duration = Duration::from_secs(60);
const INITIAL_LIMIT_A_FILE: Duration = Duration::from_micros(600);
const SWITCH_LIMIT: Duration = Duration::from_secs(60);
const SWITCHES: usize = 3;
/// No other switch after this long.
const SWITCHES_TIME: Duration = Duration::from_secs(20);
const LARGE_LIMIT: Duration = Duration::from_secs(60);
/// How long a contender has to put its own books in order after much was carried.
const SETTLE: Duration = Duration::from_secs(3);
/// For a minute after many files were removed ext4 looks at each inode it might use again, to leave alone what was
/// removed just now: whoever makes files then pays for what the one before has left behind.
const FORGET: Duration = Duration::from_secs(65);

/// How much is measured.
#[derive(Debug, Clone)]
pub struct Extent {
    /// Files of the trees, ascending.
    pub sizes: Cow<'static, [usize]>,
    /// Edits each way at each size, of which as many are made as there is time for.
    pub edits: usize,
    pub edits_time: Duration,
    pub large: usize,
    pub idle: Duration,
}

impl Extent {
    pub const FULL: Self = Self {
        sizes: Cow::Borrowed(&[1_000, 10_000, 100_000]),
        edits: 200,
        edits_time: Duration::from_secs(8),
        large: 1 << 30,
        idle: Duration::from_secs(20),
    };
    pub const QUICK: Self = Self {
        sizes: Cow::Borrowed(&[1_000]),
        edits: 20,
        edits_time: Duration::from_secs(6),
        large: 64 << 20,
        idle: Duration::from_secs(5),
    };

    pub fn smallest(&self) -> usize {
        self.sizes[0]
    }

    pub fn largest(&self) -> usize {
        self.sizes[self.sizes.len() - 1]
    }
}

/// What was measured of one contender; what it cannot do, or what it was not asked after it had failed, is missing.
#[derive(Debug, Default)]
pub struct Figures {
    /// By the number of files.
    pub initial: BTreeMap<usize, Figure>,
    /// Milliseconds, ascending.
    pub edits: BTreeMap<(Way, usize), Vec<Figure>>,
    pub switch: Option<Figure>,
    pub large: Option<Figure>,
    pub resident: Option<Figure>,
    pub idle: Option<Figure>,
}

pub async fn measure(name: Name, templates: &[Template], extent: &Extent) -> Figures {
    let mut figures = Figures::default();
    for template in templates {
        let files = template.files;
        let mut tree = template.check_out().await;
        // Before anybody begins: making the list takes long enough to be noticed.
        let wanted = sizes(tree::all(files));
        let mut contender = name.contender();
        let ends = contender.start(tree.path.clone()).await;
        tree.path.clone_from(&ends.host);
        let took = initial(&*contender, &ends, &wanted).await;
        told(name, files, "initial sync", "s", took);
        figures.initial.insert(files, took);
        if took.at_least {
            continue;
        }
        check(&ends, tree::all(files));
        for &way in contender.ways() {
            tokio::time::sleep(SETTLE).await;
            let took = edits(&*contender, &ends, way, files, extent).await;
            told(name, files, &format!("{} edits {way:?}, median", took.len()), "ms", percentile(&took, 50));
            figures.edits.insert((way, files), took);
        }
        if files == extent.largest() {
            contender.rest().await;
            tokio::time::sleep(SETTLE).await;
            figures.resident = resident(&*contender);
            figures.idle = idle(&*contender, extent.idle).await;
            let took = switch(&*contender, &ends, files).await;
            told(name, files, "switch of branches", "s", took);
            figures.switch = Some(took);
        }
        if files == extent.smallest() {
            figures.large = large(&*contender, &ends, &tree, extent.large).await;
            figures.large.iter().for_each(|took| told(name, files, "large file", "s", *took));
        }
        drop((contender, tree));
        if files > extent.smallest() {
            rustix::fs::sync();
            tokio::time::sleep(FORGET).await;
        }
    }
    figures
}

/// Talk, while the table is not there yet.
fn told(name: Name, files: usize, what: &str, unit: &str, figure: Figure) {
    eprintln!("{:<10} {files:>7} files  {what}: {figure} {unit}", name.as_str());
}

/// The smallest of the ascending figures that so many in a hundred do not exceed.
pub fn percentile(figures: &[Figure], percent: usize) -> Figure {
    figures[(figures.len() * percent).div_ceil(100).max(1) - 1]
}

fn since(began: Instant, seen: Option<Instant>, limit: Duration) -> Figure {
    match seen {
        Some(seen) => Figure::is(seen.duration_since(began).as_secs_f64()),
        None => Figure::at_least(limit.as_secs_f64()),
    }
}

/// Of those that return, what they have carried counts from then.
async fn both(
    seen: impl Future<Output = Option<Instant>>,
    carried: impl Future<Output = ()>,
) -> Option<Instant> {
    let carried = async {
        carried.await;
        Instant::now()
    };
    let (seen, carried) = tokio::join!(seen, carried);
    // The others return at once, before anything is seen.
    seen.map(|seen| seen.max(carried))
}

fn sizes(files: impl Iterator<Item = (String, Vec<u8>)>) -> Vec<(PathBuf, u64)> {
    files.map(|(path, content)| (PathBuf::from(path), content.len() as u64)).collect()
}

/// What has arrived is what was sent: a fast copy of something else is worth nothing.
fn check(ends: &Ends, files: impl Iterator<Item = (String, Vec<u8>)>) {
    for (path, content) in files {
        assert!(see::holds(&ends.copy.join(&path), &content), "{path} has arrived as something else");
    }
}

async fn initial(contender: &dyn Contender, ends: &Ends, wanted: &[(PathBuf, u64)]) -> Figure {
    let limit = INITIAL_LIMIT + INITIAL_LIMIT_A_FILE * u32::try_from(wanted.len()).unwrap();
    let seen = both(see::all_seen(&ends.copy, wanted, limit), contender.carry(Way::Out, &[])).await;
    since(contender.began().await, seen, limit)
}

/// Milliseconds from before a file is written until its content can be read on the other side, ascending.
async fn edits(
    contender: &dyn Contender,
    ends: &Ends,
    way: Way,
    files: usize,
    extent: &Extent,
) -> Vec<Figure> {
    let (from, to, shift) = match way {
        Way::Out => (&ends.host, &ends.copy, 0),
        Way::In => (&ends.copy, &ends.host, 1),
    };
    let began = Instant::now();
    let mut figures = Vec::new();
    for n in 0..extent.edits {
        if began.elapsed() > extent.edits_time {
            break;
        }
        let index = tree::edited(files, extent.edits, n, shift);
        let path = tree::path(index);
        let content = tree::content(index, &format!("edit {n} {way:?}"));
        let target = to.join(&path);
        let eye = Eye::open(&target, || see::holds(&target, &content));
        // At all times of its rhythm: the golden ratio spreads them evenly, however many they become.
        let phase = (n as f64 * 0.618_034).fract();
        tokio::time::sleep(Duration::from_millis(5) + contender.rhythm().mul_f64(phase)).await;
        let written = Instant::now();
        fs::write(from.join(&path), &content).unwrap();
        let paths = [path];
        let (seen, ()) = tokio::join!(eye.seen(EDIT_LIMIT), contender.carry(way, &paths));
        let took = since(written, seen, EDIT_LIMIT);
        figures.push(Figure { value: took.value * 1000.0, ..took });
        if took.at_least {
            break;
        }
    }
    figures.sort_by(|a, b| a.value.total_cmp(&b.value));
    figures
}

/// Seconds from git's return until the last file of the other branch is there: the median of so many switches, to and
/// fro, that luck does not decide for one that looks only now and then.
async fn switch(contender: &dyn Contender, ends: &Ends, files: usize) -> Figure {
    let began = Instant::now();
    let mut figures = Vec::new();
    for round in 0..SWITCHES {
        let to = if round % 2 == 0 { Branch::Other } else { Branch::Main };
        figures.push(switch_once(contender, ends, files, to).await);
        if figures[round].at_least || began.elapsed() > SWITCHES_TIME {
            break;
        }
    }
    figures.sort_by(|a, b| a.value.total_cmp(&b.value));
    percentile(&figures, 50)
}

async fn switch_once(contender: &dyn Contender, ends: &Ends, files: usize, to: Branch) -> Figure {
    tokio::time::sleep(SETTLE).await;
    let wanted = sizes(tree::switched(files, to));
    let paths: Vec<String> = tree::switched(files, to).map(|(path, _)| path).collect();
    tree::switch(&ends.host, to).await;
    let began = Instant::now();
    let seen =
        both(see::all_seen(&ends.copy, &wanted, SWITCH_LIMIT), contender.carry(Way::Out, &paths)).await;
    if seen.is_some() {
        check(ends, tree::switched(files, to));
    }
    since(began, seen, SWITCH_LIMIT)
}

/// Seconds from one byte changed in a large file until that byte can be read on the other side.
async fn large(contender: &dyn Contender, ends: &Ends, tree: &Tree, size: usize) -> Option<Figure> {
    const NAME: &str = "large.bin";
    let aside = tree.beside(NAME);
    write_noise(&aside, size);
    let (here, there) = (ends.host.join(NAME), ends.copy.join(NAME));
    let paths = [NAME.to_owned()];
    fs::rename(aside, &here).unwrap();
    let (size, at) = (size as u64, size as u64 / 2 + 4321);
    let mut byte = [0];
    fs::File::open(&here).unwrap().read_exact_at(&mut byte, at).unwrap();
    let last = {
        let mut last = [0];
        fs::File::open(&here).unwrap().read_exact_at(&mut last, size - 1).unwrap();
        last[0]
    };
    let eye = Eye::open(&there, || see::has_byte(&there, size, size - 1, last));
    both(eye.seen(LARGE_LIMIT), contender.carry(Way::Out, &paths)).await?;
    tokio::time::sleep(SETTLE).await;

    let other = !byte[0];
    let eye = Eye::open(&there, || see::has_byte(&there, size, at, other));
    let began = Instant::now();
    fs::File::options().write(true).open(&here).unwrap().write_all_at(&[other], at).unwrap();
    let seen = both(eye.seen(LARGE_LIMIT), contender.carry(Way::Out, &paths)).await;
    if seen.is_some() {
        assert!(equal(&here, &there), "the large file has arrived as something else");
    }
    Some(since(began, seen, LARGE_LIMIT))
}

/// A file that neither compresses nor repeats, on the disk.
fn write_noise(path: &Path, size: usize) {
    let mut file = fs::File::create(path).unwrap();
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut block = vec![0; 1 << 20];
    for _ in 0..size >> 20 {
        for word in block.chunks_exact_mut(8) {
            // Marsaglia's xorshift.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_le_bytes());
        }
        file.write_all(&block).unwrap();
    }
    file.sync_all().unwrap();
}

fn equal(one: &Path, other: &Path) -> bool {
    let (mut one, mut other) = (fs::File::open(one).unwrap(), fs::File::open(other).unwrap());
    if one.metadata().unwrap().len() != other.metadata().unwrap().len() {
        return false;
    }
    let (mut left, mut right) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    loop {
        let read = one.read(&mut left).unwrap();
        if read == 0 {
            return true;
        }
        if other.read_exact(&mut right[..read]).is_err() || left[..read] != right[..read] {
            return false;
        }
    }
}

/// Megabytes of both ends together.
fn resident(contender: &dyn Contender) -> Option<Figure> {
    let processes = contender.processes();
    let each = processes.iter().filter_map(|&pid| megabytes(pid, "status", "VmRSS:"));
    (!processes.is_empty()).then(|| Figure::is(each.sum()))
}

/// Percent of one processor that both ends take together while nothing happens.
async fn idle(contender: &dyn Contender, length: Duration) -> Option<Figure> {
    let processes = contender.processes();
    if processes.is_empty() {
        return None;
    }
    tokio::time::sleep(SETTLE).await;
    Some(Figure::is(processor_percent(&processes, length).await))
}
