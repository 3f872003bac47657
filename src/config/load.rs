//! Reads the layers of this machine.

use std::io;
use std::path::Path;

use super::layer::Layer;
use super::problem::Invalid;
use super::problem::Problem;
use super::settings::Settings;
use super::stack::Origin;
use super::stack::Stack;

/// Environment variables, read once in main.
pub type Environment = [(String, String)];

/// What `nexus` is built with.
pub const DEFAULTS: &str = include_str!("../../config/defaults.yaml");
/// The machine's own settings.
const SYSTEM: &str = "/etc/nexus/config.yaml";
/// No settings file is longer.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Loads and resolves the settings of this machine. Files that are not there are empty.
pub fn load(environment: &Environment) -> Result<(Stack, Settings), Invalid> {
    load_from(Path::new(SYSTEM), environment)
}

pub fn load_from(system: &Path, environment: &Environment) -> Result<(Stack, Settings), Invalid> {
    let mut problems = Vec::new();
    let variables = environment.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let (top, unknown) = Layer::of_environment(variables);
    problems.extend(unknown);
    let system = file(system, &mut problems);

    // Which home it is must be known before the file in it can be read.
    let mut below = defaults();
    below.push(system.clone());
    below.push(top.clone());
    let mut stack = defaults();
    stack.push(system);
    if let Some(home) = below.get("home") {
        let path = Path::new(&home.value).join("config.yaml");
        let own = file(&path, &mut problems);
        for entry in own.entries.iter().filter(|entry| entry.key == "home") {
            problems.push(Problem {
                message: "`home` cannot be set in the home it names".to_owned(),
                origin: entry.origin.clone(),
                hint: Some(format!("set it in {SYSTEM} or as NEXUS_HOME")),
            });
        }
        stack.push(own);
    }
    stack.push(top);
    match Settings::resolve(&stack) {
        Ok(settings) if problems.is_empty() => Ok((stack, settings)),
        Ok(_) => Err(Invalid { problems }),
        Err(more) => {
            problems.extend(more.problems);
            Err(Invalid { problems })
        }
    }
}

/// The stack of the defaults alone.
pub fn defaults() -> Stack {
    let mut stack = Stack::default();
    match Layer::parse(DEFAULTS, |_, _| Origin::Default) {
        Ok(layer) => stack.push(layer),
        Err(problem) => unreachable!("the defaults are tested: {problem}"),
    }
    stack
}

fn file(path: &Path, problems: &mut Vec<Problem>) -> Layer {
    let origin = |line, column| Origin::File { file: path.to_owned(), line, column };
    let parsed = match read(path) {
        Ok(text) => Layer::parse(&text, origin),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Layer::default(),
        Err(error) => {
            Err(Problem { message: format!("cannot be read: {error}"), origin: origin(1, 1), hint: None })
        }
    };
    parsed.unwrap_or_else(|problem| {
        problems.push(problem);
        Layer::default()
    })
}

fn read(path: &Path) -> io::Result<String> {
    use io::Read as _;
    let file = std::fs::File::open(path)?;
    let mut text = String::new();
    let read = file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if u64::try_from(read).is_ok_and(|read| read > FILE_BYTES_MAX) {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is longer than 1 MiB"));
    }
    Ok(text)
}
