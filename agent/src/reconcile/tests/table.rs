//! The table of cases: trees before, trees after, conflicts, halts. It is what the planner was agreed to do.

use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;

use serde_json::Value;

use super::Planner;
use super::Scene;
use super::conflict_paths;
use crate::reconcile::Mode;
use crate::reconcile::reconcile;
use crate::safety::halt;
use crate::sample::parse;
use crate::tree::Tree;

/// The table of this repository, and every `*.json` in the folder that `NEXUS_RECONCILE_CASES` names.
#[expect(clippy::disallowed_methods, reason = "more cases can be given from outside")]
fn files() -> Vec<PathBuf> {
    let mut files = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/reconcile.json")];
    if let Some(folder) = std::env::var_os("NEXUS_RECONCILE_CASES") {
        let listing = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
        let paths = listing.map(|entry| entry.unwrap().path());
        files.extend(paths.filter(|path| path.extension().is_some_and(|extension| extension == "json")));
    }
    files
}

pub(super) fn rows() -> Vec<Value> {
    let read = |path: PathBuf| -> Vec<Value> {
        let text = std::fs::read_to_string(&path).unwrap();
        let table: Value =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        table.as_array().cloned().unwrap_or_default()
    };
    // A folder of cases may hold tables about other things.
    let is_ours = |rows: &Vec<Value>| rows.iter().any(|row| row.get("ancestor").is_some());
    files().into_iter().map(read).filter(is_ours).flatten().collect()
}

/// What is wrong with a planner's answer to a row.
pub(super) fn judge(row: &Value, planner: Planner<'_>) -> Option<String> {
    let tree = |value: &Value| Tree::with_root(parse(value));
    let mode: Mode = row["mode"].as_str().unwrap().parse().unwrap();
    let scene =
        Scene { ancestor: tree(&row["ancestor"]), alpha: tree(&row["alpha"]), beta: tree(&row["beta"]) };
    let expect = &row["expect"];
    let wanted = Scene {
        ancestor: tree(&expect["ancestor"]),
        alpha: tree(&expect["alpha"]),
        beta: tree(&expect["beta"]),
    };
    let plan = scene.plan(planner, mode);
    let after = match scene.after(&plan) {
        Ok(after) => after,
        Err(error) => return Some(format!("{}: {error}", row["id"])),
    };
    let mut conflicts: Vec<String> = conflict_paths(&plan)
        .iter()
        .map(|path| path.as_ref().map(ToString::to_string).unwrap_or_default())
        .collect();
    let mut expected: Vec<&str> =
        expect["conflicts"].as_array().unwrap().iter().map(|path| path.as_str().unwrap()).collect();
    conflicts.sort_unstable();
    expected.sort_unstable();
    let halted = halt(&scene.ancestor, &scene.alpha, &scene.beta, &plan).map(|halt| halt.name());
    let right = after == wanted && conflicts == expected && halted == row["halt"].as_str();
    (!right).then(|| {
        format!(
            "{}: {}\n  gives {after:?}\n  conflicts {conflicts:?}, halt {halted:?}",
            row["id"], row["why"]
        )
    })
}

#[test]
fn every_row_of_the_table_comes_out() {
    let rows = rows();
    assert!(rows.len() >= 414, "the table has {} rows", rows.len());
    let wrong: Vec<_> = rows.iter().filter_map(|row| judge(row, &reconcile)).collect();
    assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
    let mut modes: BTreeMap<&str, usize> = BTreeMap::new();
    for row in &rows {
        *modes.entry(row["mode"].as_str().unwrap()).or_default() += 1;
    }
    assert_eq!(modes.len(), 4, "every mode is in it");
}

#[test]
fn a_row_that_does_not_come_out_is_told() {
    let mut row = rows().into_iter().find(|row| row["id"] == "alpha-created-file--tws").unwrap();
    assert_eq!(judge(&row, &reconcile), None);
    row["expect"]["beta"] = Value::Null;
    assert!(judge(&row, &reconcile).is_some());
}
