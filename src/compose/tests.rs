//! Generated stacks against golden files, and what no value may do.

use std::path::PathBuf;

use crate::model::project::Serves;
use crate::model::project::Site;

use super::*;

fn golden(name: &str, text: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/compose/generated").join(name);
    if std::env::vars().any(|(key, _)| key == "NEXUS_BLESS") {
        std::fs::write(&path, text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, expected, "{} differs; if that is meant, run with NEXUS_BLESS=1", path.display());
}

fn detection(kind: Kind) -> Detection {
    Detection {
        kind,
        framework: None,
        package_manager: None,
        install: None,
        build: None,
        start: None,
        port_hint: None,
        root: ".".to_owned(),
        serves: Serves::Http,
        site: None,
        version: None,
        install_inputs: Vec::new(),
        hot_reload: false,
        file: None,
        because: Vec::new(),
        alternatives: Vec::new(),
        problems: Vec::new(),
    }
}

fn input(detection: Detection) -> Input {
    Input {
        node: NodeId::parse("n0de000001").unwrap(),
        workspace: WorkspaceId::parse("w0rk000001").unwrap(),
        name: Name::parse("shop").unwrap(),
        detection,
        overrides: Overrides::default(),
        image: "node:22-slim".to_owned(),
        agent_volume: "nexus-agent-0.1.0".to_owned(),
        folder: "/workspaces/shop".to_owned(),
        ca_bundle: None,
        subnet: Subnet::parse("10.213.0.64/26").unwrap(),
        defaults: Limits { cpus: Some(2.0), memory_bytes: Some(2 << 30), pids: Some(1024) },
        timezone: None,
        start_interval: true,
    }
}

fn site() -> Detection {
    Detection {
        start: Some("serve .".to_owned()),
        site: Some(Site { directory: ".".to_owned(), fallback: false }),
        ..detection(Kind::Static)
    }
}

fn express() -> Detection {
    Detection {
        install: Some("npm ci".to_owned()),
        start: Some("node server.js".to_owned()),
        port_hint: Some(3000),
        install_inputs: vec!["package.json".to_owned(), "package-lock.json".to_owned()],
        ..detection(Kind::Node)
    }
}

#[test]
fn stacks_of_every_kind_are_as_written_down() {
    golden(
        "static.yaml",
        &plan(&Input { image: "nexus/runtime-static:0.1.0".to_owned(), ..input(site()) }).unwrap().file,
    );
    golden("node.yaml", &plan(&input(express())).unwrap().file);
}

#[test]
fn a_renamed_workspace_has_the_same_digest_and_any_other_change_another() {
    let first = plan(&input(express())).unwrap();
    let renamed = plan(&Input { name: Name::parse("other").unwrap(), ..input(express()) }).unwrap();
    assert_eq!(first.digest, renamed.digest);
    assert_ne!(first.file, renamed.file);
    let image = plan(&Input { image: "node:24".to_owned(), ..input(express()) }).unwrap();
    assert_ne!(first.digest, image.digest);
    assert_eq!(first, plan(&input(express())).unwrap(), "the same input gives the same plan");
}
