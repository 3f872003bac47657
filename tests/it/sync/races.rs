//! What happens to a container while it is synchronised, on the real engine: it is frozen (SY-24), killed (SY-04), made
//! anew (SY-08), and a program in it changes directories for links while we write (SY-26).

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

use nexus::sync::Link;
use tempfile::TempDir;

use super::near::picture;
use crate::agent::Bench;
use crate::agent::DEBIAN;
use crate::agent::docker;
use crate::nightly::nightly_or;

const SITE: [&str; 3] = ["/nexus/nexus-agent", "static", "."];

/// What the container's copy holds: contents by path. Versions wait in the staging area until they are moved to the
/// store, which is on another mount; content that is half there, or whole and not in place, must not be left.
pub(super) fn inside(bench: &Bench) -> BTreeMap<PathBuf, Vec<u8>> {
    let out = TempDir::new().unwrap();
    docker(&["cp", &format!("{}:/workspace", bench.name("app")), out.path().to_str().unwrap()]);
    let mut held = contents(&out.path().join("workspace"));
    held.retain(|path, _| {
        path != Path::new(".nexus-stage") && !path.to_string_lossy().starts_with(".nexus-stage/taken-")
    });
    held
}

pub(super) fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    picture(folder).into_iter().map(|(path, (_, content))| (path, content)).collect()
}

fn host(bench: &Bench) -> BTreeMap<PathBuf, Vec<u8>> {
    contents(&bench.folder.path().join("src"))
}

fn lost(status: &nexus::sync::Status) -> bool {
    matches!(status.link, Link::Lost { .. })
}

#[tokio::test]
async fn sy24_a_frozen_container_is_noticed_and_caught_up_with() {
    let mut bench = Bench::new().await;
    bench.write("file", "first");
    bench.start(DEBIAN, &[], &SITE);
    bench.ready().await;
    bench.flush().await;
    docker(&["pause", &bench.name("app")]);
    let started = Instant::now();
    bench.write("file", "second");
    bench.until("a lost link", lost).await;
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
    // Whoever wants something meanwhile is answered: stopping at once, a flush by whoever waits.
    let wishes = bench.handle.as_ref().unwrap().wishes.clone();
    let paused = tokio::time::timeout(Duration::from_secs(5), wishes.pause(true)).await;
    paused.expect("it answers").unwrap();
    wishes.pause(false).await.unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(300), wishes.flush()).await.is_err(), "not equal");
    docker(&["unpause", &bench.name("app")]);
    let healed = Instant::now();
    bench.flush().await;
    assert!(healed.elapsed() < Duration::from_secs(20), "{:?}", healed.elapsed());
    assert_eq!(inside(&bench), host(&bench));
}

#[tokio::test]
async fn sy04_an_agent_killed_in_the_middle_of_much_goes_on_where_it_was() {
    let mut bench = Bench::new().await;
    bench.write("file", "first");
    bench.start(DEBIAN, &[], &SITE);
    bench.ready().await;
    for round in 0..nightly_or(200, 3) {
        for number in 0..100 {
            bench.write(&format!("r{round}/{number}"), &format!("{round} {number} ").repeat(number * 40));
        }
        bench.write(&format!("large{}", round % 4), &format!("{round}").repeat(4_000_000));
        bench.inside(&[
            "sh",
            "-c",
            &format!("mkdir -p /workspace/i && head -c 900000 /dev/zero > /workspace/i/{round}"),
        ]);
        // Somewhere within the transfer, which takes some tenths of a second.
        tokio::time::sleep(Duration::from_millis(round as u64 * 137 % 600)).await;
        docker(&["kill", &bench.name("app")]);
        docker(&["start", &bench.name("app")]);
        let started = Instant::now();
        bench.flush().await;
        assert!(started.elapsed() < Duration::from_secs(15), "{round}: {:?}", started.elapsed());
        let copy = inside(&bench);
        assert!(
            copy.keys().all(|path| !path.to_string_lossy().contains(".nexus-stage/")),
            "{round}: {:?}",
            copy.keys()
        );
        assert_eq!(copy.keys().collect::<Vec<_>>(), host(&bench).keys().collect::<Vec<_>>(), "{round}");
        assert!(copy == host(&bench), "{round}: a content differs");
    }
}

#[tokio::test]
async fn sy08_a_container_made_anew_over_another_volume_deletes_nothing() {
    let mut bench = Bench::new().await;
    (0..5).for_each(|number| bench.write(&format!("file{number}"), "x"));
    bench.start(DEBIAN, &[], &SITE);
    bench.ready().await;
    bench.flush().await;

    // The same volume: what went meanwhile goes on the other side too.
    docker(&["rm", "--force", &bench.name("app")]);
    bench.until("a lost link", lost).await;
    fs::remove_file(bench.folder.path().join("src/file0")).unwrap();
    bench.run(DEBIAN, &[], &SITE);
    bench.until("a link", |status| status.link == Link::Up).await;
    bench.flush().await;
    let copy = inside(&bench);
    assert_eq!(copy, host(&bench));

    // Another volume under the same name, with a file of its own: all that either has, and both versions of one.
    for round in 0..nightly_or(20, 2) {
        let own = format!("own{round}");
        docker(&["rm", "--force", &bench.name("app")]);
        docker(&["volume", "rm", &bench.name("sync")]);
        bench.until("a lost link", lost).await;
        let before = host(&bench);
        let labelled = format!("{}:/workspace", bench.name("sync"));
        docker(&["volume", "create", "--label", &bench.label(), &bench.name("sync")]);
        let fill = format!(
            "echo mine > /workspace/{own}; echo other > /workspace/file1; chown -R 1000:1000 /workspace"
        );
        docker(&["run", "--rm", "--label", &bench.label(), "--volume", &labelled, DEBIAN, "sh", "-c", &fill]);
        bench.run(DEBIAN, &[], &SITE);
        bench.until("a link", |status| status.link == Link::Up).await;
        bench.flush().await;
        let now = host(&bench);
        assert!(before.iter().all(|(path, content)| now.get(path) == Some(content)), "{round}");
        assert_eq!(now.get(Path::new(&own)).map(Vec::as_slice), Some(&b"mine\n"[..]), "{round}");
        let copy = inside(&bench);
        assert_eq!(copy, now, "{round}");
    }
}

#[tokio::test]
async fn sy26_directories_swapped_for_links_lead_nowhere() {
    let mut bench = Bench::new().await;
    bench.write("d/file", "x");
    bench.write("still", "x");
    bench.start(DEBIAN, &[], &SITE);
    bench.ready().await;
    // Canaries the agent's own user could write to; the swaps go on until they are told to stop.
    let swap = "mkdir -p /tmp/canary && echo untouched > /tmp/canary/file && chmod 640 /tmp/canary/file && \
                perl -e 'chdir q(/workspace); my $n = 0; while (!-e q(/tmp/stop)) { \
                rename q(d), q(real); symlink q(/tmp/canary), q(d); unlink q(d); rename q(real), q(d); $n++ } \
                open F, q(>), q(/tmp/swapped); print F $n'";
    let before = {
        bench.inside(&["sh", "-c", "mkdir -p /tmp/canary"]);
        docker(&["exec", "--detach", &bench.name("app"), "sh", "-c", swap]);
        let started = Instant::now();
        loop {
            let seen = bench.inside(&["sh", "-c", "stat -c '%n %a %Y %s' /tmp/canary/* 2>/dev/null; true"]);
            if !seen.is_empty() && seen.contains("640") {
                break seen;
            }
            assert!(started.elapsed() < Duration::from_secs(10));
        }
    };
    let (started, lasting) = (Instant::now(), Duration::from_secs(nightly_or(60, 5)));
    let mut round = 0;
    while started.elapsed() < lasting {
        round += 1;
        bench.write("d/file", &format!("written {round}"));
        bench.write(&format!("d/new{}/file", round % 7), "x");
        if round % 3 == 0 {
            drop(fs::remove_dir_all(bench.folder.path().join(format!("src/d/new{}", (round + 3) % 7))));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let after = bench.inside(&[
        "sh",
        "-c",
        "stat -c '%n %a %Y %s' /tmp/canary/*; cat /tmp/canary/file; touch /tmp/stop",
    ]);
    assert_eq!(after, format!("{before}untouched\n"));
    bench.until("both equal", |status| status.link == Link::Up && status.session.is_some()).await;
    bench.flush().await;
    let swaps = bench.inside(&["cat", "/tmp/swapped"]);
    println!("{swaps} swaps, {round} rounds of edits");
    let copy = inside(&bench);
    assert_eq!(copy, host(&bench));
}
