//! Every kind of project answers with its text, with no configuration.

use super::harness::SOON;
use super::harness::TestNode;

#[tokio::test]
async fn a_static_page_answers_under_its_path_and_its_host() {
    let node = TestNode::start().await;
    node.write("page/index.html", "<h1>static text</h1>");
    node.wait_for_page("/page/", 200, "static text", SOON).await;
    let moved = node.get("/page").await.unwrap();
    assert_eq!((moved.status, moved.location.as_deref()), (308, Some("/page/")));
    let own = node.get_as("/", &format!("page.localhost:{}", node.web)).await.unwrap();
    assert!(own.body.contains("static text"), "{own:?}");
}

#[tokio::test]
async fn a_node_server_without_dependencies_answers() {
    let node = TestNode::start().await;
    node.write("plain/package.json", r#"{"name": "plain", "scripts": {"start": "node server.js"}}"#);
    node.write(
        "plain/server.js",
        "require('http').createServer((q, s) => s.end('node text ' + q.url)).listen(process.env.PORT || 3000)",
    );
    node.wait_for_page("/plain/x?y=1", 200, "node text /x?y=1", SOON).await;
}
