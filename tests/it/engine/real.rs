//! What only a real engine can show: memory that runs out, terminals, images that are built.

use std::process::Command;
use std::time::Duration;

use futures::StreamExt as _;
use nexus::base::ids::NodeId;
use nexus::engine::Build;
use nexus::engine::Container;
use nexus::engine::ContainerState;
use nexus::engine::Engine as _;
use nexus::engine::Error;
use nexus::engine::Exec;
use nexus::engine::Labels;
use nexus::engine::Logs;
use nexus::engine::Output;
use nexus::engine::Stack;
use nexus::engine::docker;
use nexus::engine::docker::Docker;
use nexus::engine::label;
use nexus::sync::Agent;
use tempfile::TempDir;

struct Case {
    engine: Docker,
    directory: TempDir,
    node: String,
}

impl Case {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let engine = Docker::new(&docker::Settings {
            socket: "unix:///var/run/docker.sock".to_owned(),
            compose_home: directory.path().join("compose"),
            call_timeout: docker::Settings::CALL_TIMEOUT,
        });
        Self { engine, directory, node: NodeId::random().to_string() }
    }

    fn project(&self) -> String {
        format!("nexus-test-{}", self.node)
    }

    fn labels(&self) -> Labels {
        Labels::from([(label::NODE.to_owned(), self.node.clone())])
    }

    /// Brings up a service with these keys.
    async fn up(&self, keys: &str) -> Result<(), Error> {
        self.engine.up(&self.stack(keys), tokio::sync::mpsc::channel(1).0).await
    }

    fn stack(&self, keys: &str) -> Stack {
        let file = self.directory.path().join("compose.yaml");
        let service = format!("{{ labels: {{ nexus.node: {} }}, network_mode: none, {keys} }}", self.node);
        std::fs::write(&file, format!("services:\n  app: {service}\n")).unwrap();
        Stack { project: self.project(), file, directory: self.directory.path().to_owned() }
    }

    /// The container once it is like that.
    async fn wait(&self, is: impl Fn(&Container) -> bool) -> Container {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
        loop {
            let found = self.engine.containers(&self.labels()).await.unwrap().remove(0);
            if is(&found) {
                return found;
            }
            assert!(tokio::time::Instant::now() < deadline, "it never came to that: {found:?}");
        }
    }

    async fn down(&self) {
        self.engine.down(&self.project(), true).await.unwrap();
    }
}

#[tokio::test]
async fn memory_that_runs_out_is_told_even_when_the_exit_code_is_0() {
    let case = Case::new();
    let script = r#"command: [sh, -c, "head -c 300M /dev/zero | tail -c 300M > /dev/null; exit 0"]"#;
    case.up(&format!("image: debian:trixie-slim, mem_limit: 16m, memswap_limit: 16m, {script}"))
        .await
        .unwrap();
    let ended = case.wait(|container| container.oom_killed).await;
    assert!(ended.exit_code.is_some());
    case.down().await;
}

#[tokio::test]
async fn a_container_that_restarts_says_how_often_and_keeps_an_unnamed_volume_when_made_anew() {
    let case = Case::new();
    let keys = r#"image: debian:trixie-slim, restart: unless-stopped, volumes: [/data], command: [sh, -c, "echo x >> /data/runs; cat /data/runs; exit 7"]"#;
    case.up(keys).await.unwrap();
    let often =
        |container: &Container| container.state == ContainerState::Restarting && container.restarts >= 2;
    let first = case.wait(often).await;
    assert_eq!(first.exit_code, Some(7));
    let volume = case.engine.mounts(&first.id).await.unwrap();
    let progress = tokio::sync::mpsc::channel(1).0;
    case.engine.remake(&case.stack(keys), "app", progress).await.unwrap();
    let second = case.wait(|container| container.id != first.id && often(container)).await;
    assert_eq!(case.engine.mounts(&second.id).await.unwrap(), volume);
    case.down().await;
}

#[tokio::test]
async fn a_terminals_log_is_one_plain_stream() {
    let case = Case::new();
    // Bytes that would be a frame's header if this were framed.
    let script = r#"command: [sh, -c, "printf '\\001\\000\\000\\000\\177text'"]"#;
    case.up(&format!("image: debian:trixie-slim, tty: true, {script}")).await.unwrap();
    let ended = case.wait(|container| container.exit_code.is_some()).await;
    let logs = Logs { tail: None, follow: true, timestamps: false };
    let mut log = case.engine.logs(&ended.id, &logs).await.unwrap();
    let mut text = Vec::new();
    while let Some(item) = log.next().await {
        let Output::Out(bytes) = item.unwrap() else { panic!("a terminal has one output") };
        text.extend_from_slice(&bytes);
    }
    assert_eq!(text, b"\x01\0\0\0\x7ftext");
    case.down().await;
}

#[tokio::test]
async fn a_program_that_is_not_there_ends_with_127() {
    let case = Case::new();
    case.up("image: debian:trixie-slim, command: [sleep, '1000'], stop_grace_period: 0s").await.unwrap();
    let container = case.wait(|_| true).await;
    let exec = Exec { argv: vec!["/nowhere".to_owned()], ..Exec::default() };
    match case.engine.exec(&container.id, &exec).await {
        Ok(session) => {
            session.output.count().await;
            let code = case.engine.exec_exit(&session.id).await.unwrap();
            assert!(matches!(code, Some(126 | 127)), "{code:?}");
        }
        Err(error) => assert!(matches!(error, Error::Refused { .. }), "{error:?}"),
    }
    case.down().await;
}

#[tokio::test]
async fn an_image_that_cannot_be_had_is_named() {
    let case = Case::new();
    let error = case.up("image: 'nexus/nowhere:1', pull_policy: never").await.unwrap_err();
    assert!(matches!(&error, Error::Pull { image, .. } if image == "nexus/nowhere:1"), "{error:?}");
    case.down().await;
}

#[tokio::test]
async fn an_image_is_built_with_a_secret_that_is_not_in_it() {
    let case = Case::new();
    let context = case.directory.path().join("context");
    std::fs::create_dir(&context).unwrap();
    let text = "FROM debian:trixie-slim AS one\nARG WORD\nRUN --mount=type=secret,id=ca_bundle grep -q \"$WORD\" /run/secrets/ca_bundle\nFROM nowhere/not-needed AS two\n";
    std::fs::write(context.join("x.Dockerfile"), text).unwrap();
    let bundle = case.directory.path().join("ca $HOME.crt");
    std::fs::write(&bundle, "trust me for $5\n").unwrap();
    let build = Build {
        image: format!("{}:1", case.project()),
        context,
        dockerfile: "x.Dockerfile".into(),
        target: Some("one".to_owned()),
        args: [("WORD".to_owned(), "for $5".to_owned())].into(),
        labels: case.labels(),
        ca_bundle: Some(bundle),
    };
    let (progress, mut lines) = tokio::sync::mpsc::channel(1000);
    case.engine.build(&build, progress).await.unwrap();
    assert!(lines.recv().await.is_some(), "progress is told");
    assert!(case.engine.image(&build.image).await.unwrap().is_some());
    case.engine.remove_image(&build.image).await.unwrap();
    let wrong = Build { args: [("WORD".to_owned(), "never".to_owned())].into(), ..build };
    let error = case.engine.build(&wrong, tokio::sync::mpsc::channel(1).0).await.unwrap_err();
    assert!(matches!(&error, Error::Compose { message } if message.contains("exit code: 1")), "{error:?}");
}

#[tokio::test]
async fn an_agent_that_was_cut_off_in_its_volume_is_made_whole_before_it_is_used() {
    let case = Case::new();
    let binary = case.directory.path().join("nexus-agent");
    let content: Vec<u8> = case.node.bytes().cycle().take(1_000_003).collect();
    std::fs::write(&binary, &content).unwrap();
    let agent = Agent::load(&binary).unwrap();
    agent.install(&case.engine, &case.labels()).await.unwrap();
    let volume = format!("{}:/agent", agent.volume());
    let inside = |arguments: &[&str]| {
        let run = ["run", "--rm", "--network", "none", "--volume", &volume, "debian:trixie-slim"];
        let output = Command::new("docker").args(run).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let digest = inside(&["sha256sum", "/agent/nexus-agent"]);
    for damage in
        ["truncate -s 4096 /agent/nexus-agent", "truncate -s 0 /agent/nexus-agent", "rm /agent/nexus-agent"]
    {
        inside(&["sh", "-c", &format!("{damage}; touch /agent/other")]);
        agent.install(&case.engine, &case.labels()).await.unwrap();
        assert_eq!(inside(&["sha256sum", "/agent/nexus-agent"]), digest, "after {damage}");
        assert!(
            inside(&["stat", "-c", "%a %u", "/agent/nexus-agent"]).starts_with("755 0"),
            "after {damage}"
        );
    }
    case.engine.remove_volume(&agent.volume()).await.unwrap();
    case.engine.remove_image(&agent.image()).await.unwrap();
}
