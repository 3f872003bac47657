//! Which package manager a Node project uses, and its command lines.

use crate::model::project::Detection;
use crate::project::detect::node::package::Package;
use crate::project::detect::view::View;

/// A package manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manager {
    Npm,
    Pnpm,
    /// Yarn 1.
    Yarn,
    /// Yarn 2 and later; `plug_and_play` when it makes no node_modules.
    Berry {
        plug_and_play: bool,
    },
    Bun,
}

/// Lockfiles, the one that wins first.
const LOCKS: [(&str, &str); 6] = [
    ("pnpm-lock.yaml", "pnpm"),
    ("bun.lock", "bun"),
    ("bun.lockb", "bun"),
    ("yarn.lock", "yarn"),
    ("package-lock.json", "npm"),
    ("npm-shrinkwrap.json", "npm"),
];

/// Files that belong to an install besides the manifest and the lockfile.
const SETTINGS: [&str; 6] =
    [".npmrc", ".yarnrc.yml", ".yarnrc", "pnpm-workspace.yaml", "bunfig.toml", ".pnpmfile.cjs"];

impl Manager {
    /// The word used in JSON and on the screen.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Npm => "npm",
            Self::Pnpm => "pnpm",
            Self::Yarn | Self::Berry { .. } => "yarn",
            Self::Bun => "bun",
        }
    }

    /// The line that runs a script of the manifest.
    pub(crate) fn run(self, script: &str) -> String {
        match self {
            Self::Yarn | Self::Berry { .. } => format!("yarn {script}"),
            _ => format!("{} run {script}", self.name()),
        }
    }

    /// The line that runs a program of a package that may not be installed.
    pub(crate) fn execute(self, program: &str) -> String {
        match self {
            Self::Bun => format!("bunx {program}"),
            Self::Pnpm => format!("pnpm dlx {program}"),
            Self::Berry { .. } => format!("yarn dlx {program}"),
            Self::Npm | Self::Yarn => format!("npx --yes {program}"),
        }
    }

    fn install(self, locked: bool) -> &'static str {
        match (self, locked) {
            (Self::Npm, true) => "npm ci",
            (Self::Npm, false) => "npm install",
            (Self::Pnpm, true) => "pnpm install --frozen-lockfile",
            (Self::Pnpm, false) => "pnpm install --no-frozen-lockfile",
            (Self::Yarn, true) => "yarn install --frozen-lockfile",
            (Self::Berry { .. }, true) => "yarn install --immutable",
            (Self::Yarn | Self::Berry { .. }, false) => "yarn install",
            (Self::Bun, true) => "bun install --frozen-lockfile",
            (Self::Bun, false) => "bun install",
        }
    }
}

/// Chooses the manager and fills in the install line, its inputs and the reasons. `above` is the workspace a package
/// belongs to, where its lockfile is.
pub(crate) fn choose(view: &View<'_>, package: &Package, detection: &mut Detection) -> Manager {
    let locks: Vec<(&str, &str)> = LOCKS.into_iter().filter(|(file, _)| view.has(file)).collect();
    let (name, file, fact) = named(view, package, &locks);
    let manager = match name {
        "pnpm" => Manager::Pnpm,
        "bun" => Manager::Bun,
        "yarn" => yarn(view, package),
        _ => Manager::Npm,
    };
    let lock = locks.iter().find(|(_, owner)| *owner == manager.name()).map(|(file, _)| *file);
    detection.package_manager = Some(manager.name().to_owned());
    detection.because.push(view.reason(file, format!("{fact}: {}", manager.name())));
    warn_of_several(view, &locks, manager, lock, detection);
    if lock.is_some() || package.has_dependencies() || package.has_install_scripts() {
        let in_step = lock != Some("package-lock.json") || in_step(view, package, detection);
        detection.install = Some(manager.install(lock.is_some() && in_step).to_owned());
    } else {
        detection.because.push(view.reason(package.file, "no dependencies: nothing to install"));
    }
    inputs(view, package, lock, detection);
    manager
}

fn named<'n>(view: &View<'_>, package: &Package, locks: &[(&'n str, &'n str)]) -> (&'n str, &'n str, String) {
    const KNOWN: [&str; 4] = ["pnpm", "bun", "yarn", "npm"];
    let known = |name: &str| KNOWN.into_iter().find(|known| *known == name);
    let field = package.text("packageManager").and_then(|text| text.split('@').next());
    let engines =
        package.get("devEngines").and_then(|engines| engines.get("packageManager")?.get("name")?.as_str());
    if let Some(name) = field.or(engines).and_then(known) {
        return (name, "package.json", "packageManager names it".to_owned());
    }
    if let Some((file, name)) = locks.first() {
        return (name, file, "its lockfile is there".to_owned());
    }
    let marks = [("pnpm-workspace.yaml", "pnpm"), (".yarnrc.yml", "yarn"), ("bunfig.toml", "bun")];
    if let Some((file, name)) = marks.into_iter().find(|(file, _)| view.has(file)) {
        return (name, file, "its settings are there".to_owned());
    }
    if let Some(name) = ["pnpm", "bun", "yarn"].into_iter().find(|name| package.engine(name).is_some()) {
        return (name, "package.json", "engines names it".to_owned());
    }
    let start = package.script("start").or(package.script("dev")).unwrap_or_default();
    if start.starts_with("bun ") || start.starts_with("bunx ") {
        return ("bun", "package.json", "the start script uses it".to_owned());
    }
    ("npm", "package.json", "no lockfile and no packageManager".to_owned())
}

fn yarn(view: &View<'_>, package: &Package) -> Manager {
    let version = package.text("packageManager").and_then(|text| text.strip_prefix("yarn@"));
    let classic =
        version.map_or(!view.has(".yarnrc.yml"), |version| version.starts_with("1.") || version == "1");
    if classic {
        return Manager::Yarn;
    }
    let linker = view.text(".yarnrc.yml").unwrap_or_default();
    Manager::Berry {
        plug_and_play: !linker.contains("nodeLinker: node-modules") && !linker.contains("nodeLinker: pnpm"),
    }
}

fn warn_of_several(
    view: &View<'_>,
    locks: &[(&str, &str)],
    manager: Manager,
    lock: Option<&str>,
    detection: &mut Detection,
) {
    let others: Vec<&str> =
        locks.iter().filter(|(_, owner)| *owner != manager.name()).map(|(file, _)| *file).collect();
    if others.is_empty() {
        return;
    }
    let all: Vec<String> = locks.iter().map(|(file, _)| format!("`{file}`")).collect();
    let first = locks.first().is_some_and(|(_, owner)| *owner == manager.name());
    let why = match lock {
        Some(_) if first => "wins, because its lockfile comes first of pnpm, bun, yarn, npm",
        Some(_) => "wins, because packageManager names it",
        None => "is named by packageManager and has no lockfile",
    };
    let message = if locks.len() > 1 {
        format!("several lockfiles: {}; {} {why}", all.join(", "), manager.name())
    } else {
        format!("{} belongs to another package manager; {} {why}", all.join(""), manager.name())
    };
    let hint =
        format!("delete what is not used ({}), or set `packageManager` in package.json", others.join(", "));
    detection.problems.push(view.warning(lock.unwrap_or(others[0]), message, hint));
}

/// Whether package-lock.json was made from this package.json; `npm ci` refuses when it was not.
fn in_step(view: &View<'_>, package: &Package, detection: &mut Detection) -> bool {
    let Some(locked) = view.text("package-lock.json").and_then(locked_root) else { return true };
    let strays: Vec<&str> = ["dependencies", "devDependencies"]
        .into_iter()
        .flat_map(|list| package.list(list).map(move |(name, range)| (list, name, range)))
        .filter(|(list, name, range)| {
            locked.get(list).and_then(|list| list.get(name)).and_then(serde_json::Value::as_str)
                != Some(range)
        })
        .map(|(_, name, _)| name)
        .collect();
    if let Some(name) = strays.first() {
        let name: String = name.chars().filter(|c| !c.is_control()).take(60).collect();
        detection.problems.push(view.warning(
            "package-lock.json",
            format!("out of step with package.json: `{name}` differs, so `npm ci` would refuse"),
            "run `npm install` and keep the new package-lock.json",
        ));
    }
    strays.is_empty()
}

/// The manifest as package-lock.json remembers it, from the beginning of the file.
fn locked_root(text: &str) -> Option<serde_json::Value> {
    let start = text.find("\"\": {")? + 4;
    serde_json::Deserializer::from_str(text.get(start..)?).into_iter().next()?.ok()
}

fn inputs(view: &View<'_>, package: &Package, lock: Option<&str>, detection: &mut Detection) {
    let mut inputs = vec![package.file.to_owned()];
    inputs.extend(lock.map(str::to_owned));
    inputs.extend(SETTINGS.into_iter().filter(|file| view.has(file)).map(str::to_owned));
    if package.is_workspace_root() || view.has("pnpm-workspace.yaml") {
        let members = view.files().into_iter().filter(|path| path.ends_with("/package.json"));
        inputs.extend(members.take(50).map(str::to_owned));
    }
    detection.install_inputs = inputs;
}
