//! Generated stacks against golden files, and what no value may do.

use std::path::PathBuf;

use crate::model::project::Serves;
use crate::model::project::Site;

use super::*;

pub(in crate::compose) fn golden(name: &str, text: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/compose").join(name);
    if std::env::vars().any(|(key, _)| key == "NEXUS_BLESS") {
        std::fs::write(&path, text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, expected, "{} differs; if that is meant, run with NEXUS_BLESS=1", path.display());
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
        ..Detection::of(Kind::Static)
    }
}

fn express() -> Detection {
    Detection {
        install: Some("npm ci".to_owned()),
        start: Some("node server.js".to_owned()),
        port_hint: Some(3000),
        install_inputs: vec!["package.json".to_owned(), "package-lock.json".to_owned()],
        ..Detection::of(Kind::Node)
    }
}

fn detected(kind: Kind, install: &str, start: &str, port: u16) -> Detection {
    let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    Detection { install: some(install), start: some(start), port_hint: Some(port), ..Detection::of(kind) }
}

/// One input of each kind, and of each way a kind can differ.
fn kinds() -> Vec<(&'static str, Input)> {
    let build = Detection {
        install: Some("npm ci".to_owned()),
        build: Some("npm run build".to_owned()),
        site: Some(Site { directory: "dist".to_owned(), fallback: true }),
        install_inputs: vec!["package.json".to_owned()],
        ..Detection::of(Kind::Static)
    };
    let django = detected(
        Kind::Python,
        "pip install -r requirements.txt",
        "python manage.py runserver 0.0.0.0:$PORT",
        8000,
    );
    let backend = Detection {
        root: "backend".to_owned(),
        hot_reload: true,
        ..detected(Kind::Node, "pnpm install", "pnpm dev", 5173)
    };
    let dockerfile = Detection {
        file: Some("Dockerfile".to_owned()),
        port_hint: Some(8000),
        ..Detection::of(Kind::Dockerfile)
    };
    let script = Detection {
        serves: Serves::Process,
        port_hint: None,
        ..detected(Kind::Python, "", "python job.py", 0)
    };
    let stated = Overrides {
        start: Some("node other.js".to_owned()),
        port: Some(4000),
        image: Some("node:24".to_owned()),
        env: [("GREETING".to_owned(), "a $b 'c'\nd".to_owned())].into(),
        limits: Limits { cpus: Some(0.5), memory_bytes: Some(256 << 20), pids: None },
        ..Overrides::default()
    };
    vec![
        ("static", Input { image: "nexus/runtime-static:0.1.0".to_owned(), ..input(site()) }),
        ("static-build", input(build)),
        ("node", input(express())),
        (
            "node-stated",
            Input {
                overrides: stated,
                ca_bundle: Some("/etc/ca.pem".to_owned()),
                timezone: Some("Europe/Berlin".to_owned()),
                ..input(express())
            },
        ),
        ("monorepo", input(backend)),
        ("python", Input { image: "python:3.12-slim".to_owned(), start_interval: false, ..input(django) }),
        ("process", Input { image: "python:3.12-slim".to_owned(), ..input(script) }),
        (
            "php",
            Input {
                image: "php:8.3-cli".to_owned(),
                ..input(detected(Kind::Php, "", "php -S 0.0.0.0:$PORT -t public", 8000))
            },
        ),
        (
            "go",
            Input {
                image: "golang:1.24".to_owned(),
                ..input(detected(Kind::Go, "go mod download", "go run .", 8080))
            },
        ),
        (
            "ruby",
            Input {
                image: "ruby:3.3-slim".to_owned(),
                ..input(detected(Kind::Ruby, "bundle install", "bundle exec rackup -p $PORT", 9292))
            },
        ),
        ("dockerfile", input(dockerfile)),
    ]
}

#[test]
fn stacks_of_every_kind_are_as_written_down() {
    for (name, input) in kinds() {
        golden(&format!("generated/{name}.yaml"), &plan(&input).unwrap().file);
    }
}

#[test]
fn generated_stacks_are_safe_by_default() {
    for (name, input) in kinds() {
        let text = plan(&input).unwrap().file;
        let file: serde_yaml::Value = serde_yaml::from_str(&text).unwrap();
        let app = &file["services"]["app"];
        for key in ["ports", "privileged", "network_mode", "pid", "ipc", "devices", "cap_add"] {
            assert!(app.get(key).is_none(), "{name}: {key}");
        }
        for key in [
            "cap_drop",
            "security_opt",
            "cpus",
            "mem_limit",
            "pids_limit",
            "logging",
            "labels",
            "restart",
            "stop_grace_period",
        ] {
            assert!(app.get(key).is_some(), "{name}: no {key}");
        }
        for (kind, objects) in [("services", &file["services"]), ("networks", &file["networks"])] {
            for (object, value) in objects.as_mapping().unwrap() {
                assert_eq!(value["labels"]["nexus.node"], "n0de000001", "{name}: {kind} {object:?}");
                assert_eq!(value["labels"]["nexus.workspace"], "w0rk000001", "{name}: {kind} {object:?}");
            }
        }
        if input.detection.kind != Kind::Dockerfile {
            assert_eq!(app["user"], "1000:1000", "{name}");
            assert_eq!(app["cap_drop"][0], "ALL", "{name}");
            assert!(app.get("healthcheck").is_some(), "{name}");
        }
    }
}

/// Every string of an input, set to `payload`; with the place it has in the file, where that is one scalar.
fn places(payload: &str) -> Vec<(&'static str, Input, Option<Vec<&'static str>>)> {
    let text = || payload.to_owned();
    let with = |overrides: Overrides| Input { overrides, ..input(express()) };
    let seen = |change: fn(&mut Detection, String)| {
        let mut detection = express();
        change(&mut detection, payload.to_owned());
        input(detection)
    };
    let argument = |at: &'static str| Some(vec!["services", "app", "entrypoint", at]);
    vec![
        ("start", with(Overrides { start: Some(text()), ..Overrides::default() }), argument("19")),
        ("install", with(Overrides { install: Some(text()), ..Overrides::default() }), argument("8")),
        ("build", with(Overrides { build: Some(text()), ..Overrides::default() }), argument("14")),
        ("detected start", seen(|detection, text| detection.start = Some(text)), argument("19")),
        ("detected install", seen(|detection, text| detection.install = Some(text)), argument("8")),
        ("detected input", seen(|detection, text| detection.install_inputs[0] = text), None),
        ("detected root", seen(|detection, text| detection.root = text), None),
        (
            "detected file",
            seen(|detection, text| (detection.file, detection.kind) = (Some(text), Kind::Dockerfile)),
            None,
        ),
        (
            "site",
            seen(|detection, text| detection.site = Some(Site { directory: text, fallback: true })),
            None,
        ),
        ("root", with(Overrides { root: Some(text()), ..Overrides::default() }), None),
        ("image", with(Overrides { image: Some(text()), ..Overrides::default() }), None),
        (
            "env",
            with(Overrides { env: [("K".to_owned(), text())].into(), ..Overrides::default() }),
            Some(vec!["services", "app", "environment", "K"]),
        ),
        (
            "env name",
            with(Overrides { env: [(text(), "v".to_owned())].into(), ..Overrides::default() }),
            None,
        ),
        ("resolved image", Input { image: text(), ..input(express()) }, None),
        ("agent volume", Input { agent_volume: text(), ..input(express()) }, None),
        (
            "folder",
            Input {
                folder: format!("/w/{payload}"),
                ..input(Detection { port_hint: Some(1), ..Detection::of(Kind::Dockerfile) })
            },
            Some(vec!["services", "app", "build", "context"]),
        ),
        (
            "ca bundle",
            Input { ca_bundle: Some(format!("/{payload}")), ..input(express()) },
            Some(vec!["services", "app", "volumes", "3", "source"]),
        ),
        ("timezone", Input { timezone: Some(text()), ..input(express()) }, None),
    ]
}

#[test]
fn hostile_strings_arrive_byte_for_byte_or_are_refused() {
    for payload in crate::compose::passthrough::PAYLOADS {
        for (field, input, place) in places(payload) {
            let file = match plan(&input) {
                Ok(plan) => plan.file,
                Err(problems) => {
                    assert!(
                        problems.iter().all(|problem| !problem.to_string().contains('\u{1b}')),
                        "{field}"
                    );
                    continue;
                }
            };
            let tree: serde_yaml::Value = serde_yaml::from_str(&file)
                .unwrap_or_else(|error| panic!("{field} {payload:?}: {error}\n{file}"));
            let mut value = &tree;
            for step in place.iter().flatten() {
                value = step.parse::<usize>().map_or_else(|_| &value[*step], |at| &value[at]);
            }
            if place.is_some() {
                let found = value.as_str().unwrap_or_default().replace("$$", "$");
                assert!(
                    found == payload || (found.ends_with(payload) && found.starts_with('/')),
                    "{field}: {found:?} is not {payload:?}\n{file}"
                );
            }
            // Nothing but the one value changed: the tree has the same keys.
            assert_eq!(
                tree.as_mapping().unwrap().len(),
                if field.starts_with("detected file") || field == "folder" { 3 } else { 4 },
                "{field}\n{file}"
            );
            assert_eq!(tree["services"].as_mapping().unwrap().len(), 1, "{field}");
        }
    }
}

/// The same strings for Compose itself to read: `tests/it/compose.rs` compares.
#[test]
fn hostile_environments_are_written_down() {
    let payloads = crate::compose::passthrough::PAYLOADS;
    let mut hostile = input(express());
    hostile.overrides.env =
        payloads.iter().enumerate().map(|(at, text)| (format!("K{at:02}"), (*text).to_owned())).collect();
    golden("generated/hostile.yaml", &plan(&hostile).unwrap().file);
    golden("hostile.json", &format!("{}\n", serde_json::to_string_pretty(&payloads).unwrap()));
}

#[test]
fn what_cannot_be_a_stack_is_said_all_at_once() {
    let mut bad = input(Detection { root: "../up".to_owned(), ..Detection::of(Kind::Node) });
    bad.overrides.env = [
        ("A B".to_owned(), String::new()),
        ("C".to_owned(), "x".repeat(200_000)),
        ("D".to_owned(), "\0".to_owned()),
    ]
    .into();
    bad.overrides.install = Some("--evil".to_owned());
    bad.overrides.port = Some(0);
    bad.overrides.limits = Limits { cpus: Some(f64::NAN), memory_bytes: Some(1), pids: Some(0) };
    bad.image = "-v".to_owned();
    bad.ca_bundle = Some("relative".to_owned());
    let shown: Vec<String> = plan(&bad)
        .unwrap_err()
        .iter()
        .map(|problem| format!("{problem}; {}", problem.hint.clone().unwrap_or_default()))
        .collect();
    insta::assert_snapshot!(shown.join("\n"), @r#"
    `start`: nothing says how the project is started; state `start` in .nexus/config.yaml
    `root`: the path leads out of the project: "../up"; write a path inside the project, relative to it
    `install`: the command starts with an option: "--evil"; a command starts with the name of a program
    `env`: "A B" is not the name of a variable; use letters, digits and `_`
    `env.C`: name and value are longer than 128 KiB together; put the value into a file
    `env.D`: the value holds a NUL character; remove it; no program can receive it
    `limits.cpus`: NaN is out of range; give 0.01 to 1024 cores
    `limits.memory`: 1 bytes is out of range; give 6 MiB to 1 PiB
    `limits.pids`: 0 is out of range; give 1 to 4194304 processes
    `port`: 0 is not a port; give 1 to 65535
    `image`: "-v" is not the name of an image; write it as `name:tag`
    `ca bundle`: "relative" is not an absolute path; write the path from `/` on
    "#);
    let unknown = plan(&input(Detection::of(Kind::Unknown))).unwrap_err();
    assert_eq!(unknown[0].to_string(), "`kind`: nothing in the project says how to run it");
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
