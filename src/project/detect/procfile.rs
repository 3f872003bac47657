//! A Procfile: the start line as its author says it, fitted to what is really there.

use crate::model::project::Detection;
use crate::model::project::Kind;
use crate::model::project::Reason;
use crate::model::project::Serves;
use crate::project::detect::blank;
use crate::project::detect::line;
use crate::project::detect::python;
use crate::project::detect::view::View;

/// Programs that answer HTTP whatever else is known.
const SERVERS: [&str; 20] = [
    "gunicorn",
    "uvicorn",
    "hypercorn",
    "daphne",
    "waitress-serve",
    "streamlit",
    "puma",
    "unicorn",
    "thin",
    "rackup",
    "rails",
    "bin/rails",
    "php",
    "heroku-php-apache2",
    "heroku-php-nginx",
    "next",
    "http-server",
    "serve",
    "functions-framework",
    "flask",
];

/// Python servers that may be missing from the requirements.
const INSTALLABLE: [&str; 5] = ["gunicorn", "uvicorn", "hypercorn", "daphne", "waitress-serve"];

/// A Procfile's entries: process and command, in order.
#[derive(Debug, Default)]
pub(crate) struct Procfile(Vec<(String, String)>);

impl Procfile {
    /// Reads the Procfile of a directory.
    pub(crate) fn read(view: &View<'_>) -> Option<Self> {
        let text = view.text("Procfile")?;
        let entry = |line: &str| {
            let (name, command) = line.split_once(':')?;
            let name = name.trim();
            let plain =
                !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
            plain.then(|| (name.to_owned(), command.trim().to_owned()))
        };
        let lines = text.split(['\n', '\r']).filter(|line| !line.trim_start().starts_with('#'));
        Some(Self(lines.filter_map(entry).filter(|(_, command)| !command.is_empty()).collect()))
    }

    /// The process to run: `web`, else `worker`, else the first that is no release step.
    pub(crate) fn chosen(&self) -> Option<(&str, &str)> {
        let named = |name: &str| self.0.iter().find(|(process, _)| process == name);
        let any = || self.0.iter().find(|(process, _)| process != "release");
        let (name, command) = named("web").or_else(|| named("worker")).or_else(any)?;
        Some((name, command))
    }

    fn release(&self) -> Option<&str> {
        self.0.iter().find(|(process, _)| process == "release").map(|(_, command)| command.as_str())
    }

    /// The PHP docroot of a `heroku-php-apache2 web/` line.
    pub(crate) fn docroot(&self) -> Option<String> {
        let (_, command) = self.chosen()?;
        let words = line::command(command);
        let program = words.first()?.rsplit('/').next()?;
        if !["heroku-php-apache2", "heroku-php-nginx"].contains(&program) {
            return None;
        }
        let mut arguments = words.iter().skip(1).peekable();
        let mut directory = String::new();
        while let Some(argument) = arguments.next() {
            if ["-C", "-F", "-i", "-l", "-c"].contains(&argument.as_str()) {
                arguments.next();
            } else if !argument.starts_with('-') {
                directory = line::clean_path(argument)?;
            }
        }
        Some(directory)
    }
}

/// The kind a start line gives away, for folders no manifest explains.
pub(crate) fn by_itself(view: &View<'_>, procfile: &Procfile) -> Option<Detection> {
    let (_, command) = procfile.chosen()?;
    let words = line::command(command);
    let kind = match words.first()?.rsplit('/').next()? {
        "python" | "python3" | "gunicorn" | "uvicorn" | "flask" => Kind::Python,
        "node" | "npm" | "npx" => Kind::Node,
        "ruby" | "bundle" | "rackup" | "rake" => Kind::Ruby,
        "php" | "heroku-php-apache2" | "heroku-php-nginx" => Kind::Php,
        "go" => Kind::Go,
        _ => return None,
    };
    Some(blank(view, kind))
}

/// Replaces a detection's start with the Procfile's.
pub(crate) fn apply(view: &View<'_>, procfile: &Procfile, detection: &mut Detection) {
    let Some((name, command)) = procfile.chosen() else {
        let message = "no process in it: lines read `web: command`";
        return detection.problems.push(view.warning(
            "Procfile",
            message,
            "write `web: ` and the start command",
        ));
    };
    if let Some(docroot) = procfile.docroot() {
        return php(view, &docroot, detection);
    }
    if is_refused_script(command, detection) {
        let fact = format!("its `{name}` runs the start script, which is no server for visitors");
        return detection.because.push(view.reason("Procfile", fact));
    }
    let shown: String = command.chars().filter(|c| !line::hostile(*c)).take(200).collect();
    if let Some(syntax) =
        line::shell_syntax(command).or(command.chars().any(line::hostile).then_some("a control character"))
    {
        detection.problems.push(view.fatal(
            "Procfile",
            format!("`{name}` needs a shell: it holds {syntax}"),
            "put the line into a script, `start.sh`, and write `web: sh start.sh`",
        ));
        detection.start = None;
        return;
    }
    detection.because.push(view.reason("Procfile", format!("its `{name}` process is `{shown}`")));
    detection
        .problems
        .retain(|problem| !(problem.fatal && problem.line.is_none() && problem.file != "Procfile"));
    let line = match detection.kind {
        Kind::Go => go(view, command, detection),
        _ => command.to_owned(),
    };
    if detection.kind == Kind::Static {
        detection.kind = if detection.package_manager.is_some() { Kind::Node } else { detection.kind };
        detection.site = None;
        detection.hot_reload = false;
    }
    detection.start = Some(release(view, procfile, line, detection));
    python_servers(view, command, detection);
    serves(name, command, detection);
}

fn php(view: &View<'_>, docroot: &str, detection: &mut Detection) {
    let directory = if docroot.is_empty() { "." } else { docroot };
    let Some(word) = line::path_word(directory) else { return };
    detection.kind = Kind::Php;
    let before = detection
        .start
        .as_deref()
        .and_then(|start| start.rsplit_once(" && "))
        .map(|(before, _)| format!("{before} && "));
    detection.start = Some(format!("{}php -S 0.0.0.0:$PORT -t {word}", before.unwrap_or_default()));
    detection.serves = Serves::Http;
    detection.port_hint = Some(8080);
    detection.problems.retain(|problem| !(problem.fatal && problem.message.starts_with("no index.php")));
    detection.because.push(view.reason("Procfile", format!("its web server's docroot is `{directory}`")));
}

/// `npm start` where the start script was found to be a development server.
fn is_refused_script(command: &str, detection: &Detection) -> bool {
    let words = line::command(command);
    let runs =
        ["npm", "yarn", "pnpm", "bun"].contains(&words.first().map(String::as_str).unwrap_or_default());
    runs && detection.kind == Kind::Static
        && words.iter().any(|word| ["start", "dev", "serve"].contains(&word.as_str()))
}

/// A Procfile names the binary its platform would build: ours is built under that name.
fn go(view: &View<'_>, command: &str, detection: &mut Detection) -> String {
    let words = line::words(command);
    let Some(at) = words.iter().position(|word| !word.contains('=')) else { return command.to_owned() };
    let program = words[at].clone();
    if program == "go" {
        detection.build = None;
        return command.to_owned();
    }
    let Some(path) = line::clean_path(&program).filter(|path| !path.is_empty()) else {
        return command.to_owned();
    };
    if view.entry(&path).is_some_and(|entry| entry.kind == crate::project::listing::EntryKind::File) {
        return command.to_owned();
    }
    let Some(build) = detection.build.clone() else { return command.to_owned() };
    let target = build
        .splitn(4, ' ')
        .nth(3)
        .and_then(|rest| rest.split_once(' '))
        .map(|(_, target)| target.to_owned());
    let taken = view.has_dir(&path) || line::word(&path).as_deref() != Some(path.as_str());
    let output = if taken { "out".to_owned() } else { path.clone() };
    let target = named_command(view, &path).map(|found| format!("./{found}")).or(target);
    detection.build = Some(match target {
        Some(target) => format!("go build -o {output} {target}"),
        None => format!("go build -o {output}"),
    });
    detection.because.push(view.reason("Procfile", format!("`{path}` is the binary that is built")));
    let started = if output.contains('/') { output } else { format!("./{output}") };
    command.replacen(&program, &started, 1)
}

/// The directory of the main package a binary's name stands for: `cmd/server` of `bin/server`.
fn named_command(view: &View<'_>, path: &str) -> Option<String> {
    let name = path.rsplit('/').next()?;
    [format!("cmd/{name}"), name.to_owned()].into_iter().find(|folder| view.has(&format!("{folder}/main.go")))
}

/// A release step that migrates a database runs before the start; another one is left out.
fn release(view: &View<'_>, procfile: &Procfile, line: String, detection: &mut Detection) -> String {
    let Some(release) = procfile.release() else { return line };
    let migrates = release.contains("migrate") || release.contains("db:");
    if migrates && line::shell_syntax(release).is_none() {
        detection.because.push(
            view.reason("Procfile", "its `release` step migrates the database: it runs before the start"),
        );
        return format!("{release} && {line}");
    }
    detection.because.push(view.reason("Procfile", "its `release` step belongs to a platform: left out"));
    line
}

fn python_servers(view: &View<'_>, command: &str, detection: &mut Detection) {
    let Some(program) = line::command(command).into_iter().next() else { return };
    if detection.kind != Kind::Python || !INSTALLABLE.contains(&program.as_str()) {
        return;
    }
    let package = if program == "waitress-serve" { "waitress" } else { program.as_str() };
    if python::depends(view, package) {
        return;
    }
    detection.install = Some(match detection.install.take() {
        Some(install) => format!("{install} && pip install {package}"),
        None => format!("pip install {package}"),
    });
    let fact = format!("its command is {package}, which no manifest lists: it is added to the install");
    detection.because.push(Reason { file: "Procfile".to_owned(), fact });
}

fn serves(name: &str, command: &str, detection: &mut Detection) {
    let program = line::commands(command).last().and_then(|words| {
        let bundled = words.len() > 2 && words[0] == "bundle" && words[1] == "exec";
        words.get(if bundled { 2 } else { 0 }).cloned()
    });
    let program = program.unwrap_or_default();
    if name != "web" {
        detection.serves = Serves::Process;
    } else if command.contains("$PORT") || command.contains("${PORT") || SERVERS.contains(&program.as_str()) {
        detection.serves = Serves::Http;
    }
}
