//! Files served as they are: a page at the root or in one of the usual folders, or what a Staticfile names.

use crate::model::project::Alternative;
use crate::model::project::Detection;
use crate::model::project::Kind;
use crate::model::project::Problem;
use crate::model::project::Site;
use crate::project::detect::blank;
use crate::project::detect::line;
use crate::project::detect::scan::pattern;
use crate::project::detect::unknown;
use crate::project::detect::view::View;

/// Folders that hold a finished site, in the order in which they win.
const FOLDERS: [&str; 13] = [
    "public",
    "dist",
    "build",
    "site",
    "_site",
    "www",
    "htdocs",
    "public_html",
    "html",
    "out",
    "static",
    "docs",
    "web",
];

/// The settings a Staticfile may hold.
#[derive(Debug, Default)]
pub(crate) struct Staticfile {
    /// The directory to serve.
    pub(crate) root: Option<String>,
    /// Whether unknown paths answer the index.
    pub(crate) fallback: Option<bool>,
    /// What is wrong with it.
    pub(crate) problem: Option<Problem>,
}

impl Staticfile {
    /// Reads the Staticfile of a directory; one that is not there says nothing.
    pub(crate) fn read(view: &View<'_>) -> Self {
        let Some(text) = view.text("Staticfile") else { return Self::default() };
        let mut file = Self::default();
        for (key, value) in text.lines().filter_map(|line| line.split('#').next()?.split_once(':')) {
            let value = value.trim().trim_matches(['"', '\'']);
            match key.trim() {
                "root" => match line::clean_path(value) {
                    Some(root) => file.root = Some(if root.is_empty() { ".".to_owned() } else { root }),
                    None => {
                        let message = "`root` leads out of the project";
                        file.problem =
                            Some(view.fatal("Staticfile", message, "name a folder of the project"));
                    }
                },
                "index_fallback" | "pushstate" => file.fallback = Some(["true", "enabled"].contains(&value)),
                _ => {}
            }
        }
        file
    }
}

/// A directory as people write it after `serve`: `.`, `dist/`.
pub(crate) fn slashed(directory: &str) -> String {
    if directory == "." || directory.ends_with(['/', '\'']) {
        directory.to_owned()
    } else {
        format!("{directory}/")
    }
}

/// Detects a site of finished files.
pub(crate) fn detect(view: &View<'_>) -> Option<Detection> {
    let staticfile = Staticfile::read(view);
    if !view.has("Staticfile") && unknown::is_foreign(view) {
        return None;
    }
    let (directory, file, fact) = named(view, &staticfile).or_else(|| found(view))?;
    let mut detection = blank(view, Kind::Static);
    detection.framework = Some("html".to_owned());
    detection.root = if directory == "." { view.root() } else { view.path(&directory) };
    let shown = line::path_word(&detection.root)?;
    detection.start = Some(format!("serve {}", slashed(&shown)));
    let fallback = staticfile.fallback.unwrap_or(false);
    detection.site = Some(Site { directory: ".".to_owned(), fallback });
    detection.hot_reload = true;
    detection.because.push(view.reason(&file, fact));
    detection.problems.extend(staticfile.problem);
    if view.has("Staticfile.auth") {
        detection.problems.push(view.warning(
            "Staticfile.auth",
            "asks for a password, which is not supported: the site is served to everybody who reaches it",
            "keep the workspace private, or serve it with a Dockerfile of your own",
        ));
    }
    templates(view, &directory, &mut detection);
    others(view, &directory, &mut detection);
    Some(detection)
}

fn named(view: &View<'_>, staticfile: &Staticfile) -> Option<(String, String, String)> {
    let root = staticfile.root.clone()?;
    let there = root == "." || view.has_dir(&root);
    there.then(|| (root.clone(), "Staticfile".to_owned(), format!("root names the folder `{root}`")))
}

fn found(view: &View<'_>) -> Option<(String, String, String)> {
    if view.has("index.html") || view.has("index.htm") {
        let file = view.first(&["index.html", "index.htm"])?;
        return Some((".".to_owned(), file.to_owned(), "a page at the root".to_owned()));
    }
    for folder in FOLDERS {
        let file = format!("{folder}/index.html");
        if view.has(&file) {
            return Some((folder.to_owned(), file, format!("a page in `{folder}`, none at the root")));
        }
    }
    let pages: Vec<&str> = view.names_ending(".html").collect();
    let [page] = pages[..] else {
        return view
            .has("Staticfile")
            .then(|| (".".to_owned(), "Staticfile".to_owned(), "a Staticfile".to_owned()));
    };
    Some((".".to_owned(), page.to_owned(), format!("one page, `{page}`, and no index.html: open /{page}")))
}

pattern!(TEMPLATE, r"\{\{.*?\}\}|\{%.*?%\}|<%.*?%>|^---\s*$");

/// A page that is the source of a generator shows its markup to visitors.
fn templates(view: &View<'_>, directory: &str, detection: &mut Detection) {
    let file = if directory == "." { "index.html".to_owned() } else { format!("{directory}/index.html") };
    let Some(text) = view.text(&file) else { return };
    let entry = text.contains("src=\"/src/main.") || text.contains("src=\"/src/index.");
    let matter = text.starts_with("---");
    if entry || matter || TEMPLATE.find_iter(text).count() > 2 {
        detection.problems.push(view.warning(
            &file,
            "looks like the source of a generator or bundler, not a finished page",
            "add the manifest that builds it (package.json with a build script), or serve the built folder",
        ));
    }
}

fn others(view: &View<'_>, chosen: &str, detection: &mut Detection) {
    for folder in FOLDERS.into_iter().filter(|folder| *folder != chosen && chosen != ".") {
        if view.has(&format!("{folder}/index.html")) {
            detection.alternatives.push(Alternative {
                kind: Kind::Static,
                root: view.path(folder),
                start: Some(format!("serve {folder}/")),
                note: format!("write `root: {folder}` in .nexus/config.yaml to choose it"),
            });
        }
    }
}
