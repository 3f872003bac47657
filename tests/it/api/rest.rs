//! What the routes answer when nobody means harm.

use std::os::unix::fs::PermissionsExt as _;

use super::harness::TestApi;

#[tokio::test]
async fn the_claim_link_gives_the_first_token_once() {
    let node = TestApi::start().await;
    let claim = node.send_local("GET", "/api/v1/claim", None).await.json();
    assert_eq!(claim["claimed"], false);
    let url = claim["url"].as_str().unwrap().to_owned();
    let path = url.strip_prefix(&format!("http://{}", node.address)).unwrap();
    for _ in 0..2 {
        let page = node.send("GET", path, None, None).await;
        assert!(
            page.status == 200 && page.body.contains("<form method=\"post\">") && !page.body.contains("nxs_"),
            "{page:?}"
        );
    }
    // What a browser sends for the form.
    let form = format!(
        "Host: {0}\r\nOrigin: http://{0}\r\nSec-Fetch-Site: same-origin\r\nContent-Type: application/x-www-form-urlencoded\r\n",
        node.address
    );
    let page = node.raw(&super::harness::request("POST", path, &form, Some(""))).await;
    assert_eq!(page.status, 200, "{page:?}");
    let token = page.body.split("<output>").nth(1).unwrap().split("</output>").next().unwrap().to_owned();
    assert_eq!(
        node.send("GET", "/api/v1/tokens", Some(&token), None).await.json()["tokens"][0]["scope"],
        "admin"
    );
    assert_eq!(node.send("GET", path, None, None).await.status, 404);
    assert_eq!(node.send("POST", path, None, None).await.status, 404);
    assert_eq!(node.send_local("GET", "/api/v1/claim", None).await.json()["claimed"], true);
    assert!(node.send_local("POST", "/api/v1/claim", None).await.json()["url"].is_string());
    node.close().await;
}

#[tokio::test]
async fn tokens_are_made_listed_and_taken_over_the_api() {
    let node = TestApi::start().await;
    let made = node
        .send_local("POST", "/api/v1/tokens", Some(r#"{"label":"ci","scope":"read","days":7}"#))
        .await
        .json();
    let secret = made["secret"].as_str().unwrap();
    assert_eq!(
        node.send("GET", "/api/v1/workspaces", Some(secret), None).await.json()["workspaces"],
        serde_json::json!([])
    );
    let list = node.send_local("GET", "/api/v1/tokens", None).await;
    assert!(!list.body.contains(secret) && list.json()["tokens"][0]["last_used_at"].is_string());
    let id = made["token"]["id"].as_str().unwrap();
    assert_eq!(node.send_local("DELETE", &format!("/api/v1/tokens/{id}"), None).await.status, 204);
    assert_eq!(node.send("GET", "/api/v1/workspaces", Some(secret), None).await.status, 401);
    node.close().await;
}

#[tokio::test]
async fn the_node_answers_although_its_engine_does_not() {
    let node = TestApi::start().await;
    std::fs::remove_dir_all(&node.directory).unwrap();
    assert_eq!(node.send("GET", "/health", None, None).await.json()["status"], "ok");
    let status = node.send_local("GET", "/api/v1/status", None).await.json();
    assert_eq!(status["engine"]["reachable"], false);
    let problems: Vec<&str> =
        status["problems"].as_array().unwrap().iter().filter_map(|p| p["message"].as_str()).collect();
    assert!(
        problems[0].contains("no container engine answered") && problems[1].contains("cannot be read"),
        "{problems:?}"
    );
    node.close().await;
}

#[tokio::test]
async fn a_folder_is_made_and_bad_names_are_answered_with_a_better_one() {
    let node = TestApi::start().await;
    let token = node.token("write").await;
    let made = node
        .send("POST", "/api/v1/workspaces", Some(&token), Some(r#"{"name":"hi","template":"hello"}"#))
        .await;
    assert_eq!((made.status, made.json()["path"].as_str()), (201, Some("/hi/")));
    assert!(node.directory.join("hi/index.html").is_file());
    let again = node.send("POST", "/workspaces", Some(&token), Some(r#"{"name":"hi"}"#)).await;
    assert_eq!((again.status, again.code().as_str()), (409, "WORKSPACE_ALREADY_EXISTS"));
    let bad = node.send("POST", "/workspaces", Some(&token), Some(r#"{"name":"../My Shop"}"#)).await;
    assert_eq!((bad.status, bad.code().as_str()), (400, "WORKSPACE_NAME_INVALID"));
    assert_eq!(bad.json()["error"]["hint"], "call it `my-shop`");
    let unknown = node.send("GET", "/api/v1/workspaces/a%00b", Some(&token), None).await;
    assert_eq!(unknown.code(), "WORKSPACE_NOT_FOUND");
    node.close().await;
}

#[tokio::test]
async fn a_program_to_run_must_be_one() {
    let node = TestApi::start().await;
    for body in [
        r#"{"argv":[]}"#,
        r#"{"argv":[""]}"#,
        r#"{"argv":["a\u0000"]}"#,
        r#"{"argv":["a"],"timeout_ms":0}"#,
        r#"{"argv":["a"],"env":{"A=B":"c"}}"#,
        r#"{"argv":"rm -rf /"}"#,
    ] {
        assert_eq!(node.send_local("POST", "/workspaces/x/run", Some(body)).await.status, 400, "{body}");
    }
    node.close().await;
}

#[tokio::test]
async fn the_local_socket_is_its_owners_alone() {
    let node = TestApi::start().await;
    assert_eq!(std::fs::metadata(&node.socket).unwrap().permissions().mode() & 0o777, 0o600);
    let left_behind = node.socket.clone();
    drop(nexus::api::listen::bind_local(&left_behind).expect("a dead node's socket is replaced"));
    node.close().await;
}
