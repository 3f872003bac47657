//! The rules against git itself, and what git does not know.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;

use proptest::prelude::*;

use super::*;

fn path(text: &str) -> RelPath {
    RelPath::parse(text.as_bytes()).unwrap()
}

fn bare() -> Settings {
    Settings { defaults: vec![], excludes: vec![], disposable: vec![], gitignore: true }
}

/// Everything below `root`, directories first, with whether it is one.
fn walk(root: &Path) -> Vec<(RelPath, bool)> {
    let mut found = Vec::new();
    let mut pending = vec![None];
    while let Some(directory) = pending.pop() {
        let place = directory.as_ref().map_or_else(|| root.to_owned(), |path: &RelPath| root.join(path));
        for entry in fs::read_dir(place).unwrap().map(Result::unwrap) {
            let name = entry.file_name();
            if name == ".git" {
                continue;
            }
            let path = RelPath::child(directory.as_ref(), name.as_encoded_bytes()).unwrap();
            let is_directory = entry.file_type().unwrap().is_dir();
            if is_directory {
                pending.push(Some(path.clone()));
            }
            found.push((path, is_directory));
        }
    }
    found
}

/// What git ignores of `all`.
fn ignored_by_git(root: &Path, all: &[(RelPath, bool)]) -> BTreeSet<RelPath> {
    let mut git = Command::new("git")
        .current_dir(root)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .args(["check-ignore", "--no-index", "--stdin", "-z"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = git.stdin.take().unwrap();
    for (path, _) in all {
        input.write_all(path.as_bytes()).unwrap();
        input.write_all(b"\0").unwrap();
    }
    drop(input);
    let output = git.wait_with_output().unwrap().stdout;
    output.split(|byte| *byte == 0).filter_map(|bytes| RelPath::parse(bytes).ok()).collect()
}

/// What the rules leave of `all`, the inside of what is left included.
fn left_by_rules(rules: &Rules, all: &[(RelPath, bool)]) -> BTreeSet<RelPath> {
    let mut sorted = all.to_vec();
    sorted.sort();
    let mut left = BTreeSet::new();
    for (path, is_directory) in sorted {
        if path.parent().is_some_and(|parent| left.contains(&parent))
            || rules.judge(&path, is_directory) != Verdict::Carry
        {
            left.insert(path);
        }
    }
    left
}

fn compare(nested: &[(&str, String)], info: &str, files: &[String]) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for directory in [".git/info", ".git/objects", ".git/refs"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    fs::write(root.join(".git/HEAD"), "ref: refs/heads/main\n").unwrap();
    fs::write(root.join(".git/info/exclude"), info).unwrap();
    let mut rules = Rules::new(bare()).unwrap();
    rules.set_info(Some(info.as_bytes()));
    for file in files {
        let place = root.join(file);
        // A file may stand where another path wants a directory: then that path is not there.
        if fs::create_dir_all(place.parent().unwrap()).is_ok() && !place.is_dir() {
            fs::write(place, "").unwrap();
        }
    }
    for (directory, text) in nested {
        if fs::create_dir_all(root.join(directory)).is_ok() {
            fs::write(root.join(directory).join(".gitignore"), text).unwrap();
            let directory = (!directory.is_empty()).then(|| path(directory));
            rules.set_gitignore(directory.as_ref(), Some(text.as_bytes()));
        }
    }
    let all = walk(root);
    let (ours, gits) = (left_by_rules(&rules, &all), ignored_by_git(root, &all));
    let differ: Vec<_> = ours.symmetric_difference(&gits).collect();
    assert!(differ.is_empty(), "we leave {ours:?}, git ignores {gits:?}; they differ in {differ:?}");
}

/// A small world, so that patterns hit.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[ab]{1,2}",
        1 => Just("a.b".to_owned()),
        1 => prop::sample::select(vec!["{a,b}", "a b", "a ", "!a", "#a", "[a", "-", "]", "é", "\\", "^", "a\tb", "**", "B"])
            .prop_map(str::to_owned),
    ]
}

fn files() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(prop::collection::vec(name(), 1..4).prop_map(|names| names.join("/")), 1..12)
}

fn line() -> impl Strategy<Value = String> {
    let atom = prop_oneof![
        6 => name(),
        3 => Just("*".to_owned()),
        2 => Just("**".to_owned()),
        1 => Just("?".to_owned()),
        1 => prop::sample::select(vec![
            "[ab]", "[!a]", "[^b]", "[a-c]", "[]a]", "[a-]", "[!]a]", "[[:alpha:]]", "[[:upper:][:digit:]]", "[\\]a]",
            "[!!]", "[!^]", "[-!]", "[a/b]", "[!/]", "***", "\\a", "\\*", "[b-a]", "[[]", "[a", "[\\--\\]]", "[[:x:]]", "[[:a]",
        ]).prop_map(str::to_owned),
    ];
    let component = prop::collection::vec(atom, 1..3).prop_map(|atoms| atoms.concat());
    let body = prop::collection::vec(component, 1..4).prop_map(|parts| parts.join("/"));
    let affix = |text: &'static str, weight| prop_oneof![weight => Just(""), 1 => Just(text)];
    let end =
        prop::sample::select(vec!["", "", "", "", "/", "/", " ", "\\ ", "\r", "/**", "/*", "\\", "\t", "//"]);
    (affix("!", 3), affix("/", 3), affix("\\", 20), body, end)
        .prop_map(|(not, root, escape, body, end)| format!("{not}{root}{escape}{body}{end}"))
        .prop_filter("git is not of its manual's opinion", |line| {
            let start = line.trim_start_matches('!').trim_start_matches('/');
            let plain = start.find(['*', '?', '[', '\\']).unwrap_or(start.len());
            let glued = start[plain..].starts_with("**") && plain > 0 && !start[..plain].ends_with('/');
            !glued && !line.contains("\\/")
        })
}

fn text() -> impl Strategy<Value = String> {
    prop::collection::vec(line(), 0..6).prop_map(|lines| lines.join("\n"))
}

proptest! {
    // Each case starts git.
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases / 4, max_shrink_iters: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn judges_as_git_does(files in files(), top in text(), a in text(), ab in text(), info in text()) {
        compare(&[("", top), ("a", a), ("a/b", ab)], &info, &files);
    }
}

#[test]
fn the_ranks_are_excludes_then_nearest_gitignore_then_info_then_defaults() {
    let settings = Settings { excludes: vec!["secret".into(), "!keep.log".into()], ..Settings::default() };
    let mut rules = Rules::new(settings).unwrap();
    rules.set_gitignore(None, Some(b"!secret\n*.tmp\n!note.log\nvendor/\n"));
    rules.set_gitignore(Some(&path("a")), Some(b"!x.tmp\n"));
    rules.set_info(Some(b"!a.log\n*.swp\n"));
    let reason = |text: &str, is_directory| {
        let reason = rules.reason(&path(text), is_directory)?;
        Some(format!("{}: {}", reason.source, reason.pattern))
    };
    let left = |text: &str| matches!(rules.judge(&path(text), false), Verdict::Leave(_));
    assert!(left("secret") && left("b/secret") && left("x.tmp") && left("x.swp") && left("x.log"));
    assert!(!left("keep.log") && !left("note.log") && !left("a/x.tmp") && !left("a.log") && !left("src"));
    assert_eq!(reason("secret", false).unwrap(), "the excludes of the session: secret");
    assert_eq!(reason("a/y.tmp", false).unwrap(), ".gitignore: *.tmp");
    assert_eq!(reason("a/x.tmp", false).unwrap(), "a/.gitignore: !x.tmp");
    assert_eq!(reason("x.swp", false).unwrap(), ".git/info/exclude: *.swp");
    assert_eq!(reason("node_modules", true).unwrap(), "the defaults: node_modules/");
    assert_eq!(reason("src", true), None);
}

#[test]
fn only_what_tools_make_again_goes_with_its_directory() {
    let mut rules = Rules::new(Settings::default()).unwrap();
    rules.set_gitignore(None, Some(b".env\n"));
    let keep = |text: &str, is_directory| match rules.judge(&path(text), is_directory) {
        Verdict::Leave(keep) => keep,
        Verdict::Carry => panic!("`{text}` is carried"),
    };
    for (protected, is_directory) in
        [(".env", false), ("node_modules", true), (".git", true), ("build", true), ("x.log", false)]
    {
        assert_eq!(keep(protected, is_directory), Keep::Protected, "{protected}");
    }
    for (disposable, is_directory) in [("a/__pycache__", true), ("x.pyc", false), (".DS_Store", false)] {
        assert_eq!(keep(disposable, is_directory), Keep::Disposable, "{disposable}");
    }
}

#[test]
fn the_build_output_a_project_is_served_from_is_carried() {
    let mut rules = Rules::new(Settings::default().carrying(&path("web/dist"))).unwrap();
    rules.set_gitignore(None, Some(b"/web/dist/*\n"));
    let carried = |text: &str, is_directory| rules.judge(&path(text), is_directory) == Verdict::Carry;
    assert!(carried("web", true) && carried("web/dist", true) && carried("web/dist/app.js", false));
    assert!(!carried("dist", true) && !carried("web/build", true));
}

#[test]
fn an_exclude_that_can_never_match_is_refused_by_name() {
    for (bad, reason) in
        [("[", "a `[` is not closed"), ("x\\", "it ends in a backslash"), ("/", "it names nothing")]
    {
        let settings = Settings { excludes: vec!["fine".into(), bad.into()], ..Settings::default() };
        let error = Rules::new(settings).unwrap_err();
        assert_eq!(error.to_string(), format!("`{bad}` excludes nothing: {reason}"));
    }
}

#[test]
fn a_changed_file_is_told_from_the_same_again() {
    let mut rules = Rules::new(Settings::default()).unwrap();
    let before = rules.fingerprint();
    assert!(!rules.set_gitignore(None, None) && !rules.set_gitignore(None, Some(b"# nothing\n")));
    assert!(rules.set_gitignore(Some(&path("a/b")), Some(b"x\n")));
    assert!(!rules.set_gitignore(Some(&path("a/b")), Some(b"x\n")));
    assert_ne!(rules.fingerprint(), before);
    rules.forget(&path("a"));
    assert_eq!(rules.fingerprint(), before);
}
