//! House rules as tests: floors, pure files, headers, forgotten files.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

/// Each room and its floor; a room imports only from lower floors, rooms on one floor are strangers.
const FLOORS: [(&str, u8); 19] = [
    ("cli", 8),
    ("node", 7),
    ("api", 6),
    ("ops", 5),
    ("workspace", 4),
    ("project", 3),
    ("compose", 3),
    ("sync", 3),
    ("router", 3),
    ("backup", 3),
    ("task", 3),
    ("engine", 2),
    ("git", 2),
    ("store", 2),
    ("secret", 2),
    ("config", 1),
    ("telemetry", 1),
    ("model", 1),
    ("base", 0),
];

/// Files that decide and never touch the world.
const PURE_FILES: [&str; 8] =
    ["plan.rs", "table.rs", "canonical.rs", "retention.rs", "status.rs", "graph.rs", "diff.rs", "labels.rs"];
const PURE_ROOMS: [&str; 17] = [
    "agent/src/delta/",
    "agent/src/reconcile/",
    "agent/src/resolve/",
    "agent/src/safety/",
    "agent/src/tree/",
    "src/backup/destination.rs",
    "src/backup/schedule.rs",
    "src/backup/trouble.rs",
    "src/compose/",
    "src/model/",
    "src/project/detect/",
    "src/router/host.rs",
    "src/router/rewrite/",
    "src/router/route.rs",
    "src/project/identity.rs",
    "src/project/listing.rs",
    "src/project/overrides/",
];
const IMPURE_WORDS: [&str; 8] =
    ["async fn", ".await", "std::fs", "std::env", "tokio::", "std::net::Tcp", "Instant::now", "clock::now"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources() -> Vec<(String, String)> {
    fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&root().join("src"), &mut found);
    walk(&root().join("agent/src"), &mut found);
    found.sort();
    let relative = |path: &PathBuf| path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
    found.iter().map(|path| (relative(path), fs::read_to_string(path).unwrap())).collect()
}

/// The part of a file before its inline tests, comment lines left out.
fn code(text: &str) -> String {
    let body = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    body.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn is_test(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/")
}

#[test]
fn rooms_import_only_from_lower_floors() {
    let floors: BTreeMap<&str, u8> = FLOORS.into();
    let mut broken = Vec::new();
    for (path, text) in sources() {
        let Some(rest) = path.strip_prefix("src/") else { continue };
        let Some((room, _)) = rest.split_once('/') else { continue };
        let Some(&floor) = floors.get(room) else {
            broken.push(format!(
                "{path}: the room `{room}` has no floor: add it to FLOORS and docs/architecture.md"
            ));
            continue;
        };
        if text.contains("use crate::{") {
            broken.push(format!("{path}: write one `use crate::room::...` line per import"));
        }
        for part in text.split("crate::").skip(1) {
            let other: String = part.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
            if let Some(&theirs) = floors.get(other.as_str())
                && other != room
                && theirs >= floor
            {
                broken.push(format!("{path}: `{room}` may not import `{other}`"));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn pure_files_touch_nothing() {
    let mut broken = Vec::new();
    for (path, text) in sources() {
        let name = path.rsplit('/').next().unwrap();
        let pure = PURE_FILES.contains(&name) || PURE_ROOMS.iter().any(|room| path.starts_with(room));
        if !pure || is_test(&path) {
            continue;
        }
        for word in IMPURE_WORDS {
            if code(&text).contains(word) {
                broken.push(format!("{path}: a pure file says `{word}`"));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn every_file_opens_with_a_header_and_owes_nothing() {
    let mut broken = Vec::new();
    for (path, text) in sources() {
        if !text.starts_with("//!") {
            broken.push(format!("{path}: no `//!` header"));
        }
        for debt in ["FIXME", concat!("TO", "DO"), "XXX", "unimplemented!", "todo!"] {
            if text.contains(debt) {
                broken.push(format!("{path}: says `{debt}`"));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn every_test_file_is_part_of_the_binary() {
    let main = fs::read_to_string(root().join("tests/it/main.rs")).unwrap();
    for entry in fs::read_dir(root().join("tests/it")).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if stem != "main" && (path.is_dir() || path.extension().is_some_and(|extension| extension == "rs")) {
            assert!(
                main.contains(&format!("mod {stem};")),
                "tests/it/{stem} is not declared in tests/it/main.rs"
            );
        }
    }
}

#[test]
fn doors_hold_no_long_logic_and_files_fit_a_sitting() {
    let long: Vec<String> = sources()
        .iter()
        .filter(|(_, text)| text.lines().count() > 700)
        .map(|(path, text)| {
            format!("{path}: {} lines, is there a second subject in it?", text.lines().count())
        })
        .collect();
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn the_stack_runs_this_version() {
    let text = fs::read_to_string(root().join(".env")).unwrap();
    let stated = text.lines().find_map(|line| line.strip_prefix("NEXUS_VERSION="));
    assert_eq!(stated, Some(env!("CARGO_PKG_VERSION")), ".env and Cargo.toml name different versions");
}
