//! Ordinary compose files: they run unchanged but for what two stacks on one machine cannot both have.

use super::super::paths::View;
use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;

use super::Project;
use super::adapt;
use super::input;
use super::passthrough;

fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/compose")
}

fn read(directory: &Path, prefix: &str, files: &mut BTreeMap<String, Option<String>>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = format!("{prefix}{}", path.file_name().unwrap().to_str().unwrap());
        if path.is_dir() {
            read(&path, &format!("{name}/"), files);
        } else {
            files.insert(name, Some(std::fs::read_to_string(&path).unwrap()));
        }
    }
}

/// Each project with its result: the file, then what else the plan says, as comments.
#[test]
fn ordinary_projects_become_what_is_written_down() {
    let mut names: Vec<PathBuf> =
        std::fs::read_dir(fixtures().join("projects")).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    assert!(names.len() >= 7);
    for directory in names {
        let name = directory.file_name().unwrap().to_str().unwrap();
        let plan = passthrough(&input(&Project(read_all(&directory))))
            .unwrap_or_else(|problems| panic!("{name}: {problems:#?}"));
        let mut text = plan.file.clone();
        for (what, lines) in [
            ("web", plan.web.iter().map(|web| format!("{} {:?}", web.service, web.ports)).collect()),
            ("notice", plan.notices.clone()),
            (
                "volume",
                plan.volumes.iter().map(|volume| format!("{} {:?}", volume.name, volume.labels)).collect(),
            ),
            ("path", plan.paths.clone()),
        ] {
            text.extend(lines.iter().map(|line| format!("# {what}: {line}\n")));
        }
        crate::compose::plan::tests::golden(&format!("adapted/{name}.yaml"), &text);
        assert_eq!(
            plan,
            passthrough(&input(&Project(read_all(&directory)))).unwrap(),
            "{name}: not the same twice"
        );
    }
}

fn read_all(directory: &Path) -> BTreeMap<String, Option<String>> {
    let mut files = BTreeMap::new();
    read(directory, "", &mut files);
    files
}

#[test]
fn a_missing_env_file_and_required_variables_are_what_to_fill_in() {
    let compose = "services:\n  web:\n    image: nginx:${TAG:?which nginx}\n    ports: ['80']\n    env_file: [.env, other.env]\n    environment: {A: '${KEY:?}', B: '$UNSET'}\n";
    let files = Project::of(&[("compose.yaml", compose), (".env.example", "TAG=\n")]);
    let problems = passthrough(&input(&files)).unwrap_err();
    let shown: Vec<String> = problems
        .iter()
        .map(|problem| format!("{problem}; {}", problem.hint.clone().unwrap_or_default()))
        .collect();
    insta::assert_snapshot!(shown.join("\n"), @"
    `${KEY}`: the variable `KEY` must be filled in (compose.yaml:6:23); write `KEY=...` into .env, or `env: {KEY: ...}` into .nexus/config.yaml
    `${TAG}`: the variable `TAG` must be filled in: which nginx (compose.yaml:3:18); write `TAG=...` into .env, or `env: {TAG: ...}` into .nexus/config.yaml
    `services.web.env_file[0]`: the file `.env` is missing (compose.yaml:5:16); copy `.env.example` to `.env` and fill it in
    `services.web.env_file[1]`: the file `other.env` is missing (compose.yaml:5:22); create `other.env` with the variables the service needs
    ");
    let files =
        Project::of(&[("compose.yaml", compose), (".env", "TAG=1\nKEY='a$b'\n"), ("other.env", "C=$TAG\n")]);
    let plan = passthrough(&input(&files)).unwrap();
    assert!(plan.file.contains("image: \"nginx:1\""), "{}", plan.file);
    assert!(plan.file.contains("A: \"a$$b\"") && plan.file.contains("C: \"1\""), "{}", plan.file);
    assert!(plan.notices.iter().any(|notice| notice.contains("`UNSET` is not set")));
}

#[test]
fn mounts_of_the_project_are_named_as_the_host_knows_them() {
    let compose = "services: {web: {image: nginx, ports: ['80'], volumes: ['./html:/h:ro', '${PWD}/conf:/c', '.:/all', './db:/db', '/node_modules']}}";
    let plan = adapt(compose).unwrap();
    for line in
        ["source: /home/me/ws/shop/html\n", "source: /home/me/ws/shop/conf\n", "source: /home/me/ws/shop\n"]
    {
        assert!(plan.file.contains(line), "{line} in\n{}", plan.file);
    }
    assert_eq!(plan.file.matches("create_host_path: false").count(), 3);
    assert_eq!(plan.paths, ["", "conf", "html"]);
    let why = "its compose file mounts what its containers see of the folder, so nothing is carried: \
               `web` has `html` at `/h`, `web` has `conf` at `/c`, `web` has the project at `/all`";
    assert_eq!(plan.unsynced.as_deref(), Some(why));
    let names: Vec<&str> = plan.volumes.iter().map(|volume| volume.name.as_str()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(
        names[0].starts_with("nexus-w0rk000001-anonymous-") && names[1].starts_with("nexus-w0rk000001-data-")
    );
    let files = Project::of(&[("compose.yaml", compose), ("html/x", ""), ("conf/x", "")]);
    let mut input = input(&files);
    input.view = View::Through(Vec::new());
    assert!(passthrough(&input).unwrap_err()[0].message.contains("no path for the project"));
    input.view = View::Same;
    assert!(passthrough(&input).unwrap().file.contains("source: /workspaces/shop/html\n"));
}

#[test]
fn a_missing_file_is_said_instead_of_becoming_a_directory() {
    for volume in ["./nginx.conf:/etc/nginx/nginx.conf", "./certs:/certs:ro"] {
        let problems =
            adapt(&format!("services: {{web: {{image: nginx, ports: ['80'], volumes: ['{volume}']}}}}"))
                .unwrap_err();
        assert!(problems[0].message.contains("is not there"), "{}", problems[0]);
    }
}

#[test]
fn a_file_without_a_web_service_says_so() {
    let problems =
        adapt("services: {db: {image: postgres, ports: ['5432:5432']}, w: {image: busybox}}").unwrap_err();
    assert_eq!(problems[0].to_string(), "`services`: none of `db`, `w` answers the web (compose.yaml:1:1)");
    let files = Project::of(&[("compose.yaml", "services: {db: {image: postgres}}")]);
    let mut input = input(&files);
    input.overrides.service = Some("web".to_owned());
    assert!(passthrough(&input).unwrap_err()[0].message.contains("no service `web`"));
    input.overrides.service = Some("db".to_owned());
    input.overrides.port = Some(8080);
    assert_eq!(passthrough(&input).unwrap().web[0].ports, [8080]);
}

#[test]
fn images_that_are_built_never_take_a_name_of_others() {
    let plan = adapt("services: {web: {build: ., image: nexus/runtime-node, ports: ['80']}, worker: {image: nexus/runtime-node}}").unwrap();
    assert_eq!(plan.file.matches("image: nexus-w0rk000001-web\n").count(), 2, "{}", plan.file);
    assert!(!plan.file.contains("nexus/runtime-node"));
    assert_eq!(plan.web[0].ports, [80, 8000]);
}

#[test]
fn several_files_are_said() {
    let files = Project::of(&[
        ("docker-compose.yml", "services: {old: {image: nginx, ports: ['80']}}"),
        ("compose.yaml", "services: {web: {image: nginx, ports: ['80']}}"),
    ]);
    let plan = passthrough(&input(&files)).unwrap();
    assert_eq!(plan.notices[0], "`compose.yaml` is used, `docker-compose.yml` is not");
}
