//! Ruby: Rails, Rack applications and their server, Sinatra in one file, plain programs.

use crate::model::project::Detection;
use crate::model::project::Kind;
use crate::model::project::Serves;
use crate::project::detect::blank;
use crate::project::detect::line;
use crate::project::detect::scan;
use crate::project::detect::scan::pattern;
use crate::project::detect::version;
use crate::project::detect::view::View;

pattern!(GEM, r#"(?m)^\s*gem\s+['"]([\w.-]+)['"]"#);
pattern!(RUBY, r#"(?m)^\s*ruby\s+((?:['"][^'"\n]+['"][,\s]*)+)"#);
pattern!(LOCAL_REQUIRE, r#"(?m)^\s*require(?:_relative)?\s*\(?['"](\./)?([\w./-]+)['"]"#);
pattern!(CLASSIC, r#"(?m)^\s*require\s+['"]sinatra['"]"#);
pattern!(
    SERVES,
    r#"require\s+['"](?:sinatra|webrick|rack|socket|roda|puma)|Sinatra::|TCPServer|WEBrick|\.run!|Rack::|Rackup::"#
);

/// Programs that are run when nothing else says what to run.
const ENTRIES: [&str; 7] = ["app.rb", "main.rb", "server.rb", "web.rb", "run.rb", "index.rb", "hello.rb"];

/// Servers of a Rack application: gem, line, port.
const SERVERS: [(&str, &str, u16); 6] = [
    ("passenger", "passenger start --address 0.0.0.0 --port ${PORT:-3000}", 3000),
    ("unicorn", "unicorn -p ${PORT:-8080}", 8080),
    ("thin", "thin start -a 0.0.0.0 -p ${PORT:-3000}", 3000),
    ("falcon", "falcon serve --bind http://0.0.0.0:${PORT:-9292}", 9292),
    ("iodine", "iodine -b 0.0.0.0 -p ${PORT:-3000}", 3000),
    ("puma", "puma -p ${PORT:-9292}", 9292),
];

struct Gems(Vec<String>);

impl Gems {
    fn read(view: &View<'_>) -> Self {
        let text = view.text("Gemfile").or_else(|| view.text("gems.rb")).unwrap_or_default();
        Self(GEM.captures_iter(text).map(|found| found[1].to_owned()).collect())
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|gem| gem == name)
    }
}

/// Detects a Ruby project.
pub(crate) fn detect(view: &View<'_>) -> Option<Detection> {
    let gemfile = view.first(&["Gemfile", "gems.rb"]);
    let rack = view.has("config.ru");
    let entry = entry(view, gemfile.is_some());
    if gemfile.is_none() && !rack && entry.is_none() {
        return None;
    }
    let mut detection = blank(view, Kind::Ruby);
    let gems = Gems::read(view);
    let mark = gemfile.or(rack.then_some("config.ru")).or(entry).unwrap_or_default();
    detection.because.push(view.reason(mark, "a Ruby project"));
    bundler(view, gemfile, &mut detection);
    version(view, gemfile, &mut detection);
    let bundled = if gemfile.is_some() { "bundle exec " } else { "" };
    let started = rails(view, &gems, bundled, &mut detection)
        || generator(view, &gems, bundled, &mut detection)
        || rackup(view, &gems, bundled, &mut detection)
        || program(view, entry, bundled, &mut detection);
    if !started {
        detection.problems.push(view.fatal(
            mark,
            "nothing to start: no config.ru, no Rails application, no app.rb",
            "add a Procfile, or set `start:` in .nexus/config.yaml",
        ));
    }
    Some(detection)
}

fn bundler(view: &View<'_>, gemfile: Option<&str>, detection: &mut Detection) {
    let Some(gemfile) = gemfile else { return };
    detection.package_manager = Some("bundler".to_owned());
    // Gems the image brings are good enough where no gem server can be reached.
    detection.install = Some("bundle install --prefer-local".to_owned());
    let lock = if view.has("Gemfile.lock") { "with its lockfile" } else { "without a lockfile" };
    detection.because.push(view.reason(gemfile, format!("gems {lock}: bundler")));
    let inputs =
        [gemfile, "Gemfile.lock", "gems.locked", ".ruby-version"].into_iter().filter(|file| view.has(file));
    detection.install_inputs = inputs.map(str::to_owned).collect();
}

fn version(view: &View<'_>, gemfile: Option<&str>, detection: &mut Detection) {
    let known = &version::RUBY;
    let in_gemfile = || {
        let gemfile = gemfile?;
        version::stated_in(view, gemfile, &RUBY.captures(view.text(gemfile)?)?[1], known)
    };
    let in_lock = || {
        let text = view.text("Gemfile.lock")?;
        let stated =
            text.split("RUBY VERSION").nth(1)?.trim().lines().next()?.trim().strip_prefix("ruby ")?;
        version::stated_in(view, "Gemfile.lock", stated, known)
    };
    detection.version = version::from_file(view, ".ruby-version", known)
        .or_else(in_gemfile)
        .or_else(|| version::from_tools(view, &["ruby"], known))
        .or_else(in_lock);
}

fn rails(view: &View<'_>, gems: &Gems, bundled: &str, detection: &mut Detection) -> bool {
    let application =
        view.text("config/application.rb").is_some_and(|text| text.contains("Rails::Application"));
    let configured = gems.has("rails") && view.has_dir("config");
    if !application && !configured {
        return false;
    }
    detection.framework = Some("rails".to_owned());
    detection.port_hint = Some(3000);
    detection.hot_reload = true;
    detection.because.push(view.reason("config/application.rb", "a Rails application"));
    let database = view.text("config/database.yml");
    let prepare = if database.is_some() { format!("{bundled}rails db:prepare && ") } else { String::new() };
    detection.start = Some(format!("{prepare}{bundled}rails server -b 0.0.0.0 -p ${{PORT:-3000}}"));
    let server = ["postgresql", "mysql2", "trilogy"]
        .into_iter()
        .find(|adapter| database.is_some_and(|text| text.contains(&format!("adapter: {adapter}"))));
    if let Some(adapter) = server {
        detection.problems.push(view.warning(
            "config/database.yml",
            format!("needs a {adapter} database"),
            "set DATABASE_URL under `env:` in .nexus/config.yaml, or add a compose file with the application and its database",
        ));
    }
    true
}

fn generator(view: &View<'_>, gems: &Gems, bundled: &str, detection: &mut Detection) -> bool {
    let (name, serve, port) = if gems.has("jekyll") || (gems.has("github-pages") && view.has("_config.yml")) {
        ("jekyll", "jekyll serve --host 0.0.0.0 --port ${PORT:-4000}", 4000)
    } else if gems.has("middleman") {
        ("middleman", "middleman server --bind-address 0.0.0.0 -p ${PORT:-4567}", 4567)
    } else if gems.has("bridgetown") {
        ("bridgetown", "bridgetown start --bind tcp://0.0.0.0:${PORT:-4000}", 4000)
    } else {
        return false;
    };
    detection.framework = Some(name.to_owned());
    detection.port_hint = Some(port);
    detection.hot_reload = true;
    detection.start = Some(format!("{bundled}{serve}"));
    detection.because.push(view.reason("Gemfile", format!("{name} builds the site and serves it")));
    true
}

/// A Rack application, unless its config.ru requires what is not there.
fn rackup(view: &View<'_>, gems: &Gems, bundled: &str, detection: &mut Detection) -> bool {
    let Some(text) = view.text("config.ru") else { return false };
    if let Some(missing) = missing_require(view, text) {
        let message = format!("requires `{missing}`, which does not exist: not used");
        detection.problems.push(view.warning(
            "config.ru",
            message,
            "correct the require, or delete config.ru",
        ));
        return false;
    }
    let framework =
        ["sinatra", "roda", "hanami", "grape", "cuba", "padrino"].into_iter().find(|name| gems.has(name));
    detection.framework = Some(framework.unwrap_or("rack").to_owned());
    let server = SERVERS.iter().find(|(gem, ..)| gems.has(gem));
    let (start, port, fact) = match server {
        Some((gem, line, port)) => {
            (format!("{bundled}{line}"), *port, format!("a Rack application; the gem {gem} serves it"))
        }
        None => {
            let start = format!("{bundled}rackup config.ru -o 0.0.0.0 -p ${{PORT:-9292}}");
            (start, 9292, "a Rack application; rackup serves it".to_owned())
        }
    };
    detection.start = Some(start);
    detection.port_hint = Some(port);
    detection.because.push(view.reason("config.ru", fact));
    true
}

fn missing_require(view: &View<'_>, text: &str) -> Option<String> {
    LOCAL_REQUIRE.captures_iter(text).find_map(|found| {
        let relative = found.get(1).is_some() || found[0].contains("require_relative");
        let path = line::clean_path(&found[2])?;
        let there = view.has(&path) || view.has(&format!("{path}.rb"));
        (relative && !there).then(|| path.clone())
    })
}

/// The file that is the program.
fn entry<'n>(view: &View<'n>, gemfile: bool) -> Option<&'n str> {
    let serves = |name: &str| view.text(name).is_some_and(|text| SERVES.is_match(text));
    let names = || view.names_ending(".rb");
    let usual = names()
        .filter(|name| ENTRIES.contains(name))
        .min_by_key(|name| ENTRIES.iter().position(|entry| entry == name));
    usual.or_else(|| names().find(|name| serves(name))).or_else(|| {
        let mut all = names();
        let first = all.next()?;
        (gemfile && all.next().is_none()).then_some(first)
    })
}

fn program(view: &View<'_>, entry: Option<&str>, bundled: &str, detection: &mut Detection) -> bool {
    let Some(entry) = entry else { return rake(view, bundled, detection) };
    let Some(word) = line::path_word(entry) else { return false };
    let text = view.text(entry).unwrap_or_default();
    detection.because.push(view.reason(entry, "the program's entry"));
    let serving = view.sources(&[".rb"]).iter().any(|(_, text)| SERVES.is_match(text));
    if CLASSIC.is_match(text) {
        detection.framework = Some("sinatra".to_owned());
        detection.port_hint = Some(scan::port(text).unwrap_or(4567));
        detection.start = Some(format!("{bundled}ruby {word} -o 0.0.0.0 -p ${{PORT:-4567}}"));
        return true;
    }
    detection.start = Some(format!("{bundled}ruby {word}"));
    if serving {
        detection.port_hint = scan::port(text).or(Some(8080));
    } else {
        detection.serves = Serves::Process;
        detection
            .because
            .push(view.reason("", "nothing in it opens a port: a program that runs and may end"));
    }
    true
}

fn rake(view: &View<'_>, bundled: &str, detection: &mut Detection) -> bool {
    if !view.has("Rakefile") || !view.text("Rakefile").is_some_and(|text| text.contains("default")) {
        return false;
    }
    detection.start = Some(format!("{bundled}rake"));
    detection.serves = Serves::Process;
    detection.because.push(view.reason("Rakefile", "its default task is the program"));
    true
}
