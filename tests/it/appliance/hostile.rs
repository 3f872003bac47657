//! Values made to run something: in every string of a manifest or compose file, they stay what they are.

use std::path::Path;
use std::time::Duration;

use super::harness::SOON;
use super::harness::TestNode;
use super::harness::docker;

/// How long many folders at once may take.
const PATIENCE: Duration = Duration::from_secs(120);

const START: &str = r#"{"name": "x", "scripts": {"start": "node server.js"}}"#;

/// What would run if a shell saw it.
fn payloads(canary: &Path) -> Vec<String> {
    let canary = canary.display();
    vec![
        format!("$(touch {canary})"),
        format!("`touch {canary}`"),
        format!("x; touch {canary}"),
        format!("x\ntouch {canary}\n"),
        format!("x | touch {canary}"),
        format!("x && touch {canary}"),
        format!("'; touch {canary} #"),
        format!("--privileged --volume=/:/host"),
        format!("${{IFS}}<script>alert(1)</script>"),
    ]
}

/// Each has been looked at, and what it asks for was tried or refused.
async fn all_came_to_something(node: &TestNode, folders: &[String]) {
    for folder in folders {
        let seen = node.wait_for_workspace(folder, "an end", PATIENCE, |value| {
            let phase = value["workspace"]["phase"].as_str().unwrap_or_default();
            value["workspace"]["at_rest"] == true || phase == "installing" || phase == "starting"
        });
        let seen = seen.await;
        assert!(!seen["workspace"]["state"].is_null(), "{seen}");
    }
}

/// Neither on this machine nor in a container.
fn nothing_was_run(node: &TestNode, canary: &Path) {
    assert!(!canary.exists(), "something was run on this machine");
    let label = format!("label={}", node.label().unwrap());
    for container in docker(&["ps", "--all", "--quiet", "--filter", &label]).split_whitespace() {
        let made = docker(&["diff", container]);
        assert!(!made.contains("canary"), "something was run in {container}: {made}");
        let host =
            docker(&["inspect", "--format", "{{.HostConfig.Privileged}} {{.HostConfig.Binds}}", container]);
        assert!(!host.contains("true") && !host.contains("/:/host"), "{host}");
    }
}

#[tokio::test]
async fn hostile_values_reach_no_shell_and_no_page() {
    let node = TestNode::start().await;
    let canaries = tempfile::tempdir().unwrap();
    let canary = canaries.path().join("canary");
    let mut folders = Vec::new();
    for (index, payload) in payloads(&canary).iter().enumerate() {
        // Every string but the start command, so that it runs.
        let manifest = serde_json::json!({
            "name": payload, "displayName": payload, "description": payload, "version": payload, "main": payload,
            "engines": {"node": payload}, "packageManager": payload,
            "scripts": {"start": "node server.js", "test": payload, payload: payload},
        });
        node.write(&format!("strings{index}/package.json"), &manifest.to_string());
        node.write(
            &format!("strings{index}/server.js"),
            "require('http').createServer((q, s) => s.end('alive')).listen(process.env.PORT)",
        );
        folders.push(format!("strings{index}"));
        let settings = serde_json::json!({
            "name": payload, "description": payload, "env": {"HOSTILE": payload}, "start": "node server.js",
        });
        node.write(&format!("settings{index}/.nexus/config.yaml"), &settings.to_string());
        node.write(&format!("settings{index}/server.js"), "console.log('x')");
        node.write(&format!("settings{index}/package.json"), START);
        folders.push(format!("settings{index}"));
        let compose = serde_json::json!({"services": {"web": {
            "image": payload, "command": payload, "entrypoint": [payload], "environment": {"A": payload},
            "labels": {"a": payload}, "ports": [payload], "volumes": [payload], "container_name": payload,
        }}});
        node.write(&format!("stack{index}/compose.yaml"), &compose.to_string());
        folders.push(format!("stack{index}"));
        node.write(&format!("proc{index}/Procfile"), &format!("web: {payload}\n"));
        node.write(&format!("proc{index}/package.json"), r#"{"name": "p"}"#);
        folders.push(format!("proc{index}"));
    }
    let page = node.wait_for_page("/strings0/", 200, "alive", PATIENCE).await;
    assert_eq!(page.body, "alive");
    all_came_to_something(&node, &folders).await;
    nothing_was_run(&node, &canary);
    let index = node.wait_for_page("/", 200, "&lt;script&gt;alert(1)&lt;/script&gt;", SOON).await.body;
    assert!(!index.contains("<script>alert"), "{index}");
}

#[tokio::test]
async fn hostile_python_projects_reach_no_shell() {
    let node = TestNode::start().await;
    let canaries = tempfile::tempdir().unwrap();
    let canary = canaries.path().join("canary");
    let source = "from flask import Flask\napp = Flask(__name__)\n";
    let mut folders = Vec::new();
    for (index, payload) in payloads(&canary).iter().enumerate() {
        // A JSON string is a TOML string, too.
        let text = serde_json::Value::from(payload.as_str()).to_string();
        let (folder, manifest, content) = match index % 3 {
            0 => (
                format!("pyproject{index}"),
                "pyproject.toml",
                format!(
                    "[project]\nname = {text}\nversion = {text}\ndescription = {text}\nrequires-python = {text}\ndependencies = [{text}, \"flask\"]\n[project.scripts]\n{text} = {text}\n[tool.poetry]\nname = {text}\n[tool.poetry.dependencies]\n{text} = {text}\n[build-system]\nrequires = [{text}]\nbuild-backend = {text}\n"
                ),
            ),
            1 => (
                format!("requirements{index}"),
                "requirements.txt",
                format!("{payload}\nflask @ {payload}\n-r {payload}\n"),
            ),
            _ => (
                format!("pipfile{index}"),
                "Pipfile",
                format!(
                    "[[source]]\nurl = {text}\nname = {text}\n[packages]\nflask = {text}\n{text} = \"*\"\n[requires]\npython_version = {text}\n[scripts]\nstart = {text}\n"
                ),
            ),
        };
        node.write(&format!("{folder}/{manifest}"), &content);
        node.write(&format!("{folder}/app.py"), source);
        node.write(&format!("{folder}/.python-version"), payload);
        folders.push(folder);
    }
    // The object that is served, and the file it is in, have names of their own.
    for (index, name) in
        ["$(touch canary)", "`touch canary`", "x; touch canary #", "--help", "a b"].iter().enumerate()
    {
        node.write(&format!("object{index}/requirements.txt"), "flask\n");
        node.write(&format!("object{index}/{name}.py"), source);
        node.write(&format!("object{index}/{name}/__init__.py"), source);
        folders.push(format!("object{index}"));
        node.write(&format!("page{index}/{name}.html"), "<p>text</p>");
        node.write(&format!("page{index}/index.html"), "<p>page text</p>");
        folders.push(format!("page{index}"));
    }
    all_came_to_something(&node, &folders).await;
    node.wait_for_page("/page0/", 200, "page text", SOON).await;
    nothing_was_run(&node, &canary);
}

#[tokio::test]
async fn each_field_of_a_compose_file_stays_what_it_is() {
    let node = TestNode::start().await;
    let canaries = tempfile::tempdir().unwrap();
    let canary = canaries.path().join("canary");
    let payloads = payloads(&canary);
    // One field at a time: in one file the first that is refused would hide the others.
    let fields = [
        "command",
        "entrypoint",
        "environment",
        "env_file",
        "labels",
        "working_dir",
        "user",
        "hostname",
        "domainname",
        "healthcheck",
        "ports",
        "expose",
        "volumes",
        "networks",
        "extra_hosts",
        "dns",
        "tmpfs",
        "stop_signal",
        "stop_grace_period",
        "restart",
        "platform",
        "pull_policy",
        "shm_size",
        "build",
        "extends",
        "profiles",
        "depends_on",
        "secrets",
        "configs",
        "container_name",
        "logging",
    ];
    let mut folders = Vec::new();
    for (index, field) in fields.iter().enumerate() {
        // A dollar that is meant is written twice.
        let payload = &payloads[index % payloads.len()].replace('$', "$$");
        let value = match *field {
            "environment" | "labels" => serde_json::json!({payload.clone(): payload}),
            "healthcheck" => serde_json::json!({"test": ["CMD", payload], "interval": payload}),
            "logging" => serde_json::json!({"driver": payload}),
            "build" => {
                serde_json::json!({"context": ".", "dockerfile": payload, "args": {"A": payload}, "target": payload})
            }
            "extends" => serde_json::json!({"file": payload, "service": payload}),
            "command" | "user" | "hostname" | "domainname" | "working_dir" | "stop_signal"
            | "stop_grace_period" | "restart" | "platform" | "pull_policy" | "shm_size"
            | "container_name" => serde_json::json!(payload),
            _ => serde_json::json!([payload]),
        };
        let compose = serde_json::json!({"services": {"web": {
            "image": concat!("nexus/runtime-static:", env!("CARGO_PKG_VERSION")), "ports": ["80"], *field: value,
        }}});
        let folder = format!("field-{}", field.replace('_', "-"));
        node.write(&format!("{folder}/compose.yaml"), &compose.to_string());
        folders.push(folder);
    }
    let seen = std::time::Instant::now();
    for folder in &folders {
        node.wait_for_workspace(folder, "tried or refused", PATIENCE, |value| {
            let text = value["workspace"]["message"].as_str().unwrap_or_default();
            value["workspace"]["at_rest"] == true
                || value["workspace"]["state"] == "error"
                || text.contains("listen")
        })
        .await;
    }
    // A program that is not there is said, and stays said.
    let (_, shown, _) = node.cli(&["workspace", "show", "field-entrypoint", "--json"]);
    assert!(shown.contains("executable file not found") || shown.contains("no such file"), "{shown}");
    println!("{} fields took {:?}", folders.len(), seen.elapsed());
    nothing_was_run(&node, &canary);
}
