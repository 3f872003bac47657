//! Several at work in one repository: two backups at once, a backup beside `restic prune`, locks nobody gives back.

use std::collections::BTreeMap;
use std::time::Duration;

use nexus::backup::control::Run;
use nexus::backup::objects::Patience;
use nexus::backup::trouble::Cause;
use tokio::time::Instant;

use super::harness::Node;
use super::harness::PATIENCE;
use super::harness::bucket;
use super::harness::picture;
use super::proxy::Fault;
use super::proxy::Proxy;
use super::proxy::Which;
use super::server::BUCKET;
use super::server::Restic;
use super::server::Server;

fn saved(runs: &[Run]) -> bool {
    runs.iter().all(|run| run.failure.is_none() && run.outcomes.iter().all(|one| one.failure.is_none()))
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_back_up_to_one_repository_at_once() {
    let server = Server::start();
    let here = || vec![bucket("s3", &server.endpoint())];
    let one = Node::new(here());
    one.project("one");
    one.run().await;
    let password = one.backups.recovery("s3").await.unwrap();
    let two = Node::with(here(), PATIENCE, [("s3".to_owned(), password)].into());
    two.project("two");
    for number in 0..4 {
        for (node, name) in [(&one, "one"), (&two, "two")] {
            std::fs::write(node.folder(name).join("src/a.js"), format!("{number} of {name}")).unwrap();
        }
        let (first, second) = tokio::join!(one.backups.run(None, None), two.backups.run(None, None));
        assert!(saved(&first.unwrap()) && saved(&second.unwrap()));
    }
    one.verify("s3").await;
    let all = one.snapshots("s3").await;
    for (node, name) in [(&one, "one"), (&two, "two")] {
        let newest = all.iter().rfind(|snapshot| snapshot.folder == name).unwrap();
        // Each brings back what the other one has saved, too.
        assert_eq!(one.picture_of("s3", newest).await, picture(&node.folder(name)));
        assert_eq!(two.picture_of("s3", newest).await, picture(&node.folder(name)));
    }
}

/// Both believe that they make the repository. Whoever was not the last one has a backup that nobody can open, and says so.
#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_that_make_one_repository_at_once_do_not_both_believe_in_it() {
    let server = Server::start();
    let here = || vec![bucket("s3", &server.endpoint())];
    let (one, two) = (Node::new(here()), Node::new(here()));
    one.project("one");
    two.project("two");
    let (first, second) = tokio::join!(one.backups.run(None, None), two.backups.run(None, None));
    let mut opened = 0;
    for (node, runs) in [(&one, first.unwrap()), (&two, second.unwrap())] {
        match &runs[0].failure {
            None => {
                opened += 1;
                let newest = node.snapshots("s3").await.pop().unwrap();
                assert_eq!(node.picture_of("s3", &newest).await, picture(&node.folder(&newest.folder)));
            }
            Some(trouble) => {
                assert!(
                    matches!(trouble.cause, Cause::WrongKey | Cause::Foreign | Cause::Locked),
                    "{trouble}"
                );
            }
        }
    }
    assert!(opened <= 1, "one key opens it");
}

/// A backup that takes long, and `restic prune` beside it.
#[tokio::test(flavor = "multi_thread")]
async fn restic_prune_waits_for_a_backup() {
    let server = Server::start();
    let proxy = Proxy::before(&server).await;
    let patience = Patience { retries: Duration::from_secs(60), ..PATIENCE };
    let node = Node::with(vec![bucket("s3", &proxy.endpoint())], patience, BTreeMap::new());
    let shop = node.project("shop");
    node.run().await;
    let password = node.backups.recovery("s3").await.unwrap();
    std::fs::write(shop.join("later"), "later").unwrap();
    // All data are there and no snapshot names them: the moment at which a prune would take them away.
    proxy.set(&[Fault::Stall], Which::Writing("/snapshots/"));
    let backups = node.backups.clone();
    let running = tokio::spawn(async move { backups.run(None, None).await.unwrap() });
    let until = Instant::now() + Duration::from_secs(30);
    while proxy.met() == 0 {
        assert!(Instant::now() < until, "the snapshot is never written");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let repository = format!("s3:{}/{BUCKET}/s3", proxy.endpoint());
    for restic in Restic::all(&repository, password.reveal()) {
        let refused = restic.refused(&["prune"]);
        assert!(refused.contains("locked"), "{refused}");
    }
    proxy.set(&[], Which::All);
    assert!(saved(&running.await.unwrap()));
    for restic in Restic::all(&repository, password.reveal()) {
        restic.run(&["prune"]);
    }
    node.verify("s3").await;
    let newest = node.snapshots("s3").await.pop().unwrap();
    assert_eq!(node.picture_of("s3", &newest).await, picture(&shop));
}
