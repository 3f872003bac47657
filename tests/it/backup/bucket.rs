//! A real S3 server: what is backed up to a bucket comes back, through us and through restic; what restic has written
//! comes back through us.

use nexus::backup::control::Run;
use nexus::backup::recover::Request;
use nexus::backup::recover::parse_time;

use super::harness::Node;
use super::harness::PATIENCE;
use super::harness::bucket;
use super::harness::picture;
use super::proxy::Proxy;
use super::server::BUCKET;
use super::server::Restic;
use super::server::Server;

fn ask(folder: &str, to: &str) -> Request {
    Request { folder: folder.to_owned(), to: Some(to.to_owned()), ..Request::default() }
}

fn new_snapshots(runs: &[Run]) -> usize {
    let saved = |run: &Run| {
        run.outcomes
            .iter()
            .filter(|outcome| outcome.saved.as_ref().is_some_and(|saved| saved.snapshot.is_some()))
            .count()
    };
    runs.iter().map(saved).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_folders_chosen_paths_and_earlier_states_come_back() {
    let server = Server::start();
    let node = Node::new(vec![bucket("s3", &server.endpoint())]);
    let (shop, blog) = (node.project("shop"), node.project("blog"));
    assert_eq!(new_snapshots(&node.run().await), 2);
    assert_eq!(new_snapshots(&node.run().await), 0, "nothing has changed");
    let first = picture(&shop);
    let then = node.snapshots("s3").await.iter().map(|one| one.time).max().unwrap();
    std::fs::write(shop.join("src/a.js"), "changed").unwrap();
    std::fs::remove_file(shop.join("private")).unwrap();
    assert_eq!(new_snapshots(&node.run().await), 1);
    let second = picture(&shop);
    assert_ne!(first, second);

    node.restore(ask("shop", "now")).await;
    assert_eq!(picture(&node.folder("now")), second);
    node.restore(Request { at: Some(then), ..ask("shop", "then") }).await;
    assert_eq!(picture(&node.folder("then")), first);
    node.restore(Request { paths: vec!["src/deep".to_owned(), "run.sh".to_owned()], ..ask("blog", "part") })
        .await;
    let of_part = |lines: Vec<String>| {
        let wanted = |line: &&String| ["\"src/deep", "\"run.sh\""].iter().any(|path| line.starts_with(path));
        lines.iter().filter(wanted).cloned().collect::<Vec<_>>()
    };
    let part = picture(&node.folder("part"));
    assert_eq!(of_part(part.clone()), of_part(picture(&blog)));
    assert_eq!(part.len(), of_part(part).len() + 2, "the folder and `src` besides");
    let early = Request { at: parse_time("2001-01-01 00:00:00").ok(), ..ask("shop", "early") };
    assert!(node.backups.restore(early).await.is_err());
    node.verify("s3").await;

    // A machine that knows the password alone.
    let password = node.backups.recovery("s3").await.unwrap();
    let other =
        Node::with(vec![bucket("s3", &server.endpoint())], PATIENCE, [("s3".to_owned(), password)].into());
    assert_eq!(other.snapshots("s3").await, node.snapshots("s3").await);
    std::fs::remove_dir_all(&shop).unwrap();
    other.restore(ask("shop", "shop")).await;
    assert_eq!(picture(&other.folder("shop")), second);
}

#[tokio::test(flavor = "multi_thread")]
async fn restic_old_and_new_lists_checks_and_restores_a_bucket_of_ours() {
    let server = Server::start();
    let node = Node::new(vec![bucket("s3", &server.endpoint())]);
    let shop = node.project("shop");
    node.run().await;
    let first = picture(&shop);
    std::fs::write(shop.join("later"), "later").unwrap();
    node.run().await;
    let snapshots = node.snapshots("s3").await;
    let password = node.backups.recovery("s3").await.unwrap();
    let proxy = Proxy::before(&server).await;
    let repository = format!("s3:{}/{BUCKET}/s3", proxy.endpoint());
    for (number, restic) in Restic::all(&repository, password.reveal()).iter().enumerate() {
        let listed = restic.run(&["snapshots"]);
        assert!(listed.contains("/workspaces/shop") && listed.contains("3 snapshots"), "{listed}");
        restic.run(&["check", "--read-data"]);
        for (snapshot, expected) in [(&snapshots[0], &first), (&snapshots[1], &picture(&shop))] {
            let to = node.folder(&format!(".restic-{number}-{}", snapshot.id));
            restic.run(&["restore", &snapshot.id, "--target", to.to_str().unwrap()]);
            assert_eq!(picture(&to.join("workspaces/shop")), *expected);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_restic_has_written_is_listed_and_comes_back_and_is_gone_on_with() {
    let server = Server::start();
    let proxy = Proxy::before(&server).await;
    let repository = format!("s3:{}/{BUCKET}/s3", proxy.endpoint());
    for restic in Restic::all(&repository, "correct horse") {
        std::fs::remove_dir_all(server.objects()).unwrap();
        std::fs::create_dir(server.objects()).unwrap();
        let password = nexus::base::sealed::Sealed::new("correct horse".to_owned());
        let passwords = [("s3".to_owned(), password)].into();
        let node = Node::with(vec![bucket("s3", &server.endpoint())], PATIENCE, passwords);
        let shop = node.project("shop");
        restic.run(&["init"]);
        restic.run(&["backup", "--exclude", "node_modules", shop.to_str().unwrap()]);
        let theirs = node.snapshots("s3").await;
        assert_eq!(theirs.iter().map(|one| one.folder.as_str()).collect::<Vec<_>>(), ["shop"]);
        assert_eq!(node.picture_of("s3", &theirs[0]).await, picture(&shop));
        std::fs::write(shop.join("src/a.js"), "changed").unwrap();
        node.run().await;
        node.verify("s3").await;
        let all = node.snapshots("s3").await;
        assert_eq!(all.len(), 2, "{all:?}");
        assert_eq!(node.picture_of("s3", &all[1]).await, picture(&shop));
        restic.run(&["check", "--read-data"]);
    }
}
