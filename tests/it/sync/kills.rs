//! The node killed in the middle of much, alone or together with the agent (SY-04): whatever was half done is done again,
//! nothing is lost and nothing of ours stays behind. The agent killed alone is in `races`.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

use super::process::Host;
use super::process::With;
use super::races::contents;
use super::races::inside;
use crate::agent::Bench;
use crate::agent::DEBIAN;
use crate::agent::docker;
use crate::nightly::nightly_or;

/// Much on both sides: small files, larger ones, one edit, some that go.
fn stir(bench: &Bench, round: usize) {
    for number in 0..100 {
        bench.write(&format!("r{}/{number}", round % 8), &format!("{round} {number} ").repeat(number * 40));
    }
    bench.write(&format!("large{}", round % 4), &format!("{round}").repeat(4_000_000));
    if round % 8 == 7 {
        (0..20).for_each(|number| drop(fs::remove_file(at(bench).join(format!("r{}/{number}", round % 8)))));
    }
    let script = format!(
        "mkdir -p /workspace/i && head -c 900000 /dev/urandom > /workspace/i/{} && \
         for n in 1 2 3 4 5 6 7 8 9; do echo {round} > /workspace/i/small$n; done",
        round % 16
    );
    bench.inside(&["sh", "-c", &script]);
}

fn at(bench: &Bench) -> PathBuf {
    bench.folder.path().join("src")
}

/// Every content people have written so far, by its first path: none of it may vanish before somebody replaces it.
fn held(bench: &Bench) -> BTreeMap<PathBuf, Vec<u8>> {
    contents(&at(bench))
}

#[tokio::test(flavor = "multi_thread")]
async fn sy04_a_node_killed_in_the_middle_of_much_goes_on_where_it_was() {
    let bench = Bench::new().await;
    bench.write("file", "first");
    bench.run(DEBIAN, &[], &["/nexus/nexus-agent", "static", "."]);
    let with = With::Container(bench.name("app"));
    let mut host = Host::start(&[], bench.folder.path(), &with);
    host.flush(Duration::from_secs(30)).await;
    let both = nightly_or(100, 2);
    for round in 0..nightly_or(300, 5) {
        stir(&bench, round);
        // Somewhere within the transfer, which takes some tenths of a second.
        tokio::time::sleep(Duration::from_millis(round as u64 * 137 % 600)).await;
        host.kill();
        if round < both {
            docker(&["kill", &bench.name("app")]);
            docker(&["start", &bench.name("app")]);
        }
        host = Host::start(&[], bench.folder.path(), &with);
        let started = Instant::now();
        host.flush(Duration::from_secs(30)).await;
        assert!(started.elapsed() < Duration::from_secs(15), "{round}: {:?}", started.elapsed());
        let (copy, own) = (inside(&bench), held(&bench));
        let names = copy.keys().collect::<Vec<_>>();
        assert!(names.iter().all(|path| !path.to_string_lossy().contains(".nexus-stage/")), "{names:?}");
        assert_eq!(names, own.keys().collect::<Vec<_>>(), "{round}");
        assert!(copy == own, "{round}: a content differs");
        let large = fs::metadata(at(&bench).join(format!("large{}", round % 4))).unwrap().len();
        assert_eq!(large as usize, 4_000_000 * round.to_string().len(), "{round}");
        assert_eq!(fs::read_to_string(at(&bench).join("i/small9")).unwrap(), format!("{round}\n"));
        let stage: Vec<_> = fs::read_dir(bench.folder.path().join("stage"))
            .map(|listing| listing.map(|entry| entry.unwrap().file_name()).collect())
            .unwrap_or_default();
        assert!(stage.iter().all(|name| !name.to_string_lossy().starts_with("part")), "{stage:?}");
    }
}
