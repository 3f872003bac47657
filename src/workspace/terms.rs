//! What the sync of one workspace goes by: the node's settings, what its project is, and what that states. Pure.

use std::time::Duration;

use nexus_agent::path::RelPath;
use nexus_agent::reconcile::Mode;
use nexus_agent::reconcile::Side;
use nexus_agent::rules;
use nexus_agent::rules::Rules;
use nexus_agent::rules::Verdict;

use crate::compose;
use crate::model::project::Detection;
use crate::model::project::Overrides;
use crate::model::project::Purpose;
use crate::project::EntryKind;
use crate::project::Listing;
use crate::sync;

/// Looking more often than this costs more than it tells.
const INTERVAL_MIN: Duration = Duration::from_millis(10);

/// Makes the terms. What the project states beats the node.
pub fn compose(
    node: sync::Settings,
    listing: &Listing,
    detection: &Detection,
    overrides: &Overrides,
) -> sync::Settings {
    let stated = &overrides.sync;
    let mut terms = sync::Settings {
        mode: mode(node.mode, detection, overrides),
        strategy: stated.strategy.unwrap_or(node.strategy),
        symlinks: stated.symlinks.unwrap_or(node.symlinks),
        entries_max: stated.entries_max.unwrap_or(node.entries_max),
        carried: carried(&node.general, listing, detection, overrides),
        ..node
    };
    terms.excludes.extend(overrides.exclude.iter().chain(&stated.exclude).cloned());
    terms.disposable.extend(stated.disposable.iter().cloned());
    let watch = &mut terms.watch;
    watch.mode = stated.watch_mode.unwrap_or(watch.mode);
    watch.interval = stated.watch_interval.unwrap_or(watch.interval).max(INTERVAL_MIN);
    watch.full = stated.scan_full.unwrap_or(watch.full);
    terms
}

/// Whose edits go where. Where nothing but our file server runs in the container, nothing there makes edits.
fn mode(node: Mode, detection: &Detection, overrides: &Overrides) -> Mode {
    let stated = overrides.sync.mode;
    let mode = stated.unwrap_or(node);
    let serve = match overrides.purpose {
        Some(purpose) => purpose == Purpose::Serve,
        None => stated.is_none() && compose::files_only(detection, overrides),
    };
    if serve && mode.writes(Side::Alpha) { Mode::OneWaySafe } else { mode }
}

/// The directory the project is served from, where the rules leave it out and no build makes it: a `dist/` that was
/// committed, or built beforehand.
fn carried(
    general: &[String],
    listing: &Listing,
    detection: &Detection,
    overrides: &Overrides,
) -> Option<RelPath> {
    if compose::build_line(detection, overrides).is_some() {
        return None;
    }
    let root = compose::directory(detection, overrides);
    match compose::served(detection, overrides) {
        Some(site) => {
            let path = beneath(root, &site.directory)?;
            left_out(general, listing, &path).map(|_| path)
        }
        None => program(general, listing, root, overrides.start.as_deref().or(detection.start.as_deref())?),
    }
}

/// The directory of the file that a start line names, from the one on that is left out. Dependencies and environments
/// are not among what is listed, and so are never taken for it.
fn program(general: &[String], listing: &Listing, root: &str, start: &str) -> Option<RelPath> {
    let here = beneath(root, ".").and_then(|path| left_out(general, listing, &path));
    here.or_else(|| {
        start.split_whitespace().find_map(|word| {
            let path = beneath(root, word.trim_matches(['"', '\'']))?;
            let entry = listing.entry(&path.to_string())?;
            if entry.kind == EntryKind::File { left_out(general, listing, &path.parent()?) } else { None }
        })
    })
}

/// A path below the root; `None` where that is the project itself, or outside of it.
fn beneath(root: &str, path: &str) -> Option<RelPath> {
    let parts = root.split('/').chain(path.split('/')).filter(|part| !part.is_empty() && *part != ".");
    RelPath::parse(parts.collect::<Vec<_>>().join("/").as_bytes()).ok()
}

/// The outermost directory on the way to this one, itself included, that the rules leave out.
fn left_out(general: &[String], listing: &Listing, directory: &RelPath) -> Option<RelPath> {
    let settings = rules::Settings { excludes: general.to_vec(), ..rules::Settings::default() };
    let mut rules = Rules::new(settings).ok()?;
    let mut way: Vec<RelPath> = std::iter::successors(Some(directory.clone()), RelPath::parent).collect();
    way.reverse();
    let mut read = |directory: Option<&RelPath>| {
        let file = directory.map_or_else(|| ".gitignore".to_owned(), |path| format!("{path}/.gitignore"));
        rules.set_gitignore(directory, listing.text(&file).map(str::as_bytes));
    };
    read(None);
    way.iter().for_each(|path| read(Some(path)));
    way.into_iter().find(|path| rules.judge(path, true) != Verdict::Carry)
}

#[cfg(test)]
mod tests {
    use nexus_agent::look::Symlinks;
    use nexus_agent::resolve::Strategy;
    use nexus_agent::watch;

    use super::*;
    use crate::project;

    const CONFIG: &str = ".nexus/config.yaml";

    /// The terms of a project of these files, on a node with these settings.
    fn terms_on(node: sync::Settings, files: &[(&str, &str)]) -> sync::Settings {
        let listing = Listing::of_files(files.iter().copied());
        let overrides = project::overrides(&listing).unwrap();
        let detection = project::detect(&listing, &overrides);
        compose(node, &listing, &detection, &overrides)
    }

    fn terms(files: &[(&str, &str)]) -> sync::Settings {
        terms_on(sync::Settings::default(), files)
    }

    const PROGRAM: (&str, &str) = ("server.js", "require('http').createServer().listen(process.env.PORT)\n");
    const MANIFEST: (&str, &str) = ("package.json", r#"{"scripts":{"start":"node server.js"}}"#);
    const PAGE: (&str, &str) = ("index.html", "<h1>hello</h1>\n");

    #[test]
    fn what_a_workspace_is_for_decides_the_direction() {
        let program = |config: &str| terms(&[PROGRAM, MANIFEST, (CONFIG, config)]).mode;
        assert_eq!(program(""), Mode::TwoWaySafe);
        assert_eq!(program("mode: dev\n"), Mode::TwoWaySafe);
        assert_eq!(program("mode: serve\n"), Mode::OneWaySafe);
        assert_eq!(program("mode: serve\nsync: { mode: one-way-replica }\n"), Mode::OneWayReplica);
        assert_eq!(program("sync: { mode: two-way-resolved }\n"), Mode::TwoWayResolved);
        let page = |config: &str| terms(&[PAGE, (CONFIG, config)]).mode;
        assert_eq!(page(""), Mode::OneWaySafe, "nothing in its container makes edits");
        assert_eq!(page("mode: dev\n"), Mode::TwoWaySafe);
        assert_eq!(page("sync: { mode: two-way-safe }\n"), Mode::TwoWaySafe);
        assert_eq!(page("build: npm run build\n"), Mode::TwoWaySafe, "a build may write anywhere");
        assert_eq!(page("start: node server.js\n"), Mode::TwoWaySafe);
    }

    #[test]
    fn what_the_project_states_beats_the_node_and_lists_are_added() {
        let node = sync::Settings {
            mode: Mode::OneWayReplica,
            strategy: Strategy::Manual,
            general: vec!["*.iso".to_owned()],
            entries_max: 7,
            file_size_max: 9,
            watch: watch::Settings { interval: Duration::ZERO, full: true, ..watch::Settings::default() },
            ..sync::Settings::default()
        };
        let plain = terms_on(node.clone(), &[PROGRAM, MANIFEST]);
        let watch = watch::Settings { interval: INTERVAL_MIN, ..node.watch };
        assert_eq!(plain, sync::Settings { watch, ..node.clone() });
        let config = "exclude: [data]\nsync:\n  mode: two-way-safe\n  strategy: newer-wins\n  exclude: ['*.tmp']\n  \
                      disposable: [cache/]\n  watch: { mode: no-watch, interval: 2s }\n  scan: accelerated\n  \
                      symlinks: ignore\n  entries_max: 8\n";
        let stated = terms_on(node.clone(), &[PROGRAM, MANIFEST, (CONFIG, config)]);
        let expected = sync::Settings {
            mode: Mode::TwoWaySafe,
            strategy: Strategy::NewerWins,
            excludes: vec!["data".to_owned(), "*.tmp".to_owned()],
            disposable: vec!["cache/".to_owned()],
            symlinks: Symlinks::Ignore,
            entries_max: 8,
            watch: watch::Settings {
                mode: watch::Mode::NoWatch,
                interval: Duration::from_secs(2),
                full: false,
            },
            ..node
        };
        assert_eq!(stated, expected);
    }

    fn carried(files: &[(&str, &str)]) -> Option<String> {
        terms(files).carried.map(|path| path.to_string())
    }

    #[test]
    fn finished_output_that_is_served_is_carried() {
        let dist = ("dist/index.html", "<h1>built</h1>\n");
        assert_eq!(carried(&[dist]).as_deref(), Some("dist"));
        assert_eq!(carried(&[("build/index.html", "<h1>built</h1>\n")]).as_deref(), Some("build"));
        let public = ("public/index.html", "<h1>built</h1>\n");
        assert_eq!(carried(&[public]), None, "it is carried anyway");
        assert_eq!(carried(&[public, (".gitignore", "/public/\n")]).as_deref(), Some("public"));
        assert_eq!(
            carried(&[("public/.gitignore", "*.map\n"), public]),
            None,
            "a part of it is not the whole"
        );
        let stated = (CONFIG, "kind: static\nroot: web/dist\n");
        assert_eq!(carried(&[("web/dist/index.html", "x"), stated]).as_deref(), Some("web/dist"));
        assert_eq!(carried(&[PAGE]), None, "the project itself is always carried");
    }

    #[test]
    fn output_that_is_built_in_the_container_is_not_carried() {
        let manifest = r#"{"scripts":{"build":"vite build"},"devDependencies":{"vite":"7"}}"#;
        let source = ("index.html", "<script type=module src=\"/src/main.js\"></script>");
        let files = [("package.json", manifest), source, ("src/main.js", ""), ("dist/index.html", "old")];
        assert_eq!(carried(&files), None);
        let no_build = (CONFIG, "build: ''\n");
        let [a, b, c, d] = files;
        assert_eq!(carried(&[a, b, c, d, no_build]).as_deref(), Some("dist"), "nothing makes it");
    }

    #[test]
    fn a_program_that_is_started_from_output_is_carried_with_it() {
        let manifest = ("package.json", r#"{"scripts":{"start":"node dist/server/main.js"}}"#);
        let program = ("dist/server/main.js", "require('http').createServer().listen(process.env.PORT)");
        assert_eq!(carried(&[manifest, program]).as_deref(), Some("dist"));
        assert_eq!(carried(&[MANIFEST, PROGRAM]), None);
        let tool = ("package.json", r#"{"scripts":{"start":"./node_modules/.bin/serve"}}"#);
        assert_eq!(carried(&[tool]), None, "dependencies are installed, not carried");
        let stated = (CONFIG, "kind: node\nroot: build\nstart: node main.js\n");
        assert_eq!(carried(&[("build/main.js", "x"), stated]).as_deref(), Some("build"));
    }

    #[test]
    fn a_node_that_excludes_what_is_left_out_anyway_still_serves_it() {
        let node = sync::Settings { general: vec!["public".to_owned()], ..sync::Settings::default() };
        let terms = terms_on(node, &[("public/index.html", "x")]);
        assert_eq!(terms.carried, RelPath::parse(b"public").ok());
    }
}
