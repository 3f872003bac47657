//! PHP: the docroot, Composer, and PHP's own web server.

use crate::model::project::Detection;
use crate::model::project::Kind;
use crate::project::detect::blank;
use crate::project::detect::line;
use crate::project::detect::parse;
use crate::project::detect::scan::pattern;
use crate::project::detect::version;
use crate::project::detect::view::View;

/// Folders that are a docroot when they hold an index.php.
const DOCROOTS: [&str; 9] =
    ["public", "web", "htdocs", "www", "public_html", "webroot", "html", "src/public", "app/public"];

/// Frameworks: package, name.
const FRAMEWORKS: [(&str, &str); 10] = [
    ("laravel/framework", "laravel"),
    ("laravel/lumen-framework", "lumen"),
    ("symfony/framework-bundle", "symfony"),
    ("slim/slim", "slim"),
    ("cakephp/cakephp", "cakephp"),
    ("codeigniter4/framework", "codeigniter"),
    ("yiisoft/yii2", "yii"),
    ("drupal/core-recommended", "drupal"),
    ("laminas/laminas-mvc", "laminas"),
    ("getgrav/grav", "grav"),
];

pattern!(WEB_DIR, r#"BP_PHP_WEB_DIR['"]?\s*\n?\s*(?:value\s*)?=\s*['"]([^'"\n]+)['"]"#);

/// Detects a PHP project.
pub(crate) fn detect(view: &View<'_>) -> Option<Detection> {
    let composer = parse::json(view, "composer.json");
    let docroot = docroot(view, composer.as_ref().and_then(|composer| composer.as_ref().ok()));
    if composer.is_none() && docroot.is_none() {
        return None;
    }
    let mut detection = blank(view, Kind::Php);
    detection.hot_reload = true;
    match composer {
        Some(Ok(composer)) => with_composer(view, &composer, &mut detection),
        Some(Err(problem)) => detection.problems.push(problem),
        None => {}
    }
    if detection.version.is_none() {
        detection.version = version::from_file(view, ".php-version", &version::PHP)
            .or_else(|| version::from_tools(view, &["php"], &version::PHP));
    }
    wordpress(view, &mut detection);
    let Some((directory, file, fact)) = docroot else {
        detection.problems.push(view.fatal(
            "composer.json",
            "no index.php, neither at the root nor in public/, web/ or htdocs/",
            "put index.php there, or set `start:` in .nexus/config.yaml",
        ));
        return Some(detection);
    };
    detection.port_hint = Some(8080);
    detection.because.push(view.reason(&file, fact));
    let word = line::path_word(if directory.is_empty() { "." } else { &directory })?;
    let serve = format!("php -S 0.0.0.0:$PORT -t {word}");
    detection.start = Some(serve);
    laravel(view, &mut detection);
    assets(view, &mut detection);
    Some(detection)
}

/// The directory a browser sees, the file and the fact that decided.
fn docroot(view: &View<'_>, composer: Option<&serde_json::Value>) -> Option<(String, String, String)> {
    let stated = |file: &str, value: &str| {
        let directory = line::clean_path(value)?;
        let there = directory.is_empty() || view.has_dir(&directory);
        there.then(|| (directory, file.to_owned(), format!("names the docroot `{value}`")))
    };
    if let Some(found) = view.text("project.toml").and_then(|text| WEB_DIR.captures(text)) {
        return stated("project.toml", &found[1]);
    }
    let extra = composer.and_then(|composer| composer.get("extra"));
    let keys = ["public-dir", "web-dir", "document-root"];
    if let Some(directory) = keys.iter().find_map(|key| extra?.get(*key)?.as_str())
        && let Some(found) = stated("composer.json", directory)
    {
        return Some(found);
    }
    let framework = composer.is_some_and(|composer| framework(composer).is_some()) || view.has("artisan");
    let at_root = view.has("index.php");
    let folder = DOCROOTS.iter().find(|folder| view.has(&format!("{folder}/index.php")));
    match folder {
        Some(folder) if framework || !at_root => {
            let file = format!("{folder}/index.php");
            Some(((*folder).to_owned(), file, format!("the docroot is `{folder}`")))
        }
        _ if at_root => {
            Some((String::new(), "index.php".to_owned(), "the docroot is the project".to_owned()))
        }
        _ => {
            let pages: Vec<&str> = view.names_ending(".php").collect();
            let composer_less = composer.is_none() && !view.has("package.json") && !view.has("index.html");
            let page = pages.first().filter(|_| composer_less)?;
            Some((String::new(), (*page).to_owned(), format!("PHP pages and no index.php: open /{page}")))
        }
    }
}

fn framework(composer: &serde_json::Value) -> Option<&'static str> {
    let require = composer.get("require")?;
    FRAMEWORKS.iter().find(|(package, _)| require.get(package).is_some()).map(|(_, name)| *name)
}

fn with_composer(view: &View<'_>, composer: &serde_json::Value, detection: &mut Detection) {
    detection.package_manager = Some("composer".to_owned());
    detection.framework = framework(composer).map(str::to_owned);
    let require = composer.get("require").and_then(|require| require.as_object());
    let packages = require.into_iter().flatten().filter(|(name, _)| name.contains('/')).count();
    if packages > 0 || composer.get("autoload").is_some() {
        detection.install = Some("composer install --no-interaction".to_owned());
        detection.because.push(view.reason("composer.json", "packages to install: composer"));
    } else {
        detection.because.push(view.reason("composer.json", "no packages: nothing to install"));
    }
    let inputs = ["composer.json", "composer.lock"].into_iter().filter(|file| view.has(file));
    detection.install_inputs = inputs.map(str::to_owned).collect();
    let stated = composer.get("require").and_then(|require| require.get("php")).and_then(|php| php.as_str());
    detection.version =
        stated.and_then(|stated| version::stated_in(view, "composer.json", stated, &version::PHP));
}

fn wordpress(view: &View<'_>, detection: &mut Detection) {
    if view.has("wp-config-sample.php") || view.has("wp-settings.php") {
        detection.framework = Some("wordpress".to_owned());
        detection.problems.push(view.warning(
            "wp-config-sample.php",
            "WordPress needs a MySQL database",
            "add a compose file with WordPress and its database",
        ));
    }
}

fn laravel(view: &View<'_>, detection: &mut Detection) {
    if !view.has("artisan") {
        return;
    }
    detection.framework.get_or_insert_with(|| "laravel".to_owned());
    let settings = view.text(".env").or_else(|| view.text(".env.example")).unwrap_or_default();
    if !view.has(".env") && view.has(".env.example") {
        let make = "if (!file_exists('.env')) { copy('.env.example', '.env'); passthru('php artisan key:generate --force'); }";
        detection.build = Some(format!("php -r \"{make}\""));
        detection
            .because
            .push(view.reason(".env.example", "no .env: it is made from the example, with a new APP_KEY"));
    }
    let line = settings.lines().find_map(|line| line.trim().strip_prefix("DB_CONNECTION="));
    if line.is_none_or(|connection| connection.trim() == "sqlite") && view.has_dir("database/migrations") {
        detection.start =
            detection.start.take().map(|start| format!("php artisan migrate --force && {start}"));
        detection
            .because
            .push(view.reason("database/migrations", "an SQLite database: migrations run before the start"));
    }
}

/// A package.json beside PHP builds what the browser loads; the PHP image has no Node.
fn assets(view: &View<'_>, detection: &mut Detection) {
    let bundles = view
        .text("package.json")
        .is_some_and(|text| text.contains("\"build\"") || text.contains("\"production\""));
    let built = ["public/build", "public/dist", "public/mix-manifest.json"]
        .iter()
        .any(|path| view.entry(path).is_some());
    if bundles && !built {
        detection.problems.push(view.warning(
            "package.json",
            "its assets are built by Node, which the PHP image does not have; pages that need them will miss them",
            "run `npm ci && npm run build` on your machine and drop the built files too, or write a Dockerfile",
        ));
    }
}

/// The docroot of a start line of ours.
pub(crate) fn docroot_of(start: &str) -> Option<String> {
    let words = line::words(start);
    let at = words.iter().position(|word| word == "-t")?;
    words.get(at + 1).and_then(|directory| line::clean_path(directory))
}
