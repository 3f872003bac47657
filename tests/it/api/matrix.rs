//! Every route and who may use it: a route without a row here fails, and so does a row without a route.

use std::collections::BTreeSet;

use super::harness::TestApi;

/// What a request that passed the door answers here, where there is no workspace and no engine; 401 and 403 are the
/// door's own.
#[derive(Clone, Copy)]
struct Row {
    route: &'static str,
    none: u16,
    read: u16,
    write: u16,
    admin: u16,
    local: u16,
    body: Option<&'static str>,
}

const fn row(route: &'static str, [none, read, write, admin, local]: [u16; 5]) -> Row {
    Row { route, none, read, write, admin, local, body: None }
}

const fn row_with(route: &'static str, body: &'static str, codes: [u16; 5]) -> Row {
    let mut row = row(route, codes);
    row.body = Some(body);
    row
}

const CREATE: &str = r#"{"name":"Not A Name"}"#;
const RUN: &str = r#"{"argv":["true"]}"#;
const KEEP: &str = r#"{"keep":"host"}"#;
const UNDO: &str = r#"{"path":"a"}"#;
const NOWHERE: &str = r#"{"destination":"nowhere"}"#;
const NOBODY: &str = r#"{"workspace":"nobody"}"#;
const TOKEN: &str = r#"{"label":"x","scope":"none"}"#;

const FORGET: &str = r#"{"destination":"nowhere","snapshots":["abcd"]}"#;
const ADOPT: &str = r#"{"destination":"nowhere","password":"x"}"#;

/// route, [without a token, read, write, admin, local socket]
const MATRIX: [Row; 58] = [
    row("GET /", [200, 200, 200, 200, 200]),
    row("GET /style.css", [200, 200, 200, 200, 200]),
    row("GET /health", [200, 200, 200, 200, 200]),
    row("GET /claim/{code}", [404, 404, 404, 404, 404]),
    row("POST /claim/{code}", [404, 404, 404, 404, 404]),
    row("GET /api/v1/openapi.json", [200, 200, 200, 200, 200]),
    row("GET /metrics", [401, 200, 200, 200, 200]),
    row("GET /api/v1/status", [401, 200, 200, 200, 200]),
    row("GET /api/v1/doctor", [401, 200, 200, 200, 200]),
    row("GET /api/v1/events", [401, 200, 200, 200, 200]),
    // Nobody here asks for a WebSocket.
    row("GET /api/v1/ws", [401, 400, 400, 400, 400]),
    row("GET /api/v1/workspaces", [401, 200, 200, 200, 200]),
    row_with("POST /api/v1/workspaces", CREATE, [401, 403, 400, 400, 400]),
    row("GET /api/v1/workspaces/{id}", [401, 404, 404, 404, 404]),
    row("DELETE /api/v1/workspaces/{id}", [401, 403, 404, 404, 404]),
    row("GET /api/v1/workspaces/{id}/status", [401, 404, 404, 404, 404]),
    row("GET /api/v1/workspaces/{id}/detect", [401, 404, 404, 404, 404]),
    row("GET /api/v1/workspaces/{id}/compose", [401, 403, 404, 404, 404]),
    row("GET /api/v1/workspaces/{id}/logs", [401, 404, 404, 404, 404]),
    row("POST /api/v1/workspaces/{id}/start", [401, 403, 404, 404, 404]),
    row("POST /api/v1/workspaces/{id}/stop", [401, 403, 404, 404, 404]),
    row("POST /api/v1/workspaces/{id}/restart", [401, 403, 404, 404, 404]),
    row_with("POST /api/v1/workspaces/{id}/run", RUN, [401, 403, 404, 404, 404]),
    row("GET /api/v1/workspaces/{id}/sync", [401, 404, 404, 404, 404]),
    row("POST /api/v1/workspaces/{id}/sync", [401, 403, 404, 404, 404]),
    row("POST /api/v1/workspaces/{id}/sync/pause", [401, 403, 404, 404, 404]),
    row_with("POST /api/v1/workspaces/{id}/sync/resume", "{}", [401, 403, 404, 404, 404]),
    row("GET /api/v1/workspaces/{id}/sync/conflicts", [401, 403, 404, 404, 404]),
    row_with("POST /api/v1/workspaces/{id}/sync/resolve", KEEP, [401, 403, 404, 404, 404]),
    row_with("POST /api/v1/workspaces/{id}/sync/preview", "{}", [401, 404, 404, 404, 404]),
    row("GET /api/v1/workspaces/{id}/sync/versions", [401, 404, 404, 404, 404]),
    row_with("POST /api/v1/workspaces/{id}/sync/undo", UNDO, [401, 403, 404, 404, 404]),
    row("GET /api/v1/workspaces/{id}/sync/trace", [401, 400, 400, 400, 400]),
    row("GET /api/v1/backup", [401, 200, 200, 200, 200]),
    row_with("POST /api/v1/backup/runs", NOWHERE, [401, 403, 404, 404, 404]),
    row("GET /api/v1/backup/snapshots", [401, 200, 200, 200, 200]),
    row_with("POST /api/v1/backup/restores", NOBODY, [401, 403, 404, 404, 404]),
    row("GET /api/v1/backup/contents", [401, 400, 400, 400, 400]),
    row("GET /api/v1/backup/differences", [401, 400, 400, 400, 400]),
    row_with("POST /api/v1/backup/forgets", FORGET, [401, 403, 403, 404, 404]),
    row_with("POST /api/v1/backup/unlocks", NOWHERE, [401, 403, 403, 404, 404]),
    row_with("POST /api/v1/backup/adoptions", ADOPT, [401, 403, 403, 404, 404]),
    row_with("POST /api/v1/backup/repairs", NOWHERE, [401, 403, 403, 404, 404]),
    row_with("POST /api/v1/backup/rebuilds", NOWHERE, [401, 403, 403, 404, 404]),
    row_with("POST /api/v1/backup/verifications", NOWHERE, [401, 403, 404, 404, 404]),
    row_with("POST /api/v1/backup/probes", NOWHERE, [401, 403, 404, 404, 404]),
    row_with("POST /api/v1/backup/drills", NOWHERE, [401, 403, 404, 404, 404]),
    row("GET /api/v1/backup/recovery", [401, 403, 403, 400, 400]),
    row("GET /api/v1/tokens", [401, 403, 403, 200, 200]),
    row_with("POST /api/v1/tokens", TOKEN, [401, 403, 403, 400, 400]),
    row("DELETE /api/v1/tokens/{id}", [401, 403, 403, 404, 404]),
    row("GET /api/v1/claim", [403, 403, 403, 403, 200]),
    row("POST /api/v1/claim", [403, 403, 403, 403, 200]),
    row("GET /workspaces", [401, 200, 200, 200, 200]),
    row_with("POST /workspaces", CREATE, [401, 403, 400, 400, 400]),
    row("GET /workspaces/{id}/status", [401, 404, 404, 404, 404]),
    row_with("POST /workspaces/{id}/run", RUN, [401, 403, 404, 404, 404]),
    row("POST /workspaces/{id}/sync", [401, 403, 404, 404, 404]),
];

#[tokio::test]
async fn every_route_lets_in_exactly_whom_the_table_says() {
    let node = TestApi::start().await;
    let tokens = [node.token("read").await, node.token("write").await, node.token("admin").await];
    let mut wrong = Vec::new();
    for row in MATRIX {
        let (method, path) = row.route.split_once(' ').unwrap();
        let path = path.replace("{id}", "nobody").replace("{code}", "nothing");
        let expected = [row.none, row.read, row.write, row.admin];
        let given = [None, Some(&tokens[0]), Some(&tokens[1]), Some(&tokens[2])];
        let mut answers = Vec::new();
        for (expected, token) in expected.iter().zip(given) {
            answers.push((*expected, status(&node, method, &path, token, row.body).await));
        }
        if !path.ends_with("/events") {
            answers.push((row.local, node.send_local(method, &path, row.body).await.status));
        }
        if answers.iter().any(|(expected, got)| expected != got) {
            wrong.push(format!("{}: {answers:?}", row.route));
        }
    }
    assert!(wrong.is_empty(), "(expected, got) for none, read, write, admin, local:\n{}", wrong.join("\n"));
    node.close().await;
}

/// The events stream does not end by itself; its status is all that is looked at.
async fn status(node: &TestApi, method: &str, path: &str, token: Option<&String>, body: Option<&str>) -> u16 {
    use tokio::io::AsyncReadExt as _;
    use tokio::io::AsyncWriteExt as _;
    if !path.ends_with("/events") {
        return node.send(method, path, token.map(String::as_str), body).await.status;
    }
    let mut stream = tokio::net::TcpStream::connect(node.address).await.unwrap();
    let bearer = token.map_or(String::new(), |token| format!("Authorization: Bearer {token}\r\n"));
    let head = format!("Host: {}\r\n{bearer}", node.address);
    stream.write_all(super::harness::request(method, path, &head, None).as_bytes()).await.unwrap();
    let mut start = [0_u8; 12];
    stream.read_exact(&mut start).await.unwrap();
    String::from_utf8_lossy(&start[9..]).parse().unwrap()
}

#[tokio::test]
async fn every_route_has_a_row_and_every_row_a_route() {
    let node = TestApi::start().await;
    let routes: BTreeSet<String> =
        node.routes.iter().map(|route| format!("{} {}", route.method, route.path)).collect();
    let rows: BTreeSet<String> = MATRIX.iter().map(|row| row.route.to_owned()).collect();
    assert_eq!(routes, rows, "a route needs a row that says who may use it");
    node.close().await;
}

#[tokio::test]
async fn every_route_of_the_api_is_described() {
    use nexus::api::openapi::Document;
    let node = TestApi::start().await;
    let described = serde_json::to_value(<Document as utoipa::OpenApi>::openapi()).unwrap();
    for route in node
        .routes
        .iter()
        .filter(|route| route.path.starts_with("/api/v1/") && !route.path.ends_with(".json"))
    {
        let operation = &described["paths"][route.path][route.method.to_lowercase()];
        assert!(operation.is_object(), "{} {} is not in openapi.rs", route.method, route.path);
    }
    node.close().await;
}

#[test]
fn the_description_is_the_golden_one() {
    use nexus::api::openapi::Document;
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/openapi.json");
    let now = <Document as utoipa::OpenApi>::openapi().to_pretty_json().unwrap() + "\n";
    if std::env::vars().any(|(name, _)| name == "NEXUS_BLESS") {
        std::fs::write(&path, &now).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        golden == now,
        "the API changed: look at the difference after NEXUS_BLESS=1, and say it in docs/changelog.md"
    );
}
