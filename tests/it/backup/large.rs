//! Very many files, and a very large one, are backed up and come back with memory that has a bound.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;

use nexus::backup::recover::Request;
use tempfile::TempDir;

use super::harness::Node;
use super::harness::destination;
use crate::nightly::is_nightly;

/// What the other process is to do: what, and where.
const ORDER: &str = "NEXUS_TEST_LARGE";
/// Files in a directory.
const BESIDE: usize = 250;
/// Each of so many bytes of the large file is unlike the others; between them it is empty on the disk.
const STRIDE: u64 = 1 << 20;

struct Extent {
    files: usize,
    bytes: u64,
    /// The most memory a process may have had, in megabytes.
    memory: f64,
}

fn extent() -> Extent {
    if is_nightly() {
        // The index of a million blobs is in memory, twice while it is sorted.
        Extent { files: 1_000_000, bytes: 10 << 30, memory: 800.0 }
    } else {
        Extent { files: 4_000, bytes: 256 << 20, memory: 160.0 }
    }
}

fn node(root: &Path) -> Node {
    let place = root.join("there").display().to_string();
    Node::at(root, vec![destination("there", &[("url", &place)])], Default::default(), Default::default())
}

/// The process that is measured: this test, told by its environment what to do. Without that it does nothing.
#[tokio::test(flavor = "multi_thread")]
async fn in_another_process() {
    let Ok(order) = std::env::var(ORDER) else { return };
    let (what, root) = order.split_once('\n').unwrap();
    let node = node(Path::new(root));
    node.workspace("shop");
    match what {
        "run" => drop(node.run().await),
        _ => {
            let (folder, to) = ("shop".to_owned(), Some("back".to_owned()));
            drop(node.restore(Request { folder, to, ..Request::default() }).await);
        }
    }
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    fs::write(Path::new(root).join("memory"), line.trim()).unwrap();
}

/// Does it in a process of its own; the most memory that had, in megabytes.
fn memory(what: &str, root: &Path) -> f64 {
    let done = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "backup::large::in_another_process"])
        .env(ORDER, format!("{what}\n{}", root.display()))
        .output()
        .unwrap();
    assert!(done.status.success(), "{what}: {}", String::from_utf8_lossy(&done.stdout));
    let said = fs::read_to_string(root.join("memory")).unwrap();
    said.split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1024.0
}

fn plant(folder: &Path, extent: &Extent) {
    for number in 0..extent.files {
        let directory = folder.join(format!("d{}/e{}", number / BESIDE / 40, number / BESIDE));
        if number % BESIDE == 0 {
            fs::create_dir_all(&directory).unwrap();
        }
        fs::write(directory.join(format!("f{number}")), format!("line {number}\n").repeat(10)).unwrap();
    }
    let large = fs::File::create(folder.join("large")).unwrap();
    large.set_len(extent.bytes).unwrap();
    for at in (0..extent.bytes).step_by(STRIDE as usize) {
        large.write_all_at(blake3::hash(&at.to_le_bytes()).as_bytes(), at).unwrap();
    }
}

#[test]
fn many_files_and_a_large_one_come_back_with_bounded_memory() {
    let (directory, extent) = (TempDir::new().unwrap(), extent());
    let root = directory.path();
    plant(&root.join("projects/shop"), &extent);
    for what in ["run", "restore"] {
        let memory = memory(what, root);
        eprintln!("{what}: {memory:.0} MB for {} files and {} bytes in one", extent.files, extent.bytes);
        assert!(memory <= extent.memory, "{what} took {memory} MB");
    }
    let (from, to) = (root.join("projects/shop"), root.join("projects/back"));
    let same = Command::new("diff").args(["--recursive", "--brief"]).args([from, to]).status().unwrap();
    assert!(same.success(), "what comes back is not what was there");
}
