//! Detection over real folders: every fixture, broken manifests, links, pipes, too many files, hostile values.
//!
//! A fixture is a folder of `tests/fixtures/detect` with an `expected.json`. It names only what matters to it:
//! `kind framework package_manager install build start port_hint root serves site` equal what is detected, `version` the
//! image tag, `because problem fatal` are part of a reason or problem, `alternative` is the root of one.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::path::PathBuf;

use nexus::model::project::Detection;
use nexus::model::project::Kind;
use nexus::model::project::Overrides;
use nexus::model::project::Serves;
use nexus::project::EntryKind;
use nexus::project::Limits;
use nexus::project::Listing;
use nexus::project::detect;
use nexus::project::observe;
use proptest::prelude::*;
use serde_json::Value;
use serde_json::json;

fn fixtures() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/detect");
    let mut found: Vec<PathBuf> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

/// Observes and detects, as the node does.
fn detected(folder: &Path) -> Detection {
    let listing = observe(folder, Limits::default()).unwrap();
    let overrides = nexus::project::overrides(&listing).unwrap();
    detect(&listing, &overrides)
}

fn of_files(files: &[(&str, &str)]) -> Detection {
    detect(&Listing::of_files(files.iter().copied()), &Overrides::default())
}

fn actual(detection: &Detection, key: &str) -> Value {
    let text = |text: &Option<String>| json!(text);
    match key {
        "kind" => json!(detection.kind.as_str()),
        "framework" => text(&detection.framework),
        "package_manager" => text(&detection.package_manager),
        "install" => text(&detection.install),
        "build" => text(&detection.build),
        "start" => text(&detection.start),
        "port_hint" => json!(detection.port_hint),
        "root" => json!(nexus::project::served_directory(detection)),
        "serves" => json!(if detection.serves == Serves::Http { "http" } else { "process" }),
        "site" => json!(
            detection
                .site
                .as_ref()
                .map(|site| json!({ "directory": site.directory, "fallback": site.fallback }))
        ),
        "version" => json!(detection.version.as_ref().map(|version| &version.tag)),
        "quiet" => json!(detection.problems.is_empty()),
        _ => panic!("an expectation nobody checks: {key}"),
    }
}

/// Whether a part of the detection holds a text.
fn holds(detection: &Detection, key: &str, wanted: &str) -> bool {
    let mut problems = detection.problems.iter();
    match key {
        "because" => detection.because.iter().any(|reason| reason.fact.contains(wanted)),
        "problem" => problems.any(|problem| problem.message.contains(wanted)),
        "fatal" => problems.any(|problem| problem.fatal && problem.message.contains(wanted)),
        _ => detection.alternatives.iter().any(|other| other.root == wanted),
    }
}

/// What holds for every detection, whatever the project.
fn lawful(detection: &Detection) -> Result<(), String> {
    let lines = [&detection.install, &detection.build, &detection.start];
    for line in lines.into_iter().flatten() {
        if line.is_empty() || line.chars().any(char::is_control) {
            return Err(format!("a command that is no line: {line:?}"));
        }
    }
    if detection.because.is_empty() && detection.problems.is_empty() {
        return Err("it does not explain itself".to_owned());
    }
    if detection.kind == Kind::Unknown
        && detection.start.is_none()
        && detection.problems.iter().all(|p| p.hint.is_none())
    {
        return Err("unknown, and no next step".to_owned());
    }
    if detection.root.starts_with('/') || detection.root.split('/').any(|part| part == "..") {
        return Err(format!("a root outside of the project: {:?}", detection.root));
    }
    Ok(())
}

#[test]
fn every_fixture_is_what_it_is() {
    let mut wrong = Vec::new();
    let fixtures = fixtures();
    assert!(fixtures.len() >= 100, "only {} fixtures", fixtures.len());
    for folder in fixtures {
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        let expected = fs::read_to_string(folder.join("expected.json")).unwrap();
        let expected: Value = serde_json::from_str(&expected).unwrap();
        let detection = detected(&folder);
        if let Err(broken) = lawful(&detection) {
            wrong.push(format!("{name}: {broken}"));
        }
        for (key, wanted) in expected.as_object().unwrap() {
            let right = match key.as_str() {
                "because" | "problem" | "fatal" | "alternative" => {
                    holds(&detection, key, wanted.as_str().unwrap())
                }
                key => actual(&detection, key) == *wanted,
            };
            if !right {
                wrong.push(format!("{name}: {key} is not {wanted}: {}", shown(&detection, key)));
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

fn shown(detection: &Detection, key: &str) -> String {
    match key {
        "because" => format!("{:?}", detection.because),
        "problem" | "fatal" => format!("{:?}", detection.problems),
        "alternative" => format!("{:?}", detection.alternatives),
        key => actual(detection, key).to_string(),
    }
}

/// Each is broken in its own way and must be told with its file and, where the text parses up to somewhere, its place.
/// Line and column, 1-based.
type Place = (usize, usize);
/// Prepares a project.
type Arrange<'a> = &'a dyn Fn(&Path);

#[test]
fn broken_manifests_are_told_with_their_place() {
    let cases: [(&str, &str, Option<Place>); 30] = [
        ("package.json", "", Some((1, 1))),
        ("package.json", "{", Some((1, 1))),
        ("package.json", "{\n  \"name\": \"x\",\n}\n", Some((3, 1))),
        ("package.json", "{\n  \"name\": \"x\"\n  \"main\": \"a.js\"\n}\n", Some((3, 3))),
        ("package.json", "{ 'name': 'x' }", Some((1, 3))),
        ("package.json", "{ name: 1 }", Some((1, 3))),
        ("package.json", "// a comment\n{}", Some((1, 1))),
        ("package.json", "{} trailing", Some((1, 4))),
        ("package.json", "{\"a\": \"\u{1}\"}", Some((1, 8))),
        ("package.json", "{\"a\": 01}", Some((1, 8))),
        ("package.json", "<<<<<<< HEAD\n{}\n=======\n", Some((1, 1))),
        ("package.json", "[]", None),
        ("package.json", "\"text\"", None),
        ("package.json", "3", None),
        ("package.json", "null", None),
        ("package.json", "\0\0binary", None),
        ("pyproject.toml", "[project\nname = \"x\"\n", Some((1, 9))),
        ("pyproject.toml", "name = \n", Some((1, 8))),
        ("pyproject.toml", "[project]\nname = x\n", Some((2, 8))),
        ("pyproject.toml", "a = 1\na = 2\n", Some((2, 1))),
        ("pyproject.toml", "[a]\n[a]\n", Some((2, 2))),
        ("pyproject.toml", "a = \"never closed\n", Some((1, 18))),
        ("pyproject.toml", "[project]\ndependencies = [\"flask\"\n", None),
        ("compose.yaml", "services:\n\tweb: {}\n", Some((2, 1))),
        ("compose.yaml", "services:\n  web:\n    image: \"nginx\n", None),
        ("compose.yaml", "services:\n  web: [1\n", None),
        ("compose.yaml", "a: b: c\n", Some((1, 5))),
        ("compose.yaml", "services:\n  web: &a\n  db: *b\n", None),
        ("compose.yaml", "services:\n  web:\n    image: x\n   ports: [1]\n", None),
        ("composer.json", "{\"require\": }", Some((1, 13))),
    ];
    for (file, text, place) in cases {
        let detection =
            of_files(&[(file, text), ("index.php", "<?php")][..if file == "composer.json" { 2 } else { 1 }]);
        let found = detection.problems.iter().find(|problem| problem.file == file && problem.fatal);
        let problem = found.unwrap_or_else(|| panic!("{file} {text:?}: no problem: {detection:?}"));
        assert!(problem.hint.is_some(), "{file} {text:?}: no next step");
        assert_ne!(detection.kind, Kind::Unknown, "{file} {text:?}");
        lawful(&detection).unwrap();
        if place.is_some() {
            assert_eq!(problem.line.zip(problem.column), place, "{file} {text:?}: {}", problem.message);
        }
    }
}

#[test]
fn a_broken_manifest_is_not_guessed_around() {
    let detection = of_files(&[("package.json", "{\"scripts\":"), ("index.html", "<h1>hi</h1>")]);
    assert_eq!((detection.kind, detection.start), (Kind::Node, None));
}

/// A folder made for one test.
fn folder(make: impl FnOnce(&Path)) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("index.html"), "<h1>hi</h1>").unwrap();
    make(folder.path());
    folder
}

#[test]
fn links_never_lead_out_nor_round_and_round() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("package.json"), "{\"scripts\":{\"start\":\"node secret.js\"}}").unwrap();
    let out = outside.path();
    let cases: [(&str, Arrange<'_>); 12] = [
        ("to itself", &|root| symlink("package.json", root.join("package.json")).unwrap()),
        ("to each other", &|root| {
            symlink("b", root.join("a")).unwrap();
            symlink("a", root.join("b")).unwrap();
        }),
        ("to the root", &|root| symlink(".", root.join("again")).unwrap()),
        ("to the root by its path", &|root| symlink(root, root.join("again")).unwrap()),
        ("to the parent", &|root| symlink("..", root.join("up")).unwrap()),
        ("deep, to the root", &|root| {
            fs::create_dir_all(root.join("a/b/c")).unwrap();
            symlink("../../..", root.join("a/b/c/up")).unwrap();
        }),
        ("a chain", &|root| {
            for i in 0..60 {
                symlink(format!("l{}", i + 1), root.join(format!("l{i}"))).unwrap();
            }
        }),
        ("a tree of loops", &|root| {
            for i in 0..20 {
                fs::create_dir_all(root.join(format!("d{i}"))).unwrap();
                symlink("..", root.join(format!("d{i}/up"))).unwrap();
            }
        }),
        ("a manifest outside", &|root| symlink(out.join("package.json"), root.join("package.json")).unwrap()),
        ("a folder outside", &|root| symlink(out, root.join("app")).unwrap()),
        ("a device", &|root| symlink("/dev/zero", root.join("main.py")).unwrap()),
        ("through /proc", &|root| symlink("/proc/self/root/etc/passwd", root.join("server.js")).unwrap()),
    ];
    for (name, make) in cases {
        let folder = folder(make);
        let listing = observe(folder.path(), Limits::default()).unwrap();
        assert!(listing.len() < 100, "{name}: {} entries", listing.len());
        let text: Vec<&str> = listing.entries().filter_map(|(path, _)| listing.text(path)).collect();
        assert!(
            !text.iter().any(|text| text.contains("secret") || text.contains("root:")),
            "{name}: read what is outside"
        );
        let detection = detect(&listing, &Overrides::default());
        assert!(
            detection.start.as_deref().is_none_or(|start| !start.contains("secret")),
            "{name}: {detection:?}"
        );
    }
}

#[test]
fn a_link_within_the_project_is_the_file_it_leads_to() {
    let folder = folder(|root| {
        fs::create_dir(root.join("config")).unwrap();
        fs::write(root.join("config/p.json"), "{\"scripts\":{\"start\":\"node a.js\"}}").unwrap();
        fs::write(root.join("a.js"), "require('http').createServer().listen(3000)").unwrap();
        symlink("config/p.json", root.join("package.json")).unwrap();
    });
    assert_eq!(detected(folder.path()).start.as_deref(), Some("node a.js"));
}

#[test]
fn pipes_sockets_and_devices_are_never_opened() {
    let folder = folder(|root| {
        rustix::fs::mknodat(
            rustix::fs::CWD,
            root.join("package.json"),
            rustix::fs::FileType::Fifo,
            0o600.into(),
            0,
        )
        .unwrap();
        std::os::unix::net::UnixListener::bind(root.join("main.py")).unwrap();
    });
    let listing = observe(folder.path(), Limits::default()).unwrap();
    assert_eq!(listing.entry("package.json").unwrap().kind, EntryKind::Special);
    assert_eq!(listing.entry("main.py").unwrap().kind, EntryKind::Special);
    assert_eq!(detect(&listing, &Overrides::default()).kind, Kind::Static);
}

#[test]
fn a_folder_of_too_many_files_is_cut_and_keeps_its_manifest() {
    let folder = folder(|root| {
        for i in 0..3000 {
            fs::write(root.join(format!("a{i:04}.log")), "").unwrap();
        }
        fs::write(root.join("package.json"), "{\"scripts\":{\"start\":\"node a.js\"}}").unwrap();
    });
    let limits = Limits { directory_entries_max: 100, entries_max: 200, ..Limits::default() };
    let listing = observe(folder.path(), limits).unwrap();
    assert!(listing.len() <= 103, "{}", listing.len());
    assert!(listing.cut().is_some());
    assert_eq!(detect(&listing, &Overrides::default()).kind, Kind::Node);
}

#[test]
fn depth_and_bytes_are_bounded() {
    let folder = folder(|root| {
        let mut deep = root.to_owned();
        for _ in 0..40 {
            deep.push("d");
        }
        fs::create_dir_all(&deep).unwrap();
        fs::write(root.join("big.py"), vec![b'x'; 300 << 10]).unwrap();
    });
    let listing = observe(folder.path(), Limits::default()).unwrap();
    assert!(listing.len() < 20);
    assert_eq!(listing.content("big.py"), Some(&nexus::project::Content::TooLarge));
}

#[test]
fn what_is_no_folder_is_an_error_with_a_next_step() {
    use nexus::base::fault::Explain as _;
    let folder = folder(|_| {});
    for path in ["index.html", "gone"] {
        let error = observe(&folder.path().join(path), Limits::default()).unwrap_err();
        assert!(error.to_string().ends_with("is not a folder"), "{error}");
        assert!(error.hint().is_some());
    }
}

#[test]
fn an_empty_folder_says_so() {
    let detection = of_files(&[]);
    assert_eq!(detection.kind, Kind::Unknown);
    assert_eq!(detection.problems[0].message, "the folder is empty");
}

/// Names that make detectors run, and what hostile hands put behind them.
fn any_listing() -> impl Strategy<Value = Listing> {
    const NAMES: [&str; 34] = [
        "package.json",
        "package.json5",
        "package-lock.json",
        "yarn.lock",
        ".nvmrc",
        "next.config.js",
        "angular.json",
        "index.js",
        "requirements.txt",
        "pyproject.toml",
        "Pipfile",
        "app.py",
        "manage.py",
        "src/x/__init__.py",
        ".python-version",
        "index.php",
        "composer.json",
        "artisan",
        "go.mod",
        "main.go",
        "go.work",
        "Gemfile",
        "config.ru",
        "app.rb",
        "Procfile",
        "Staticfile",
        "index.html",
        "Dockerfile",
        "compose.yaml",
        "web/package.json",
        "mise.toml",
        ".tool-versions",
        "project.toml",
        "public/index.html",
    ];
    const TEXTS: [&str; 22] = [
        "{\"main\":\"a\\nb.js\",\"scripts\":{\"start\":\"node a\\u0000\\nb\",\"build\":\"\\u001b[31m\"}}",
        "{\"scripts\":{\"start\":3},\"dependencies\":[],\"engines\":\"x\",\"workspaces\":{},\"packageManager\":7}",
        "{\"dependencies\":{\"express\":{},\"next\":\"1\",\"astro\":\"1\"},\"scripts\":{\"build\":\"next build\"}}",
        "{\"require\":[],\"extra\":{\"public-dir\":\"../..\"}}",
        "{\"projects\":{\"a\\nb\":{\"architect\":{\"build\":{\"options\":{\"outputPath\":\"/etc\"}}}}}}",
        "[project]\nname = \"x\"\ndependencies = [\"--index-url=http://x\", \"flask\\nrm\", \"a; rm\"]\n[project.scripts]\n\"a\\nb\" = \"x\"\n",
        "web: rm -rf / ; $(id) `id` > x\nworker: \u{1b}[0m\rrelease: x",
        "web: ../../bin/x\r\nrelease: migrate\r\n",
        "root: ../../etc\nindex_fallback: maybe\n",
        "root: \u{202e}evil\n",
        "services:\n  ? [a]\n  : {image: [], ports: {a: b}, env_file: {path: ../x}, labels: 3}\n",
        "services: {web: {build: {context: ../..}, ports: ['x', 99999, '1:2:3:4', {target: 70000}]}}\n",
        "FROM\nEXPOSE $PORT 70000 abc\nCOPY\nCMD\n",
        "FROM x\nCOPY a\u{7} b /\nEXPOSE 80\n",
        "from flask import Flask\napp = Flask(__name__)\n",
        "package main\nfunc main() {}\n",
        "module \"\ngo 99999999999999999999.1\ntoolchain go1\n",
        "^99999999999999999999 || >= - <",
        "gem 'a\nruby '",
        "\u{feff}",
        "- - - 1 - 2 - ",
        "'\"`$(){}[]|&;<>*?\\",
    ];
    let name = prop_oneof![4 => prop::sample::select(&NAMES[..]).prop_map(str::to_owned), 1 => "[a-z$;'\n /.\u{7f}-]{1,20}"];
    let text = prop_oneof![
        4 => prop::sample::select(&TEXTS[..]).prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..200),
        1 => ".{0,200}".prop_map(String::into_bytes),
    ];
    prop::collection::vec((name, text), 0..12).prop_map(|files| {
        let mut listing = Listing::default();
        for (path, bytes) in files {
            listing.insert(path.clone(), EntryKind::File, bytes.len() as u64);
            listing.set_content(path, nexus::project::decode(&bytes));
        }
        listing
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn detection_never_panics_and_never_says_a_control_character(listing in any_listing()) {
        let detection = detect(&listing, &Overrides::default());
        prop_assert_eq!(lawful(&detection), Ok(()));
        nexus::project::identify(&listing, &Overrides::default());
        for stated in [Kind::Node, Kind::Compose, Kind::Php, Kind::Static] {
            let overrides = Overrides { kind: Some(stated), root: Some("web".to_owned()), ..Overrides::default() };
            let detection = detect(&listing, &overrides);
            prop_assert!(detection.kind == stated || detection.kind == Kind::Unknown || stated == Kind::Static);
        }
    }

    #[test]
    fn what_the_user_states_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "[a-z: \n\\-\\[\\]{}\"'&*!|>]{0,80}") {
        for bytes in [bytes, text.into_bytes()] {
            let mut listing = Listing::default();
            listing.insert(".nexus/config.yaml", EntryKind::File, bytes.len() as u64);
            listing.set_content(".nexus/config.yaml", nexus::project::decode(&bytes));
            let _ = nexus::project::overrides(&listing).is_ok();
        }
    }
}
