//! Two destinations, one of which fails: the other is complete, the report names the cause and what to do, and nothing
//! that is listed is half written.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;
use std::time::Instant;

use nexus::backup::control::Run;
use nexus::backup::objects::Patience;
use nexus::backup::trouble::Cause;
use nexus::base::fault::Explain as _;

use super::harness::Node;
use super::harness::bucket;
use super::harness::picture;
use super::proxy::Fault;
use super::proxy::Proxy;
use super::proxy::Which;
use super::server::Server;

/// Short, because each of many faults is waited out.
const PATIENCE: Patience = Patience {
    connect: Duration::from_secs(1),
    request: Duration::from_millis(700),
    retries: Duration::from_millis(900),
};

/// What may be wrong with a whole server, and how a person is to be told.
const FAULTS: [(Fault, Cause); 15] = [
    (Fault::Answer(500, "InternalError"), Cause::Broken),
    (Fault::Answer(503, "SlowDown"), Cause::Busy),
    (Fault::Answer(429, "TooManyRequests"), Cause::Busy),
    (Fault::Reset, Cause::CutOff),
    (Fault::HalfAnswer, Cause::CutOff),
    (Fault::Stall, Cause::TimedOut),
    (Fault::Answer(403, "ExpiredToken"), Cause::Expired),
    (Fault::Answer(400, "ExpiredToken"), Cause::Expired),
    (Fault::Answer(403, "InvalidAccessKeyId"), Cause::Unknown),
    (Fault::Answer(403, "AccessDenied"), Cause::Denied),
    (Fault::Answer(301, "PermanentRedirect"), Cause::Region),
    (Fault::Answer(400, "AuthorizationHeaderMalformed"), Cause::Region),
    (Fault::Answer(404, "NoSuchBucket"), Cause::NoBucket),
    (Fault::Answer(507, "InsufficientStorage"), Cause::Full),
    (Fault::Answer(403, "RequestTimeTooSkewed"), Cause::Clock),
];

/// What goes wrong with writing alone.
const OF_WRITING: [(Fault, Cause); 4] = [
    (Fault::Answer(200, "InternalError"), Cause::Broken),
    (Fault::NotStored, Cause::Damaged),
    (Fault::HalfStored, Cause::Damaged),
    (Fault::Answer(507, "XMinioStorageFull"), Cause::Full),
];

struct Pair {
    /// The one destination is always well.
    node: Node,
    proxy: Proxy,
    _servers: [Server; 2],
    /// All states the folder ever had.
    pictures: BTreeSet<Vec<String>>,
}

impl Pair {
    /// Both hold one snapshot.
    async fn start() -> Self {
        let servers = [Server::start(), Server::start()];
        let proxy = Proxy::before(&servers[1]).await;
        let places = vec![bucket("good", &servers[0].endpoint()), bucket("bad", &proxy.endpoint())];
        let node = Node::with(places, PATIENCE, Default::default());
        node.project("shop");
        node.run().await;
        let pictures = [picture(&node.folder("shop"))].into();
        Self { node, proxy, _servers: servers, pictures }
    }

    /// Changes something, and backs it up while the one destination has a fault.
    async fn run(&mut self, number: usize, fault: Fault, which: Which) -> (Run, Run) {
        std::fs::write(self.node.folder("shop").join("src/a.js"), format!("state {number}").repeat(3000))
            .unwrap();
        self.pictures.insert(picture(&self.node.folder("shop")));
        self.proxy.set(&[fault], which);
        let mut runs = self.node.backups.run(None, None).await.unwrap();
        assert!(self.proxy.met() > 0, "{fault:?} {which:?}: nothing met it");
        self.proxy.set(&[], which);
        let bad = runs.pop().unwrap();
        (runs.pop().unwrap(), bad)
    }

    /// Everything that is listed comes back as it once was.
    async fn everything_listed_is_whole(&self, destination: &str) {
        for snapshot in self.node.snapshots(destination).await {
            let found = self.node.picture_of(destination, &snapshot).await;
            assert!(self.pictures.contains(&found), "{destination}: {snapshot:?} is not whole");
        }
    }
}

async fn each_fault(faults: &[(Fault, Cause)], which: Which) {
    let mut pair = Pair::start().await;
    for (number, (fault, cause)) in faults.iter().enumerate() {
        let (good, bad) = pair.run(number, *fault, which).await;
        assert_eq!(good.failure, None, "{fault:?}");
        let newest = pair.node.snapshots("good").await.pop().unwrap();
        assert_eq!(Some(&newest.id), good.outcomes[0].saved.as_ref().unwrap().snapshot.as_ref(), "{fault:?}");
        let failure = bad.failure.unwrap_or_else(|| panic!("{fault:?} went unseen"));
        assert_eq!(failure.cause, *cause, "{fault:?}: {failure}");
        assert!(failure.hint().is_some(), "{failure}");
        assert!(failure.to_string().len() < 500, "{failure}");
    }
    pair.everything_listed_is_whole("good").await;
    pair.everything_listed_is_whole("bad").await;
    // And when all is well again, so is the destination.
    pair.node.run().await;
    pair.node.verify("bad").await;
    let newest = pair.node.snapshots("bad").await.pop().unwrap();
    assert_eq!(pair.node.picture_of("bad", &newest).await, picture(&pair.node.folder("shop")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_where_nothing_works_says_why_and_delays_no_other() {
    each_fault(&FAULTS, Which::All).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_takes_no_data_says_why() {
    each_fault(&[&FAULTS[..], &OF_WRITING].concat(), Which::Writing("/data/")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_takes_no_index_says_why() {
    each_fault(&[&FAULTS[..], &OF_WRITING].concat(), Which::Writing("/index/")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_takes_no_snapshot_says_why() {
    each_fault(&[&FAULTS[..], &OF_WRITING].concat(), Which::Writing("/snapshots/")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_lists_nothing_is_not_taken_for_empty() {
    each_fault(
        &[
            (Fault::Answer(403, "AccessDenied"), Cause::Denied),
            (Fault::Answer(200, "InternalError"), Cause::Broken),
        ],
        Which::Lists,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clocks_of_both_sides_are_named() {
    let mut pair = Pair::start().await;
    let (_, bad) = pair.run(1, Fault::Answer(403, "RequestTimeTooSkewed"), Which::All).await;
    let said = bad.failure.unwrap().to_string();
    assert!(said.contains("20260101T120000Z") && said.contains("2026-01-01T12:20:00Z"), "{said}");
}

/// A third of all requests fails, each in another way.
#[tokio::test(flavor = "multi_thread")]
async fn what_passes_is_waited_out() {
    let server = Server::start();
    let proxy = Proxy::before(&server).await;
    let patience = Patience { retries: Duration::from_secs(30), ..PATIENCE };
    let node = Node::with(vec![bucket("s3", &proxy.endpoint())], patience, Default::default());
    let shop = node.project("shop");
    let faults = [
        Fault::Answer(500, "InternalError"),
        Fault::Answer(503, "SlowDown"),
        Fault::Answer(429, "TooManyRequests"),
        Fault::Reset,
        Fault::HalfAnswer,
        Fault::Stall,
    ];
    proxy.set(&faults, Which::OneIn(3));
    let begun = Instant::now();
    node.run().await;
    std::fs::write(shop.join("later"), "later").unwrap();
    node.run().await;
    let newest = node.snapshots("s3").await.pop().unwrap();
    assert_eq!(node.picture_of("s3", &newest).await, picture(&shop));
    assert!(
        proxy.met() > 10 && begun.elapsed() < Duration::from_secs(120),
        "{} in {:?}",
        proxy.met(),
        begun.elapsed()
    );
    proxy.set(&[], Which::All);
    node.verify("s3").await;
}

/// What was never backed up because of a fault is not forgotten, and neither is what was.
#[tokio::test(flavor = "multi_thread")]
async fn a_restore_takes_what_another_destination_has() {
    let mut pair = Pair::start().await;
    let (_, bad) = pair.run(1, Fault::Answer(503, "SlowDown"), Which::All).await;
    assert!(bad.failure.is_some());
    pair.proxy.set(&[Fault::Answer(503, "SlowDown")], Which::All);
    let folder = pair.node.folder("shop");
    let before = picture(&folder);
    std::fs::remove_dir_all(&folder).unwrap();
    let request = nexus::backup::recover::Request { folder: "shop".to_owned(), ..Default::default() };
    let done = pair.node.restore(request).await;
    assert_eq!(done.destination, "good");
    assert_eq!(picture(Path::new(&folder)), before);
}
