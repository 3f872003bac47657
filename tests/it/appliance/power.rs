//! The power goes in the middle of a sync (SY-06): engine, container and node end at once, come back in any order, and
//! both sides become equal with all that was written on either.

use std::fs;
use std::time::Duration;
use std::time::Instant;

use super::harness::LATER;
use super::harness::TestNode;
use super::harness::docker_at;
use super::second_engine::SecondEngine;
use crate::nightly::is_nightly;

/// How long it may take from the last of the three to both sides being equal.
const WITHIN: Duration = Duration::from_secs(60);

#[tokio::test]
async fn sy06_power_that_goes_in_the_middle_of_a_sync_loses_nothing() {
    let mut engine = SecondEngine::start();
    let address = engine.address();
    let mut node = TestNode::prepare();
    node.set_engine(&address);
    node.spawn();
    // A site's container makes no edits unless its owner says that it does.
    node.write("site/.nexus/config.yaml", "mode: dev\n");
    node.write("site/index.html", "page");
    // Its pages cannot be asked for: this engine's network is its own.
    let running = |workspace: &serde_json::Value| workspace["workspace"]["state"] == "running";
    node.wait_for_workspace("site", "running", LATER, running).await;
    let orders = ["ean", "ena", "aen", "ane", "nea", "nae"];
    let orders: Vec<_> = if is_nightly() { orders.repeat(10) } else { vec!["ena", "nae"] };
    for (round, order) in orders.into_iter().enumerate() {
        let filter = ["ps", "--all", "--quiet", "--filter", "label=nexus.name=site"];
        let container = docker_at(Some(&address), &filter).trim().to_owned();
        assert!(!container.is_empty(), "{round}: its container is gone");
        let own = node.projects().join("inside.tmp");
        fs::write(&own, format!("inside {round}")).unwrap();
        let place = format!("{container}:/workspace/inside{round}");
        docker_at(Some(&address), &["cp", own.to_str().unwrap(), &place]);
        fs::remove_file(&own).unwrap();
        for number in 0..300 {
            node.write(&format!("site/r{}/{number}", round % 4), &format!("{round} {number} ").repeat(500));
        }
        tokio::time::sleep(Duration::from_millis(round as u64 * 61 % 400)).await;
        engine.kill();
        node.kill();
        for one in order.chars() {
            match one {
                'e' => engine.spawn(),
                'n' => node.spawn(),
                // Before its engine it cannot be, and the engine starts it by itself.
                _ => drop(docker_at(Some(&address), &["start", &container])),
            }
        }
        let started = Instant::now();
        loop {
            let (code, out, talk) = node.cli(&["--json", "sync", "flush", "site"]);
            if code == 0 && out.contains("\"equal\"") {
                break;
            }
            assert!(started.elapsed() < WITHIN, "{order}: {out}{talk}\n{}", node.log_tail());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        println!("{order}: equal after {:?}", started.elapsed());
        let site = node.projects().join("site");
        assert_eq!(
            fs::read_to_string(site.join(format!("inside{round}"))).unwrap(),
            format!("inside {round}")
        );
        let last = format!("{round} 299 ").repeat(500);
        assert_eq!(fs::read_to_string(site.join(format!("r{}/299", round % 4))).unwrap(), last);
        let copy = node.projects().join("copy.tmp");
        let place = format!("{container}:/workspace/r{}/299", round % 4);
        docker_at(Some(&address), &["cp", &place, copy.to_str().unwrap()]);
        assert_eq!(fs::read_to_string(&copy).unwrap(), last, "{order}");
        fs::remove_file(&copy).unwrap();
    }
    // Before its engine.
    drop(node);
}
