//! The defaults, the schema and the types agree; layers win in order; every mistake is said with its place.

use std::path::Path;
use std::time::Duration;

use serde_json::Value as Json;
use serde_json::json;
use tempfile::TempDir;

use nexus_agent::look::Symlinks;
use nexus_agent::reconcile::Mode;
use nexus_agent::resolve::Strategy;
use nexus_agent::watch;

use super::key::KEYS;
use super::layer::variable;
use super::load::DEFAULTS;
use super::load::defaults;
use super::load::load_from;
use super::locate::locate;
use super::problem::Invalid;
use super::settings::Settings;
use super::stack::Stack;
use super::value::Kind;
use super::value::Typed;

/// A machine with these files and this environment.
fn load(
    system: &str,
    home: &str,
    environment: &[(&str, &str)],
) -> Result<(Stack, Settings, TempDir), Invalid> {
    let directory = TempDir::new().unwrap();
    let path = |name: &str| directory.path().join(name);
    std::fs::create_dir(path("home")).unwrap();
    std::fs::write(path("system.yaml"), system).unwrap();
    std::fs::write(path("home/config.yaml"), home).unwrap();
    let home = ("NEXUS_HOME".to_owned(), path("home").display().to_string());
    let set = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let environment: Vec<_> = std::iter::once(home).chain(set).collect();
    let (stack, settings) =
        load_from(&path("system.yaml"), &environment).map_err(|invalid| strip(invalid, &directory))?;
    Ok((stack, settings, directory))
}

/// Without the directory of the test.
fn strip(mut invalid: Invalid, directory: &TempDir) -> Invalid {
    for problem in &mut invalid.problems {
        if let super::Origin::File { file, .. } = &mut problem.origin {
            *file = file.strip_prefix(directory.path()).unwrap().to_owned();
        }
    }
    invalid
}

fn problems(system: &str, home: &str, environment: &[(&str, &str)]) -> String {
    load(system, home, environment).map(|_| ()).unwrap_err().to_string()
}

#[test]
fn the_defaults_hold_every_key_once_and_explain_it() {
    let shown = defaults().show();
    assert_eq!(shown.iter().map(|shown| shown.key).collect::<Vec<_>>(), KEYS.map(|key| key.name));
    let settings = Settings::resolve(&defaults()).unwrap();
    assert_eq!(settings.project_settle, Duration::from_millis(300));
    assert_eq!(settings.engine_ca_bundle, None);
    for key in KEYS {
        assert!(!comment(key.name).is_empty(), "`{}` has no comment in config/defaults.yaml", key.name);
    }
}

/// The comment above a key in the defaults.
fn comment(key: &str) -> String {
    let (line, _) = locate(DEFAULTS, key).unwrap();
    let above = DEFAULTS.lines().take(line - 1).collect::<Vec<_>>();
    let lines = above.iter().rev().map(|line| line.trim()).take_while(|line| line.starts_with('#'));
    let mut lines: Vec<&str> = lines.map(|line| line.trim_start_matches(['#', ' '])).collect();
    lines.reverse();
    lines.join(" ")
}

#[test]
fn the_schema_says_what_the_code_does() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/config/schema.json");
    let text = format!("{:#}\n", schema());
    if std::env::vars().any(|(name, _)| name == "NEXUS_BLESS") {
        std::fs::write(path, &text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(path).unwrap_or_default(), "run once with NEXUS_BLESS=1");
}

/// A JSON type, and a pattern for its text.
fn described(kind: Kind) -> (&'static str, Option<&'static str>) {
    match kind {
        Kind::Text | Kind::Choice(_) => ("string", None),
        Kind::Path => ("string", Some("^/")),
        Kind::OptionalPath => ("string,null", Some("^(/|$)")),
        Kind::Address => ("string", Some("^.+:[0-9]+$")),
        Kind::Socket => ("string", Some("^(unix://)?/")),
        Kind::Duration => ("string", Some("^[0-9]+(\\.[0-9]+)? ?(ms|s|m|h|d)$")),
        Kind::Bytes => ("string", Some("^[0-9]+(\\.[0-9]+)? ?([kKMGT]i?)?B$")),
        Kind::Decimal => ("number", None),
        Kind::Count => ("integer", None),
        Kind::Range => ("string", Some("^[0-9.]+/[0-9]+$")),
        Kind::List | Kind::Rules => ("array", None),
        Kind::Table(_) => ("object,null", None),
    }
}

fn schema() -> Json {
    let mut root = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Settings of a Nexus node",
        "type": "object",
        "additionalProperties": false,
        "properties": {},
    });
    let values: serde_yaml::Value = serde_yaml::from_str(DEFAULTS).unwrap();
    for key in KEYS {
        let (types, pattern) = described(key.kind);
        let types: Vec<&str> = types.split(',').collect();
        let default = key.name.split('.').fold(&values, |value, part| &value[part]);
        let mut property = json!({ "description": comment(key.name) });
        property["type"] = if types.len() == 1 { json!(types[0]) } else { json!(types) };
        property["default"] = serde_json::to_value(default).unwrap();
        if let Some(pattern) = pattern {
            property["pattern"] = json!(pattern);
        }
        if let Kind::Choice(words) = key.kind {
            property["enum"] = json!(words);
        }
        if matches!(key.kind, Kind::List | Kind::Rules) {
            property["items"] = json!({ "type": "string" });
        }
        let mut parts: Vec<&str> = key.name.split('.').collect();
        let last = parts.pop().unwrap();
        let section = parts.iter().fold(&mut root, |section, part| {
            let inner = &mut section["properties"][*part];
            if inner.is_null() {
                *inner =
                    json!({ "type": ["object", "null"], "additionalProperties": false, "properties": {} });
            }
            inner
        });
        section["properties"][last] = property;
    }
    root
}

#[test]
fn the_higher_layer_wins_and_its_place_is_known() {
    let system = "web:\n  listen: 127.0.0.1:8080\nlog: { level: warn }\n";
    let home = "# mine\nlog:\n  level: debug\nweb:\n";
    let environment = [("NEXUS_PROJECT_SETTLE", "1s"), ("NEXUS_CA_BUNDLE", "/ca.crt"), ("NEXUS_AGENT", "")];
    let (stack, settings, directory) = load(system, home, &environment).unwrap();
    assert_eq!(settings.web_listen, "127.0.0.1:8080".parse().unwrap());
    assert_eq!(settings.engine_ca_bundle.as_deref(), Some(Path::new("/ca.crt")));
    assert_eq!((settings.agent_path.clone(), settings.log_level.as_str()), (None, "debug"));
    let origin = |key: &str| {
        let shown = stack.get(key).unwrap();
        format!("{} {}", shown.value, shown.origin).replace(&directory.path().display().to_string(), "")
    };
    assert_eq!(origin("web.listen"), "127.0.0.1:8080 /system.yaml:2:3");
    assert_eq!(origin("log.level"), "debug /home/config.yaml:3:3");
    assert_eq!(origin("project.settle"), "1s environment NEXUS_PROJECT_SETTLE");
    assert_eq!(origin("project.rescan"), "30s default");
    assert_eq!(stack.get("web.lisen"), None);
}

#[test]
fn all_mistakes_are_said_at_once_each_with_its_place() {
    let system = "web:\n  lisen: 1.2.3.4:80\nproject: 5\nlimits:\n  memory: 512\n  pids: many\n";
    let home = "home: /elsewhere\nlisten: 80\ncompletely: other\nengine:\n  socket: tcp://1.2.3.4\n";
    let environment = [
        ("NEXUS_CONTROL_LISTEN", "7070"),
        ("NEXUS_WEB_LISTN", "x"),
        ("NEXUS_VERSION", "1"),
        ("NEXUS_IMAGES_REGISTRY", "maybe"),
    ];
    insta::assert_snapshot!(problems(system, home, &environment), @r"
    unknown variable `NEXUS_WEB_LISTN` (environment NEXUS_WEB_LISTN); did you mean `NEXUS_WEB_LISTEN`?
    `home` cannot be set in the home it names (home/config.yaml:1:1); set it in /etc/nexus/config.yaml or as NEXUS_HOME
    unknown key `web.lisen` (system.yaml:2:3); did you mean `web.listen`?
    `project` is a section, not a setting (system.yaml:3:1); write `project.settle`
    `limits.memory` is not a size: it has no unit: `512` (system.yaml:5:3); write `512MiB`
    `limits.pids` is not a whole number above zero: `many` (system.yaml:6:3); write a number such as `512`
    unknown key `listen` (home/config.yaml:2:1); did you mean `web.listen`?
    unknown key `completely` (home/config.yaml:3:1)
    `engine.socket` is not a unix socket: `tcp://1.2.3.4` (home/config.yaml:5:3); write `unix:///var/run/docker.sock`
    `control.listen` has no address: `7070` (environment NEXUS_CONTROL_LISTEN); write `0.0.0.0:7070` for all interfaces
    `images.registry` is not one of its words: `maybe` (environment NEXUS_IMAGES_REGISTRY); write `auto` or `never`
    ");
}

#[test]
fn a_file_that_is_not_settings_is_said_with_its_place() {
    let broken = problems("web:\n  listen: [\n", "", &[]);
    assert_eq!(broken, "did not find expected node content (system.yaml:3:1)");
    let twice = problems("home: /a\nhome: /b\n", "", &[]);
    assert_eq!(twice, "duplicate entry with key \"home\" (system.yaml:1:1)");
    insta::assert_snapshot!(problems("- a\n- b\n", "just words", &[]), @r"
    the file holds no settings (system.yaml:1:1); write lines such as `web: { listen: 0.0.0.0:8080 }`
    the file holds no settings (home/config.yaml:1:1); write lines such as `web: { listen: 0.0.0.0:8080 }`
    ");
    assert!(load("", "# nothing but a comment\n", &[]).is_ok());
}

#[test]
fn a_file_made_to_keep_the_reader_busy_is_refused_at_once() {
    let began = std::time::Instant::now();
    let brackets = problems(&"[".repeat(200_000), "", &[]);
    assert!(
        brackets.contains("leaves 200000 brackets open") && brackets.contains("system.yaml:1:1"),
        "{brackets}"
    );
    let mut aliases = "a0: &a0 [x, x]\n".to_owned();
    for level in 1..40 {
        aliases += &format!("a{level}: &a{level} [*a{0}, *a{0}]\n", level - 1);
    }
    let laughs = problems(&aliases, "", &[]);
    assert!(laughs.contains("system.yaml"), "{laughs}");
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

#[test]
fn values_are_read_as_their_type_or_refused() {
    let check = |kind: Kind, text: &str| match kind.parse(&serde_yaml::from_str(text).unwrap()) {
        Ok(typed) => format!("{typed:?}"),
        Err(wrong) => format!("{}; {}", wrong.what, wrong.hint),
    };
    let second = |seconds: f64| format!("{:?}", Typed::Duration(Duration::from_secs_f64(seconds)));
    for (text, expect) in [("300ms", second(0.3)), ("1.5 h", second(5400.0)), ("2d", second(172_800.0))] {
        assert_eq!(check(Kind::Duration, text), expect, "{text}");
    }
    assert_eq!(check(Kind::Duration, "30"), "is not a duration: it has no unit; write `30s`");
    for bad in ["", "s", "1.2.3s", "-1s", "9999999d", "1 fortnight", "[1s]", "null"] {
        let text = if bad.is_empty() { "''" } else { bad };
        assert!(check(Kind::Duration, text).contains("; "), "{bad}");
    }
    assert_eq!(check(Kind::Bytes, "1.5GiB"), "Number(1610612736)");
    assert_eq!(check(Kind::Bytes, "64kB"), "Number(64000)");
    assert_eq!(check(Kind::Bytes, "1"), "is not a size: it has no unit; write `1MiB`");
    assert!(check(Kind::Bytes, "99999999TiB").contains("no size"));
    assert_eq!(check(Kind::Address, "'[::1]:80'"), "Address([::1]:80)");
    assert_eq!(check(Kind::Address, "':80'"), "has no address; write `0.0.0.0:80` for all interfaces");
    assert_eq!(check(Kind::List, "'a, b,'"), r#"List(["a", "b"])"#);
    assert_eq!(check(Kind::List, "[a, b]"), r#"List(["a", "b"])"#);
    assert!(check(Kind::List, "[a, 1]").contains("words"));
    assert_eq!(check(Kind::OptionalPath, "null"), "Nothing");
    assert!(check(Kind::Path, "relative").contains("absolute"));
    assert!(check(Kind::Range, "10.0.0.0/30").contains("/26"));
    assert!(check(Kind::Decimal, ".nan").contains("number"));
}

#[test]
fn the_words_of_sync_are_those_of_the_agent() {
    let words = |name: &str| match KEYS.iter().find(|key| key.name == name).unwrap().kind {
        Kind::Choice(words) => words,
        other => panic!("{other:?}"),
    };
    assert_eq!(words("sync.mode"), Mode::ALL.map(Mode::name));
    assert_eq!(words("sync.strategy"), Strategy::ALL.map(Strategy::name));
    assert_eq!(words("sync.watch.mode"), watch::Mode::ALL.map(watch::Mode::name));
    assert_eq!(words("sync.symlinks"), Symlinks::ALL.map(Symlinks::name));
}

#[test]
fn mistakes_in_the_settings_of_sync_are_said_with_what_was_meant() {
    let home = "sync:\n  mode: two-way-saef\n  strategy: hostwins\n  entries_max: -5\n  file_size_max: -1GiB\n  \
                exclude: [data/, 'a[b']\n  watch:\n    mode: forcepoll\n  versions: { keep: 30, size: 0B }\n  \
                hold: { deletions: none }\n  scn: full\n";
    insta::assert_snapshot!(problems("", home, &[("NEXUS_SYNC_SYMLINKS", "raw")]), @r"
    `sync.mode` is not one of its words: `two-way-saef` (home/config.yaml:2:3); did you mean `two-way-safe`?
    `sync.strategy` is not one of its words: `hostwins` (home/config.yaml:3:3); did you mean `host-wins`?
    `sync.entries_max` is not a whole number above zero: `-5` (home/config.yaml:4:3); write a number such as `512`
    `sync.file_size_max` is not a size: `-1GiB` (home/config.yaml:5:3); write `512MiB` or `1GiB`
    `sync.exclude` holds a line that excludes nothing (`a[b`: a `[` is not closed): `[data/, a[b]` (home/config.yaml:6:3); write a line as in a .gitignore, such as `data/` or `*.tmp`
    `sync.watch.mode` is not one of its words: `forcepoll` (home/config.yaml:8:5); did you mean `force-poll`?
    `sync.versions.keep` is not a duration: it has no unit: `30` (home/config.yaml:9:3); write `30s`
    `sync.versions.size` is no size anything can have: `0B` (home/config.yaml:9:3); write `512MiB` or `1GiB`
    `sync.hold.deletions` is not a whole number above zero: `none` (home/config.yaml:10:3); write a number such as `512`
    unknown key `sync.scn` (home/config.yaml:11:3); did you mean `sync.scan`?
    `sync.symlinks` is not one of its words: `raw` (environment NEXUS_SYNC_SYMLINKS); write `portable` or `ignore` or `posix-raw`
    ");
    let quoted = problems("", "sync:\n  exclude:\n    - !keep.log\n", &[]);
    assert!(quoted.contains("not a list of gitignore lines") && quoted.contains("in quotes"), "{quoted}");
}

#[test]
fn every_key_has_a_variable() {
    assert_eq!(variable("workspaces.dir"), "NEXUS_WORKSPACES_DIR");
    assert_eq!(variable("engine.ca_bundle"), "NEXUS_ENGINE_CA_BUNDLE");
}

#[test]
fn a_table_is_written_as_yaml_in_a_file_or_a_variable() {
    let there = "{off-site: {url: 's3://bucket/x', region: eu-1, keep: last=3}}";
    let file = format!("backup:\n  destinations: {there}\n");
    let (stack, settings, _) = load("", &file, &[]).unwrap();
    assert_eq!(settings.backup_destinations["off-site"]["region"], "eu-1");
    assert_eq!(settings.backup_destinations.len(), 1, "a table replaces the one below it");
    let shown = stack.get("backup.destinations").unwrap().value;
    assert_eq!(shown, "{off-site: {url: s3://bucket/x, region: eu-1, keep: last=3}}");
    let (_, again, _) = load("", "", &[("NEXUS_BACKUP_DESTINATIONS", there)]).unwrap();
    assert_eq!(again.backup_destinations, settings.backup_destinations);
    let wrong = problems("", "backup:\n  destinations: { a: { ur: x } }\n", &[]);
    assert!(wrong.contains("unknown setting `a.ur`") && wrong.contains("did you mean `url`?"), "{wrong}");
    for bad in ["[]", "{a: 1}", "{a: {url: [x]}}", "plain"] {
        assert!(load("", &format!("backup: {{ destinations: {bad} }}"), &[]).is_err(), "{bad}");
    }
}
