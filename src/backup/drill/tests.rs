//! Whole drills at destinations that are folders: what comes back proves something, and what is damaged is found.

use std::path::Path;
use std::path::PathBuf;

use tokio_util::sync::CancellationToken;

use crate::backup::drill::sample::Drill;
use crate::backup::tests::Bench;
use crate::backup::tests::DEADLINE;
use crate::backup::tests::bench;
use crate::backup::tests::node;
use crate::base::tasks::TaskGroup;

/// Files of a kind at the destination, below one of its directories.
fn objects(bench: &Bench, directory: &str) -> Vec<PathBuf> {
    fn walk(path: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(path).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { walk(&path, found) } else { found.push(path) }
        }
    }
    let mut found = Vec::new();
    walk(&bench.at("there").join(directory), &mut found);
    found
}

fn flip(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

async fn drill(bench: &Bench) -> Drill {
    let drill = bench.backups.drill("there", None).await.unwrap();
    let left = std::fs::read_dir(bench.at("home/backup/drill")).map_or(0, Iterator::count);
    assert_eq!(left, 0, "the scratch place is empty again");
    drill
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_back_is_proved_and_what_has_changed_since_is_no_witness() {
    for form in ["incremental", "mirror"] {
        let bench = bench(form);
        assert!(!drill(&bench).await.is_good(), "{form}: nothing is there, and nothing is proved");
        bench.run().await;
        let first = drill(&bench).await;
        assert!(first.is_good() && first.proved == Some(first.time), "{form}: {first:?}");
        let tried = &first.workspaces[0];
        assert_eq!((tried.folder.as_str(), tried.files, tried.compared), ("shop", 2, 2), "{form}");
        std::fs::write(bench.at("shop/README"), "changed since").unwrap();
        let second = drill(&bench).await;
        assert!(second.is_good(), "{form}: {second:?}");
        assert_eq!((second.workspaces[0].files, second.workspaces[0].compared), (2, 1), "{form}");
        let status = bench.backups.statuses().borrow()[0].clone();
        assert_eq!(status.drill.as_ref(), Some(&second));
        assert!(!status.alert);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_damaged_or_gone_does_not_come_back_and_is_an_alert() {
    for (form, directory) in [("incremental", "data"), ("mirror", "files/node1/shop")] {
        for gone in [false, true] {
            let bench = bench(form);
            bench.run().await;
            let good = drill(&bench).await;
            for object in objects(&bench, directory) {
                if gone { std::fs::remove_file(&object).unwrap() } else { flip(&object) }
            }
            // What is remembered of it on this machine must not stand in for it.
            std::fs::remove_dir_all(bench.at("home/backup/cache")).ok();
            let bad = drill(&bench).await;
            assert!(bad.is_bad() && !bad.is_good(), "{form}, gone {gone}: {bad:?}");
            assert_eq!(bad.proved, good.proved, "when it was last proved stays known");
            assert!(bench.backups.statuses().borrow()[0].alert);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_is_not_what_was_backed_up_though_nothing_says_so_is_found() {
    let bench = bench("incremental");
    bench.run().await;
    let path = bench.at("shop/README");
    let time = std::fs::metadata(&path).unwrap().modified().unwrap();
    std::fs::write(&path, "me read").unwrap();
    std::fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
    let found = drill(&bench).await;
    let findings = &found.workspaces[0].findings;
    assert!(
        findings.len() == 1 && findings[0].contains("`README` is not what the folder holds"),
        "{found:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_of_one_workspace_proves_nothing_about_all() {
    let bench = bench("mirror");
    bench.run().await;
    let one = bench.backups.drill("there", Some("shop")).await.unwrap();
    assert!(one.is_good() && one.proved.is_none(), "{one:?}");
    assert_eq!(bench.backups.statuses().borrow()[0].drill, None);
    assert!(bench.backups.drill("there", Some("nobody")).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_cannot_be_asked_is_no_damage_and_tried_again() {
    let bench = bench("mirror");
    bench.run().await;
    let there = bench.at("there");
    std::fs::rename(&there, bench.at("away")).unwrap();
    std::fs::write(&there, "no directory").unwrap();
    for failures in 1..=3 {
        let failed = bench.backups.drill("there", None).await.unwrap();
        assert!(failed.failure.is_some() && !failed.is_bad(), "{failed:?}");
        assert_eq!((failed.failures, failed.is_alarming()), (failures, failures == 3));
    }
    std::fs::remove_file(&there).unwrap();
    std::fs::rename(bench.at("away"), &there).unwrap();
    assert!(drill(&bench).await.is_good());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_due_happens_by_itself() {
    let bench = bench("incremental");
    bench.run().await;
    // As if that had been long ago.
    let past = r#"{"begun":"2024-01-01T00:00:00Z","succeeded":"2024-01-01T00:00:00Z","failures":0}"#;
    std::fs::write(bench.at("home/backup/past/there.json"), past).unwrap();
    // What a killed drill has left.
    std::fs::create_dir_all(bench.at("home/backup/drill/.tmp/src")).unwrap();
    let known = bench.workspaces.subscribe();
    let later = node(&bench.directory, "node1", "home", "incremental", known);
    let token = CancellationToken::new();
    let mut statuses = later.statuses();
    let mut loops = TaskGroup::new("backup destinations", &token);
    loops.spawn("look after", later.clone().look_after(token.clone()));
    let done = statuses.wait_for(|all| all[0].drill.is_some() && all[0].probe.is_some());
    let status = tokio::time::timeout(DEADLINE, done).await.unwrap().unwrap()[0].clone();
    assert!(status.drill.as_ref().is_some_and(Drill::is_good), "{status:?}");
    assert!(status.next_drill > status.drill.map(|drill| drill.time), "the next one is due in the future");
    loops.close(DEADLINE).await;
    assert_eq!(std::fs::read_dir(bench.at("home/backup/drill")).unwrap().count(), 0);
    // And the node that comes after this one knows it.
    let again = node(&bench.directory, "node1", "home", "incremental", bench.workspaces.subscribe());
    let known = again.statuses().borrow()[0].clone();
    assert!(known.drill.is_some_and(|drill| drill.is_good()) && known.probe.is_some());
}
