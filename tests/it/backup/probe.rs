//! What a destination really does is found out at a real S3 server, also where it lets us do only a part, and nothing of
//! it is left behind.

use std::path::Path;

use nexus::backup::probe::finding::Ability;
use nexus::backup::probe::finding::Probe;
use nexus::backup::probe::finding::Verdict;
use nexus::backup::trouble::Cause;

use super::harness::Node;
use super::harness::bucket;
use super::harness::destination;
use super::proxy::Fault;
use super::proxy::Proxy;
use super::proxy::Which;
use super::server::BUCKET;
use super::server::Server;

fn verdicts(probe: &Probe, abilities: &[Ability]) -> Vec<Verdict> {
    abilities.iter().map(|ability| probe.verdict(*ability)).collect()
}

fn detail(probe: &Probe, ability: Ability) -> &str {
    &probe.findings.iter().find(|finding| finding.ability == ability).unwrap().detail
}

/// How many objects there are; this server keeps the directories of those that are gone.
fn objects(directory: &Path) -> usize {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| if path.is_dir() { objects(&path) } else { 1 }).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_asked_and_left_as_it_was() {
    let server = Server::start();
    let node = Node::new(vec![bucket("s3", &server.endpoint())]);
    let probe = node.backups.probe("s3").await.unwrap();
    let basic = [Ability::Write, Ability::Read, Ability::List, Ability::Delete, Ability::Clock];
    assert_eq!(verdicts(&probe, &basic), [Verdict::Proved; 5], "{probe:?}");
    assert_eq!(probe.verdict(Ability::Versions), Verdict::Absent, "this server keeps none: {probe:?}");
    assert_eq!(probe.verdict(Ability::Lock), Verdict::Unknown);
    // It looks whether the object is there and writes then: now and then several come through, or one by chance.
    assert_ne!(detail(&probe, Ability::Create), "it says yes to the condition and overwrites");
    assert_eq!(objects(&server.objects()), 0, "nothing is left");
    let statuses = node.backups.statuses();
    assert_eq!(statuses.borrow()[0].probe.as_ref(), Some(&probe));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_may_only_be_read_is_known_for_it() {
    let server = Server::start();
    let proxy = Proxy::before(&server).await;
    let node = Node::new(vec![bucket("s3", &proxy.endpoint())]);
    proxy.set(&[Fault::Answer(403, "AccessDenied")], Which::Writing(""));
    let probe = node.backups.probe("s3").await.unwrap();
    assert_eq!(probe.verdict(Ability::Write), Verdict::Absent, "{probe:?}");
    assert!(detail(&probe, Ability::Write).contains("AccessDenied"), "{probe:?}");
    assert_eq!(probe.verdict(Ability::Delete), Verdict::Unknown, "there was nothing to remove");
    proxy.set(&[Fault::Answer(403, "AccessDenied")], Which::All);
    let probe = node.backups.probe("s3").await.unwrap();
    assert_eq!(verdicts(&probe, &[Ability::Write, Ability::List]), [Verdict::Absent; 2], "{probe:?}");
    proxy.set(&[Fault::Answer(404, "NoSuchBucket")], Which::All);
    let nexus::backup::Error::Trouble(trouble) = node.backups.probe("s3").await.unwrap_err() else {
        panic!("a place that is not there has no abilities");
    };
    assert_eq!(trouble.cause, Cause::NoBucket);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_can_be_removed_runs_go_on_and_forget_nothing() {
    for form in ["incremental", "mirror"] {
        let server = Server::start();
        let proxy = Proxy::before(&server).await;
        let url = format!("s3://{BUCKET}/here");
        let words =
            [("url", url.as_str()), ("endpoint", &proxy.endpoint()), ("form", form), ("keep", "last=1")];
        let node = Node::new(vec![destination("s3", &words)]);
        let shop = node.project("shop");
        proxy.set(&[Fault::Answer(403, "AccessDenied")], Which::Removing);
        let probe = node.backups.probe("s3").await.unwrap();
        assert_eq!(probe.verdict(Ability::Delete), Verdict::Absent, "{form}: {probe:?}");
        for number in 0..3 {
            std::fs::write(shop.join("src/a.js"), format!("state {number}")).unwrap();
            let runs = node.run().await;
            assert_eq!(runs[0].forgotten, 0);
        }
        assert_eq!(node.snapshots("s3").await.len(), 3, "{form}");
        node.verify("s3").await;
        // With a key that may, the rules count again.
        proxy.set(&[], Which::All);
        node.backups.probe("s3").await.unwrap();
        std::fs::write(shop.join("src/a.js"), "the last state").unwrap();
        assert!(node.run().await[0].forgotten > 0, "{form}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_goes_wrong_is_seen_before_the_server_refuses() {
    let server = Server::start();
    let proxy = Proxy::before(&server).await;
    let node = Node::new(vec![bucket("s3", &proxy.endpoint())]);
    proxy.set(&[Fault::OtherClock(600)], Which::All);
    let probe = node.backups.probe("s3").await.unwrap();
    assert_eq!(probe.verdict(Ability::Clock), Verdict::Absent, "{probe:?}");
    let said = detail(&probe, Ability::Clock);
    assert!(said.contains("s ahead of this machine's"), "{said}");
}
