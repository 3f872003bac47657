//! What nobody here knows how to run: what was seen, what is missing, what to do next.

use crate::model::project::Detection;
use crate::model::project::Kind;
use crate::model::project::Serves;
use crate::project::detect::blank;
use crate::project::detect::view::View;

/// Files that give away what we do not run: file, what it is, what to do.
const FOREIGN: [(&str, &str); 33] = [
    ("Cargo.toml", "Rust"),
    ("pom.xml", "Java (Maven)"),
    ("build.gradle", "Java (Gradle)"),
    ("build.gradle.kts", "Kotlin (Gradle)"),
    ("settings.gradle", "Java (Gradle)"),
    ("settings.gradle.kts", "Java (Gradle)"),
    ("gradlew", "Java (Gradle)"),
    ("build.sbt", "Scala"),
    ("project.clj", "Clojure"),
    ("deps.edn", "Clojure"),
    ("mix.exs", "Elixir"),
    ("deno.json", "Deno"),
    ("deno.jsonc", "Deno"),
    ("Package.swift", "Swift"),
    ("pubspec.yaml", "Dart"),
    ("shard.yml", "Crystal"),
    ("stack.yaml", "Haskell"),
    ("package.yaml", "Haskell"),
    ("gleam.toml", "Gleam"),
    ("build.zig", "Zig"),
    ("CMakeLists.txt", "C or C++ (CMake)"),
    ("meson.build", "C or C++ (Meson)"),
    ("hugo.toml", "a Hugo site"),
    ("hugo.yaml", "a Hugo site"),
    ("book.toml", "an mdBook"),
    ("_config.yml", "a Jekyll site"),
    ("environment.yml", "a conda environment"),
    ("nixpacks.toml", "a Nixpacks plan"),
    ("railpack.json", "a Railpack plan"),
    ("flake.nix", "a Nix flake"),
    ("Makefile", "a Makefile"),
    ("main.tf", "Terraform"),
    ("start.sh", "a shell script"),
];

/// What to do with an empty folder.
const EMPTY: &str = "copy a project into it; a single `index.html` is enough";

/// Manifests of languages whose projects may hold pages without being a site.
const COMPILED: [&str; 15] = [
    "Cargo.toml",
    "pom.xml",
    "build.gradle",
    "build.gradle.kts",
    "settings.gradle",
    "build.sbt",
    "project.clj",
    "deps.edn",
    "mix.exs",
    "deno.json",
    "deno.jsonc",
    "Package.swift",
    "pubspec.yaml",
    "gleam.toml",
    "CMakeLists.txt",
];

/// Whether the folder is a project of a language or generator without a runtime here, whatever pages it holds.
pub(crate) fn is_foreign(view: &View<'_>) -> bool {
    let generated =
        view.has("_config.yml") && view.text("index.html").is_some_and(|text| text.starts_with("---"));
    generated
        || view.first(&COMPILED).is_some()
        || other(view).is_some_and(|(_, what)| [".NET", "a Hugo site", "a Zola site"].contains(&what))
}

/// Describes a folder nothing matched.
pub(crate) fn detect(view: &View<'_>) -> Detection {
    let mut detection = blank(view, Kind::Unknown);
    detection.serves = Serves::Process;
    let names: Vec<&str> = view.names().map(|(name, _)| name).collect();
    if names.is_empty() {
        detection.problems.push(view.fatal("", "the folder is empty", EMPTY));
        return detection;
    }
    let foreign = FOREIGN
        .iter()
        .find(|(file, _)| view.has(file))
        .map(|(file, what)| (*file, *what))
        .or_else(|| other(view));
    let shown: Vec<String> = names.iter().take(20).map(|name| printable(name)).collect();
    let more = names.len().saturating_sub(shown.len());
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    detection.because.push(view.reason("", format!("it holds: {}{more}", shown.join(", "))));
    if let Some((file, what)) = foreign {
        detection.framework = framework(what).map(str::to_owned);
        detection.because.push(view.reason(file, format!("{what}, which has no runtime here")));
        let hint = "add a Dockerfile, or set `image:` and `start:` in .nexus/config.yaml";
        detection.problems.push(view.fatal(
            file,
            format!("this is {what}, and no runtime here runs it"),
            hint,
        ));
        return detection;
    }
    detection.problems.push(view.fatal(
        "",
        "nothing here says how to run it: no package.json, requirements.txt or pyproject.toml, composer.json or index.php, \
         go.mod, Gemfile, index.html, Dockerfile or compose file",
        "usual reasons: the project is one folder further down, the copy is not complete, files lack their usual names, \
         or its language has no runtime here (add a Dockerfile); or say it in .nexus/config.yaml",
    ));
    detection
}

/// What is told by more than one file's name.
fn other(view: &View<'_>) -> Option<(&'static str, &'static str)> {
    let ending = |ending: &str| view.names().any(|(name, _)| name.ends_with(ending));
    let hugo = view.has_dir("content")
        && (view.has_dir("archetypes") || view.has_dir("layouts") || view.has_dir("themes"));
    let base_url = view.text("config.toml").is_some_and(|text| text.contains("base_url"));
    match () {
        () if hugo && view.has("config.toml") => Some(("config.toml", "a Hugo site")),
        () if hugo && view.has("config.yaml") => Some(("config.yaml", "a Hugo site")),
        () if base_url => Some(("config.toml", "a Zola site")),
        () if ending(".csproj") || ending(".fsproj") || ending(".sln") => Some(("", ".NET")),
        () if ending(".cabal") => Some(("", "Haskell")),
        () if ending(".java") => Some(("", "Java")),
        () if ending(".jar") => Some(("", "Java")),
        () if ending(".sh") => Some(("", "a shell script")),
        () if ending(".ipynb") => Some(("", "a Jupyter notebook")),
        () if ending(".cbl") => Some(("", "COBOL")),
        () if ending(".c") || ending(".cpp") => Some(("", "C or C++")),
        () => None,
    }
}

fn framework(what: &str) -> Option<&str> {
    let word = what.trim_start_matches("an ").trim_start_matches("a ").split([' ', '(']).next()?;
    Some(match word {
        "shell" => "shell",
        "Rust" => "rust",
        "Hugo" => "hugo",
        "Jekyll" => "jekyll",
        "Zola" => "zola",
        "Elixir" => "elixir",
        "Deno" => "deno",
        "Java" => "java",
        _ => return None,
    })
}

/// A name as it is safe to show.
pub(crate) fn printable(name: &str) -> String {
    name.chars().map(|c| if crate::project::detect::line::hostile(c) { '?' } else { c }).take(60).collect()
}
