//! Every kind of project answers with its text, with no configuration.

use std::process::Command;
use std::time::Duration;

use super::harness::LATER;
use super::harness::SOON;
use super::harness::TestNode;

/// Drops fixtures, all at once, each under its own name.
fn drop_all(node: &TestNode, fixtures: &[&str]) {
    for fixture in fixtures {
        node.drop_fixture(fixture, fixture);
    }
}

/// Drops fixtures and waits until each answers with its text.
async fn answer(node: &TestNode, fixtures: &[(&str, &str)], deadline: Duration) {
    drop_all(node, &fixtures.iter().map(|(fixture, _)| *fixture).collect::<Vec<_>>());
    for (fixture, text) in fixtures {
        node.wait_for_page(&format!("/{fixture}/"), 200, text, deadline).await;
    }
}

#[tokio::test]
async fn a_static_page_answers_under_its_path_and_its_host() {
    let node = TestNode::start().await;
    answer(&node, &[("static-plain", "a plain page")], SOON).await;
    node.wait_for_page("/static-plain/about/", 200, "about the plain page", SOON).await;
    let moved = node.get("/static-plain").await.unwrap();
    assert_eq!((moved.status, moved.location.as_deref()), (308, Some("/static-plain/")));
    let own = node.get_as("/", &format!("static-plain.localhost:{}", node.web)).await.unwrap();
    assert!(own.body.contains("a plain page"), "{own:?}");
}

#[tokio::test]
async fn programs_with_nothing_to_install_answer() {
    let node = TestNode::start().await;
    let fixtures = [
        ("node-plain", "plain node at /"),
        ("python-stdlib", "hello from the standard library"),
        ("procfile", "hello from the procfile"),
        ("monorepo", "one level down"),
        ("candidates", "the front of several"),
        ("compose-beside", "the program beside a database file"),
        ("fixed-port", "listening where it likes"),
        ("loopback", "heard on loopback"),
    ];
    answer(&node, &fixtures, LATER).await;
    node.wait_for_page("/node-plain/x?y=1", 200, "plain node at /x?y=1", SOON).await;
    let (_, shown, _) = node.cli(&["workspace", "show", "loopback"]);
    assert!(shown.contains("127.0.0.1"), "its owner is told where it listens: {shown}");
    let (_, shown, _) = node.cli(&["workspace", "show", "candidates"]);
    assert!(shown.contains("worker"), "its owner is told what else there is: {shown}");
}

#[tokio::test]
async fn node_projects_are_installed_by_their_own_package_manager() {
    let node = TestNode::start().await;
    let fixtures = [
        ("express", "hello from express"),
        ("fastify-pnpm", "by fastify"),
        ("koa-yarn", "hello from koa"),
        ("bun", "hello from bun, id of 6 letters"),
        ("typescript", "a friendly answer in typescript"),
    ];
    answer(&node, &fixtures, LATER).await;
    node.wait_for_page("/express/about", 200, r#""about":"express""#, SOON).await;
    assert!(!node.projects().join("express/node_modules").exists(), "dependencies stay in the container");
}

#[tokio::test]
async fn sites_are_built_and_served() {
    let node = TestNode::start().await;
    let fixtures = [
        ("static-built", "Built from <strong>markdown</strong>"),
        ("vite", "vite shell"),
        ("eleventy", "with FIVE words"),
    ];
    answer(&node, &fixtures, LATER).await;
    let page = node.get("/vite/").await.unwrap();
    assert!(page.body.contains("assets/index-"), "the build is served, not the source: {}", page.body);
}

#[tokio::test]
async fn a_framework_s_static_export_is_built_and_served() {
    let node = TestNode::start().await;
    answer(&node, &[("static-export", "exported by next")], LATER).await;
    let page = node.get("/static-export/about").await.unwrap();
    assert!(page.body.contains("about the export"), "each exported page is there: {page:?}");
    let (_, shown, _) = node.cli(&["workspace", "show", "static-export"]);
    assert!(shown.contains("serve out/"), "files, not `next start`: {shown}");
}

/// It listens on loopback only, and refuses hosts it does not know.
#[tokio::test]
async fn a_development_server_answers_under_any_name_of_the_node() {
    let mut node = TestNode::prepare();
    node.set("NEXUS_WEB_HOSTS", "nexus.test");
    node.spawn();
    node.wait_until_up().await;
    node.write("vite-dev/.nexus/config.yaml", "start: npm run dev\nbuild: \"\"\n");
    node.drop_fixture("vite", "vite-dev");
    node.wait_for_page("/vite-dev/", 200, "/@vite/client", LATER).await;
    for (host, path) in
        [("nexus.test", "/vite-dev/"), ("vite-dev.nexus.test", "/"), ("vite-dev.localhost", "/")]
    {
        let page = node.get_as(path, &format!("{host}:{}", node.web)).await.unwrap();
        assert!(page.status == 200 && page.body.contains("/@vite/client"), "{host}{path}: {page:?}");
    }
}

#[tokio::test]
async fn python_projects_are_installed_and_their_app_is_found() {
    let node = TestNode::start().await;
    let fixtures =
        [("flask", "hello from flask"), ("fastapi", "by fastapi"), ("django", "hello from django")];
    answer(&node, &fixtures, LATER).await;
}

#[tokio::test]
async fn python_projects_are_installed_by_their_own_package_manager() {
    let node = TestNode::start().await;
    lock_with_uv(&node);
    let fixtures = [("poetry", "hello from poetry"), ("pipenv", "hello from pipenv")];
    answer(&node, &fixtures, LATER).await;
    node.wait_for_page("/starlette-uv/", 200, "hello from starlette", LATER).await;
}

/// A lockfile of uv names the index it was made with, so it is made here, and moved in whole.
fn lock_with_uv(node: &TestNode) {
    node.drop_fixture("starlette-uv", "../starlette-uv");
    let folder = node.home().parent().unwrap().join("starlette-uv");
    let certificates = "/etc/ssl/certs/ca-certificates.crt";
    let locked = Command::new("docker")
        .args(["run", "--rm", "--user", "0", "--workdir", "/project"])
        .args(["--volume", &format!("{certificates}:{certificates}:ro")])
        .args(["--env", &format!("SSL_CERT_FILE={certificates}")])
        .args(["--volume", &format!("{}:/project", folder.display())])
        .args([concat!("nexus/runtime-python:", env!("CARGO_PKG_VERSION")), "uv", "lock", "--quiet"])
        .status()
        .unwrap();
    assert!(locked.success() && folder.join("uv.lock").exists(), "uv makes a lockfile");
    std::fs::rename(&folder, node.projects().join("starlette-uv")).unwrap();
}

#[tokio::test]
async fn php_go_and_ruby_answer() {
    let node = TestNode::start().await;
    let fixtures = [
        ("php", "hello from php 8"),
        ("php-plain", "PLAIN php page"),
        ("go", "hello from go"),
        ("sinatra", "hello from sinatra"),
        ("rack", "hello from rack at /"),
        ("webrick", "hello from webrick"),
    ];
    answer(&node, &fixtures, LATER).await;
}

#[tokio::test]
async fn projects_with_their_own_containers_answer() {
    let node = TestNode::start().await;
    let fixtures = [
        ("dockerfile", "hello from a dockerfile"),
        ("compose", "hello from compose and from a file beside it"),
    ];
    answer(&node, &fixtures, LATER).await;
    let (_, shown, _) = node.cli(&["workspace", "show", "compose"]);
    for said in ["8080", "garden-web"] {
        assert!(shown.contains(said), "its owner is told about `{said}`: {shown}");
    }
}

#[tokio::test]
async fn what_serves_no_page_says_why() {
    let node = TestNode::start().await;
    drop_all(&node, &["unknown", "finished"]);
    let page = node.wait_for_page("/unknown/", 502, "Rust", SOON).await;
    assert!(page.body.contains("Add a Dockerfile"), "the page says what to do: {}", page.body);
    node.wait_for_page("/finished/", 503, "finished", LATER).await;
    let shown = node
        .wait_for_workspace("finished", "finished with its output", SOON, |shown| {
            shown["workspace"]["phase"] == "finished"
                && shown["workspace"]["log_tail"].to_string().contains("counted to 10")
        })
        .await;
    assert_eq!(shown["workspace"]["restarts"], 0);
}
