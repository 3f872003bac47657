//! What is shown when no site answers.

use std::time::Duration;

use nexus::router::{Limits, Site, SiteState};
use tokio::net::TcpListener;

use super::harness::{Front, Upstream};

const HTML: &str = "Accept: text/html,application/xhtml+xml\r\n";

fn dead(name: &str, state: SiteState) -> Site {
    Site { state, upstream: None, ..Site::ready(name, ([127, 0, 0, 1], 1).into()) }
}

#[tokio::test]
async fn a_state_is_a_page_for_people_and_json_for_programs() {
    let starting = SiteState::Starting {
        phase: "installing".to_owned(),
        message: "npm ci".to_owned(),
        log_tail: vec!["added 57 packages".to_owned()],
    };
    let failed = SiteState::Failed {
        message: "the program ended with code 1".to_owned(),
        hint: Some("look at the last lines".to_owned()),
        log_tail: vec!["Error: no database".to_owned()],
    };
    let finished = SiteState::Finished { output: vec!["sum: 42".to_owned()] };
    let sites = vec![
        dead("slow", starting),
        dead("broken", failed),
        dead("job", finished),
        dead("off", SiteState::Stopped),
        dead("gone", SiteState::Missing),
        dead("worker", SiteState::Ready),
    ];
    let front = Front::start(sites).await;
    for (name, status, code, shown) in [
        ("slow", 503, "starting", "added 57 packages"),
        ("broken", 502, "failed", "Error: no database"),
        ("job", 200, "finished", "sum: 42"),
        ("off", 503, "stopped", "nexus workspace start off"),
        ("gone", 404, "missing", "nexus workspace remove gone"),
        ("worker", 503, "not_listening", "$PORT"),
    ] {
        let page = front.get(&format!("/{name}/some/page"), HTML).await;
        assert_eq!(page.status, status, "{name}");
        assert!(page.header("content-type").unwrap().starts_with("text/html"), "{name}");
        assert!(page.body.contains(shown), "{name}: {}", page.body);
        let json = front.get(&format!("/{name}/api"), "Accept: */*\r\n").await;
        assert_eq!((json.status, json.header("content-type")), (status, Some("application/json")), "{name}");
        assert!(json.body.contains(code) && json.body.contains(shown), "{name}: {}", json.body);
        let id = json.header("x-request-id").unwrap();
        assert!(status == 200 || json.body.contains(id), "{name}: {}", json.body);
    }
    assert_eq!(front.get("/slow/", HTML).await.header("retry-after"), Some("2"));
    let host = front.ask("GET / HTTP/1.1\r\nHost: slow.localhost\r\nConnection: close\r\n\r\n").await;
    assert_eq!(host.status, 503);
}

#[tokio::test]
async fn a_post_is_not_sent_again_by_the_page() {
    let starting = SiteState::Starting { phase: "x".into(), message: "x".into(), log_tail: vec![] };
    let front = Front::start(vec![dead("slow", starting)]).await;
    let post = front
        .ask(&format!(
            "POST /slow/ HTTP/1.1\r\nHost: a\r\n{HTML}Content-Length: 2\r\nConnection: close\r\n\r\nhi"
        ))
        .await;
    assert!(
        post.body.contains(r#"data-method="POST""#) && !post.body.contains("http-equiv"),
        "{}",
        post.body
    );
    let get = front.get("/slow/", HTML).await;
    assert!(get.body.contains(r#"data-method="GET""#) && get.body.contains("http-equiv"), "{}", get.body);
}

#[tokio::test]
async fn an_upstream_that_refuses_or_hangs_is_explained() {
    // A port that was ours a moment ago and refuses now.
    let refusing = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let hanging = Upstream::raw(|stream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let limits = Limits { silence: Duration::from_millis(200), ..Limits::default() };
    let front =
        Front::with_limits(vec![Site::ready("refuses", refusing), hanging.site("hangs")], limits).await;
    let reply = front.get("/refuses/", HTML).await;
    assert_eq!(reply.status, 502);
    assert!(
        reply.body.contains("nexus workspace logs refuses") && reply.body.contains("Connection refused"),
        "{}",
        reply.body
    );
    let reply = front.get("/hangs/", "").await;
    assert_eq!(reply.status, 504);
    assert!(reply.body.contains("upstream_silent"), "{}", reply.body);
    assert_eq!(front.metrics.read().upstream_failures, 2);
}

#[tokio::test]
async fn the_index_and_unknown_names_help_on() {
    let upstream = Upstream::echo().await;
    let front = Front::start(vec![upstream.site("blog"), upstream.site("shop")]).await;
    let index = front.get("/", HTML).await;
    assert_eq!(index.status, 200);
    assert!(
        index.body.contains(r#"href="/blog/""#) && index.body.contains(r#"href="/shop/""#),
        "{}",
        index.body
    );
    assert!(front.get("/", "Accept: application/json\r\n").await.body.starts_with("{\"workspaces\""));
    assert!(front.get("/_nexus/index.json", "").await.body.contains("\"name\":\"blog\""));
    assert_eq!(front.get("/_nexus/health", "").await.status, 200);
    let unknown = front.get("/blgo/x", HTML).await;
    assert_eq!(unknown.status, 404);
    assert!(unknown.body.contains(r#"<a href="/blog/">"#), "{}", unknown.body);
    let json = front.get("/blgo/x", "").await;
    assert!(
        json.body.contains("unknown_workspace") && json.body.contains("did you mean `blog`?"),
        "{}",
        json.body
    );
}
