//! A restore drill at a real S3 server: what is there comes back, what is damaged there is found, and a server that does not
//! answer is not taken for damage.

use super::harness::Node;
use super::harness::bucket;
use super::harness::destination;
use super::proxy::Fault;
use super::proxy::Proxy;
use super::proxy::Which;
use super::server::BUCKET;
use super::server::Server;

#[tokio::test(flavor = "multi_thread")]
async fn each_form_comes_back_from_a_server_or_is_found_damaged() {
    for form in ["incremental", "mirror"] {
        let server = Server::start();
        let proxy = Proxy::before(&server).await;
        let url = format!("s3://{BUCKET}/here");
        let endpoint = proxy.endpoint();
        let node =
            Node::new(vec![destination("s3", &[("url", &url), ("endpoint", &endpoint), ("form", form)])]);
        node.project("shop");
        node.project("blog");
        node.run().await;
        let drill = node.backups.drill("s3", None).await.unwrap();
        assert!(drill.is_good(), "{form}: {drill:?}");
        // All that `hard` makes, with names that are no text.
        let counts: Vec<_> = drill.workspaces.iter().map(|tried| (tried.files, tried.compared)).collect();
        assert_eq!(counts, [(8, 8), (8, 8)], "{form}: {drill:?}");

        proxy.set(&[Fault::Answer(503, "SlowDown")], Which::All);
        let slow = node.backups.drill("s3", None).await.unwrap();
        assert!(slow.failure.is_some() && !slow.is_bad(), "{form}: {slow:?}");
        proxy.set(&[], Which::All);

        let place = if form == "mirror" { "here/files/node1/blog/large.bin" } else { "here/data" };
        cut_short(&server.objects().join(place));
        let bad = node.backups.drill("s3", None).await.unwrap();
        assert!(bad.is_bad(), "{form}: {bad:?}");
        assert!(node.backups.statuses().borrow()[0].alert);
        assert_eq!(bad.proved, drill.proved);
    }
}

/// Takes the end away from a file, or from each below a directory.
fn cut_short(path: &std::path::Path) {
    if path.is_dir() {
        return std::fs::read_dir(path).unwrap().for_each(|entry| cut_short(&entry.unwrap().path()));
    }
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.set_len(file.metadata().unwrap().len() / 2).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_is_there_nothing_is_proved_and_nothing_blamed() {
    let server = Server::start();
    let node = Node::new(vec![bucket("s3", &server.endpoint())]);
    let drill = node.backups.drill("s3", None).await.unwrap();
    assert!(!drill.is_good() && !drill.is_bad() && drill.failure.is_none(), "{drill:?}");
}
