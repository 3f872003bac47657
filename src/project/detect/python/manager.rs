//! How a Python project's dependencies are listed and installed.

use std::collections::BTreeSet;

use crate::model::project::Detection;
use crate::model::project::Problem;
use crate::project::detect::line;
use crate::project::detect::parse;
use crate::project::detect::scan::pattern;
use crate::project::detect::view::View;

/// What the manifests of a Python project say.
#[derive(Debug, Default)]
pub(crate) struct Manifests {
    /// Names of what it depends on, lower case, `-` between words.
    pub(crate) names: BTreeSet<String>,
    /// Extras asked for: `fastapi[standard]`.
    pub(crate) extras: BTreeSet<String>,
    /// pyproject.toml, when it is there and right.
    pub(crate) pyproject: Option<toml::Table>,
    /// Manifests that do not parse.
    pub(crate) problems: Vec<Problem>,
    /// The requirements file, whatever its exact name.
    pub(crate) requirements: Option<String>,
}

/// Names people give the requirements file, the right one first.
const REQUIREMENTS: [&str; 9] = [
    "requirements.txt",
    "requirements/production.txt",
    "requirements/prod.txt",
    "requirements/base.txt",
    "requirements/requirements.txt",
    "Requirements.txt",
    "requirments.txt",
    "requirement.txt",
    "requirements.txt.txt",
];

/// Lockfiles and their managers, in the order in which they win.
const LOCKS: [(&str, &str); 4] =
    [("uv.lock", "uv"), ("poetry.lock", "poetry"), ("pdm.lock", "pdm"), ("Pipfile.lock", "pipenv")];

pattern!(REQUIREMENT, r"^\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[([^\]]*)\])?\s*(?:[<>=!~;@,(]|$)");

impl Manifests {
    /// Reads them all.
    pub(crate) fn read(view: &View<'_>) -> Self {
        let requirements = REQUIREMENTS.iter().find(|file| view.has(file)).map(|file| (*file).to_owned());
        let mut manifests = Self { requirements, ..Self::default() };
        if let Some(file) = manifests.requirements.clone() {
            manifests.read_requirements(view, &file, 0);
        }
        match parse::toml(view, "pyproject.toml") {
            Some(Ok(table)) => manifests.read_pyproject(table),
            Some(Err(problem)) => manifests.problems.push(problem),
            None => {}
        }
        match parse::toml(view, "Pipfile") {
            Some(Ok(table)) => manifests.read_tables(table.get("packages")),
            Some(Err(problem)) => manifests.problems.push(problem),
            None => {}
        }
        if let Some(text) = view.text("setup.py").or_else(|| view.text("setup.cfg")) {
            pattern!(QUOTED, r#"(?m)['"\s]([A-Za-z][A-Za-z0-9._-]+)\s*(?:[<>=~!]=?[^'"\n]*)?['"]"#);
            for found in QUOTED.captures_iter(text) {
                manifests.names.insert(normal(&found[1]));
            }
        }
        manifests
    }

    /// Whether it depends on a package.
    pub(crate) fn depends(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    fn read_requirements(&mut self, view: &View<'_>, file: &str, depth: usize) {
        for line in view.text(file).unwrap_or_default().lines() {
            let line = line.split(" #").next().unwrap_or_default().trim();
            if let Some(included) = line.strip_prefix("-r ").or_else(|| line.strip_prefix("--requirement ")) {
                let folder =
                    file.rsplit_once('/').map(|(folder, _)| format!("{folder}/")).unwrap_or_default();
                if depth < 3
                    && let Some(path) = line::clean_path(&format!("{folder}{}", included.trim()))
                {
                    self.read_requirements(view, &path, depth + 1);
                }
                continue;
            }
            self.add(line);
        }
    }

    fn add(&mut self, requirement: &str) {
        let Some(found) = REQUIREMENT.captures(requirement) else { return };
        let name = normal(&found[1]);
        for extra in found.get(2).map_or("", |extras| extras.as_str()).split(',') {
            self.extras.insert(format!("{name}[{}]", extra.trim()));
        }
        self.names.insert(name);
    }

    fn read_pyproject(&mut self, table: toml::Table) {
        let project = table.get("project");
        for requirement in strings(project.and_then(|project| project.get("dependencies"))) {
            self.add(&requirement);
        }
        let tools = table.get("tool");
        self.read_tables(tools.and_then(|tools| tools.get("poetry")?.get("dependencies")));
        self.pyproject = Some(table);
    }

    /// Dependencies written as a table: `flask = "^3"`, `fastapi = { extras = ["all"] }`.
    fn read_tables(&mut self, table: Option<&toml::Value>) {
        for (name, value) in table.and_then(toml::Value::as_table).into_iter().flatten() {
            let name = normal(name);
            for extra in strings(value.get("extras")) {
                self.extras.insert(format!("{name}[{extra}]"));
            }
            self.names.insert(name);
        }
    }

    /// A part of pyproject.toml by its path.
    pub(crate) fn tool(&self, path: &[&str]) -> Option<&toml::Value> {
        let (first, rest) = path.split_first()?;
        let start = self.pyproject.as_ref()?.get(*first)?;
        rest.iter().try_fold(start, |value, key| value.get(*key))
    }
}

fn normal(name: &str) -> String {
    name.to_ascii_lowercase().replace(['_', '.'], "-")
}

fn strings(list: Option<&toml::Value>) -> Vec<String> {
    let list = list.and_then(toml::Value::as_array);
    list.into_iter().flatten().filter_map(|text| Some(text.as_str()?.to_owned())).collect()
}

/// Chooses the manager and fills in the install line. `added` are packages the start line needs and no manifest lists.
pub(crate) fn install(view: &View<'_>, manifests: &Manifests, added: &[&str], detection: &mut Detection) {
    let locks: Vec<(&str, &str)> = LOCKS.into_iter().filter(|(file, _)| view.has(file)).collect();
    let plan = plan(view, manifests, &locks);
    let Some((manager, file, fact, line)) = plan else {
        if !added.is_empty() {
            detection.package_manager = Some("pip".to_owned());
            detection.install = Some(format!("pip install {}", added.join(" ")));
        }
        return;
    };
    detection.package_manager = Some(manager.to_owned());
    detection.because.push(view.reason(&file, format!("{fact}: {manager}")));
    detection.install = match (line.as_str(), added) {
        ("", []) => None,
        ("", added) => Some(format!("pip install {}", added.join(" "))),
        (_, []) => Some(line),
        (_, added) if line.starts_with("pip install -") && manager == "pip" => {
            Some(format!("{line} {}", added.join(" ")))
        }
        (_, added) => Some(format!("{line} && pip install {}", added.join(" "))),
    };
    several(view, manifests, &locks, manager, &file, detection);
    let inputs = [
        "pyproject.toml",
        "Pipfile",
        "setup.py",
        "setup.cfg",
        "uv.lock",
        "poetry.lock",
        "pdm.lock",
        "Pipfile.lock",
    ];
    let mut inputs: Vec<String> =
        inputs.into_iter().filter(|file| view.has(file)).map(str::to_owned).collect();
    inputs.extend(manifests.requirements.clone());
    inputs
        .extend(view.files().into_iter().filter(|path| path.starts_with("requirements/")).map(str::to_owned));
    inputs.sort();
    inputs.dedup();
    detection.install_inputs = inputs;
}

type Plan = (&'static str, String, &'static str, String);

/// The manager, the file and fact that decide, and its line. A manager the image lacks is brought by the agent.
fn plan(view: &View<'_>, manifests: &Manifests, locks: &[(&str, &'static str)]) -> Option<Plan> {
    if let Some(file) = &manifests.requirements {
        let word = line::path_word(file)?;
        return Some(("pip", file.clone(), "requirements", format!("pip install -r {word}")));
    }
    let packaged = is_packaged(view, manifests);
    if let Some((file, manager)) = locks.first() {
        let line = match *manager {
            "uv" => "uv sync --frozen --active --no-dev",
            "poetry" if packaged => "POETRY_VIRTUALENVS_CREATE=false poetry install --no-interaction",
            "poetry" => "POETRY_VIRTUALENVS_CREATE=false poetry install --no-interaction --no-root",
            "pdm" if packaged => "pdm sync --prod",
            "pdm" => "pdm sync --prod --no-self",
            _ => "pipenv sync",
        };
        return Some((manager, (*file).to_owned(), "its lockfile is there", line.to_owned()));
    }
    if view.has("Pipfile") {
        let line = "pipenv install --skip-lock".to_owned();
        return Some(("pipenv", "Pipfile".to_owned(), "a Pipfile without its lockfile", line));
    }
    if manifests.tool(&["tool", "poetry", "dependencies"]).is_some() && manifests.tool(&["project"]).is_none()
    {
        let root = if packaged { "" } else { " --no-root" };
        let line = format!("POETRY_VIRTUALENVS_CREATE=false poetry install --no-interaction{root}");
        return Some(("poetry", "pyproject.toml".to_owned(), "a [tool.poetry] table and no lockfile", line));
    }
    if view.has("pyproject.toml") {
        let fact = "pyproject.toml without a lockfile";
        return Some(("pip", "pyproject.toml".to_owned(), fact, bare_pyproject(manifests, packaged)?));
    }
    let file = view.first(&["setup.py", "setup.cfg"])?;
    Some(("pip", file.to_owned(), "a package without a lockfile", "pip install -e .".to_owned()))
}

/// A pyproject that is a package is installed; one that only lists dependencies has these installed, because building
/// a folder of loose modules fails.
fn bare_pyproject(manifests: &Manifests, packaged: bool) -> Option<String> {
    let dynamic = strings(manifests.tool(&["project", "dynamic"])).iter().any(|name| name == "dependencies");
    if packaged || dynamic {
        return Some("pip install -e .".to_owned());
    }
    let listed = strings(manifests.tool(&["project", "dependencies"]));
    let words: Vec<String> = listed
        .iter()
        .filter(|text| REQUIREMENT.is_match(text))
        .filter_map(|text| line::word(text.trim()))
        .collect();
    Some(if words.is_empty() { String::new() } else { format!("pip install {}", words.join(" ")) })
}

/// Whether the project is laid out to be installed as a package of its own.
fn is_packaged(view: &View<'_>, manifests: &Manifests) -> bool {
    let name = manifests.tool(&["project", "name"]).or_else(|| manifests.tool(&["tool", "poetry", "name"]));
    let module =
        name.and_then(toml::Value::as_str).map(|name| name.replace(['-', '.'], "_").to_ascii_lowercase());
    let in_src = view.files().iter().any(|path| path.starts_with("src/") && path.ends_with("/__init__.py"));
    let flat = module.is_some_and(|module| view.has(&format!("{module}/__init__.py")));
    let builds = manifests.tool(&["build-system"]).is_some() || view.has("setup.py");
    (builds && (in_src || flat)) || (in_src && manifests.tool(&["project", "scripts"]).is_some())
}

fn several(
    view: &View<'_>,
    manifests: &Manifests,
    locks: &[(&str, &str)],
    manager: &str,
    chosen: &str,
    detection: &mut Detection,
) {
    let mut all: Vec<&str> = locks.iter().map(|(file, _)| *file).collect();
    if view.has("Pipfile") && !all.contains(&"Pipfile.lock") {
        all.push("Pipfile");
    }
    all.extend(manifests.requirements.as_deref());
    if all.len() > 1 {
        let names: Vec<String> = all.iter().map(|file| format!("`{file}`")).collect();
        let rest: Vec<&str> = all.into_iter().filter(|file| *file != chosen).collect();
        detection.problems.push(view.warning(
            chosen,
            format!(
                "several package managers: {}; {manager} wins, because `{chosen}` comes first",
                names.join(", ")
            ),
            format!("delete what is not used ({}), or set `install:` in .nexus/config.yaml", rest.join(", ")),
        ));
    }
    if manifests.requirements.as_deref().is_some_and(|file| !file.contains('/') && file != "requirements.txt")
    {
        let hint = format!("rename `{chosen}` to `requirements.txt`");
        detection.problems.push(view.warning(chosen, "not the usual name; it is used all the same", hint));
    }
}
