//! What a program finds in its environment. Pure. Whatever the user has set wins over what is injected.

use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;

/// The `PATH` where a container has none.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Names and values.
pub type Environment = BTreeMap<String, String>;

/// What the environment is made from.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// Where commands run.
    pub root: PathBuf,
    /// The agent's state directory.
    pub state: PathBuf,
    /// The port to listen on.
    pub port: u16,
    /// Whether `HOME` of the container can be written.
    pub home_writable: bool,
    /// Whether a Python environment is in the state directory.
    pub python: bool,
}

/// The environment of every command.
pub fn surround(given: &Environment, surroundings: &Surroundings) -> Environment {
    let mut environment = injected(surroundings);
    environment.extend(given.iter().map(|(name, value)| (name.clone(), value.clone())));
    environment.insert("PATH".to_owned(), search_path(given.get("PATH"), surroundings));
    // Gems beside the image's own, where it asks for that: a bundle's path would hide those.
    let beside = given.get("GEM_HOME").is_some_and(|home| Path::new(home).starts_with(&surroundings.state));
    if beside && !given.contains_key("BUNDLE_PATH") {
        environment.remove("BUNDLE_PATH");
    }
    if !surroundings.home_writable {
        environment.insert("HOME".to_owned(), text(&surroundings.state.join("home")));
    }
    environment
}

fn injected(surroundings: &Surroundings) -> Environment {
    let port = surroundings.port.to_string();
    let everywhere = "0.0.0.0";
    let cache = |name: &str| text(&surroundings.state.join("cache").join(name));
    let mut environment: Environment = [
        ("PORT", port.clone()),
        ("HOST", everywhere.to_owned()),
        ("HOSTNAME", everywhere.to_owned()),
        ("NITRO_PORT", port.clone()),
        ("NITRO_HOST", everywhere.to_owned()),
        ("FLASK_RUN_PORT", port.clone()),
        ("FLASK_RUN_HOST", everywhere.to_owned()),
        ("ASPNETCORE_URLS", format!("http://{everywhere}:{port}")),
        // Output as it is printed, not a buffer later.
        ("PYTHONUNBUFFERED", "1".to_owned()),
        ("npm_config_cache", cache("npm")),
        ("npm_config_update_notifier", "false".to_owned()),
        ("YARN_CACHE_FOLDER", cache("yarn")),
        ("COREPACK_HOME", cache("corepack")),
        ("COREPACK_ENABLE_DOWNLOAD_PROMPT", "0".to_owned()),
        ("PIP_CACHE_DIR", cache("pip")),
        ("PIP_DISABLE_PIP_VERSION_CHECK", "1".to_owned()),
        ("UV_CACHE_DIR", cache("uv")),
        ("GOCACHE", cache("go-build")),
        ("GOPATH", cache("go")),
        ("COMPOSER_CACHE_DIR", cache("composer")),
        ("BUNDLE_PATH", text(&surroundings.state.join("bundle"))),
        // A server that takes no connections: Bundler gives up after 75 s then, not after four minutes and more. What
        // fails is tried again by us.
        ("BUNDLE_TIMEOUT", "5".to_owned()),
        ("BUNDLE_RETRY", "0".to_owned()),
        ("XDG_CACHE_HOME", text(&surroundings.state.join("cache"))),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect();
    if surroundings.python {
        let venv = text(&surroundings.state.join("venv"));
        environment.insert("VIRTUAL_ENV".to_owned(), venv.clone());
        environment.insert("UV_PROJECT_ENVIRONMENT".to_owned(), venv);
    }
    environment
}

fn search_path(given: Option<&String>, surroundings: &Surroundings) -> String {
    let mut directories = Vec::new();
    if surroundings.python {
        directories.push(text(&surroundings.state.join("venv/bin")));
    }
    directories.push(text(&surroundings.root.join("node_modules/.bin")));
    directories.push(text(&surroundings.state.join("bin")));
    directories.push(given.cloned().unwrap_or_else(|| DEFAULT_PATH.to_owned()));
    directories.join(":")
}

/// `NODE_ENV` for the program itself: `production`, unless the command says that it is for development.
pub fn node_mode(given: &Environment, command: &str) -> Option<(String, String)> {
    const DEVELOPMENT: [&str; 6] = ["dev", "vite", "nodemon", "watch", "develop", "webpack-dev-server"];
    let words = command.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    let development = words.into_iter().any(|word| DEVELOPMENT.contains(&word.trim_start_matches('-')));
    (!development && !given.contains_key("NODE_ENV"))
        .then(|| ("NODE_ENV".to_owned(), "production".to_owned()))
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn surroundings() -> Surroundings {
        Surroundings {
            root: "/workspace/web".into(),
            state: "/nexus-state".into(),
            port: 3000,
            home_writable: false,
            python: true,
        }
    }

    #[test]
    fn the_users_own_values_win() {
        let given: Environment = [("PORT", "9000"), ("PATH", "/opt/bin"), ("HOME", "/")]
            .map(|(n, v)| (n.to_owned(), v.to_owned()))
            .into();
        let environment = surround(&given, &surroundings());
        assert_eq!(environment["PORT"], "9000");
        assert_eq!(environment["HOST"], "0.0.0.0");
        assert_eq!(environment["HOME"], "/nexus-state/home");
        assert_eq!(environment["VIRTUAL_ENV"], "/nexus-state/venv");
        assert_eq!(
            environment["PATH"],
            "/nexus-state/venv/bin:/workspace/web/node_modules/.bin:/nexus-state/bin:/opt/bin"
        );
    }

    #[test]
    fn bundler_gives_up_in_time_unless_its_owner_is_patient() {
        let environment = surround(&Environment::new(), &surroundings());
        assert_eq!((&*environment["BUNDLE_TIMEOUT"], &*environment["BUNDLE_RETRY"]), ("5", "0"));
        let own: Environment = [("BUNDLE_RETRY".to_owned(), "5".to_owned())].into();
        assert_eq!(surround(&own, &surroundings())["BUNDLE_RETRY"], "5");
    }

    #[test]
    fn gems_are_installed_beside_the_images_own_where_it_says_so() {
        let surround_with =
            |home: &str| surround(&[("GEM_HOME".to_owned(), home.to_owned())].into(), &surroundings());
        assert_eq!(surround_with("/nexus-state/gems").get("BUNDLE_PATH"), None);
        assert_eq!(surround_with("/usr/local/bundle")["BUNDLE_PATH"], "/nexus-state/bundle");
    }

    #[test]
    fn a_development_server_is_not_told_it_is_in_production() {
        let none = Environment::new();
        for command in ["npm run dev", "vite --host", "node --watch x.js", "pnpm dev", "nodemon app.js"] {
            assert_eq!(node_mode(&none, command), None, "{command}");
        }
        for command in ["npm start", "node server.js", "next start", "node devices.js"] {
            assert!(node_mode(&none, command).is_some(), "{command}");
        }
        let own: Environment = [("NODE_ENV".to_owned(), "test".to_owned())].into();
        assert_eq!(node_mode(&own, "npm start"), None);
    }
}
