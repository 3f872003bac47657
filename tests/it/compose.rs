//! The golden stacks as Compose itself reads them.

use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/compose")
}

/// Runs `docker compose` on one file, with nothing of this process's environment but the way to the plugin.
fn config(file: &Path, arguments: &[&str]) -> Option<std::process::Output> {
    let mut command = Command::new("docker");
    let kept = std::env::vars().filter(|(key, _)| key == "PATH" || key == "HOME");
    command
        .env_clear()
        .envs(kept)
        .args(["compose", "--env-file", "/dev/null", "-f"])
        .arg(file)
        .arg("config")
        .args(arguments);
    command.output().ok()
}

/// Whether Compose is here. A full run sets `NEXUS_E2E=1` and must have it.
fn compose_is_here() -> bool {
    let version = Command::new("docker").args(["compose", "version"]).output();
    let here = version.is_ok_and(|output| output.status.success());
    let wanted = std::env::vars().any(|(key, value)| key == "NEXUS_E2E" && value == "1");
    assert!(here || !wanted, "NEXUS_E2E=1 needs `docker compose`");
    here
}

fn goldens() -> Vec<PathBuf> {
    let directories = [fixtures().join("generated"), fixtures().join("adapted")];
    let entries = directories.iter().flat_map(|directory| std::fs::read_dir(directory).unwrap());
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn compose_accepts_every_golden_stack() {
    if !compose_is_here() {
        return;
    }
    let files = goldens();
    assert!(files.len() >= 16, "{} goldens", files.len());
    for file in files {
        let output = config(&file, &["--quiet"]).unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {said}", file.display());
        assert!(said.trim().is_empty(), "{}: Compose has something to say: {said}", file.display());
    }
}

#[test]
fn compose_publishes_nothing_and_labels_everything() {
    if !compose_is_here() {
        return;
    }
    for file in goldens() {
        let output = config(&file, &["--format", "json"]).unwrap();
        let tree: Value = serde_json::from_slice(&output.stdout).unwrap();
        for (name, service) in tree["services"].as_object().unwrap() {
            let place = format!("{}: {name}", file.display());
            assert!(service.get("ports").is_none() && service.get("privileged").is_none(), "{place}");
            assert_eq!(service["labels"]["nexus.node"], "n0de000001", "{place}");
            for mount in service["volumes"].as_array().into_iter().flatten() {
                assert_ne!(mount["bind"]["create_host_path"], true, "{place}: {mount}");
            }
        }
        for network in tree["networks"].as_object().unwrap().values() {
            assert_eq!(network["labels"]["nexus.node"], "n0de000001", "{}", file.display());
        }
        for volume in tree["volumes"].as_object().into_iter().flat_map(|volumes| volumes.values()) {
            assert_eq!(volume["external"], true, "{}", file.display());
        }
    }
}

#[test]
fn compose_reads_hostile_values_as_they_were_written() {
    if !compose_is_here() {
        return;
    }
    let file = fixtures().join("generated/hostile.yaml");
    let output = config(&file, &["--format", "json"]).unwrap();
    let tree: Value = serde_json::from_slice(&output.stdout).unwrap();
    let environment = tree["services"]["app"]["environment"].as_object().unwrap();
    let meant: Value =
        serde_json::from_str(&std::fs::read_to_string(fixtures().join("hostile.json")).unwrap()).unwrap();
    let meant = meant.as_array().unwrap();
    assert!(meant.len() >= 24);
    for (at, value) in meant.iter().enumerate() {
        // `config` prints every dollar as two, so that what it prints can be read again.
        let read = environment[&format!("K{at:02}")].as_str().unwrap().replace("$$", "$");
        assert_eq!(read, value.as_str().unwrap());
    }
}
