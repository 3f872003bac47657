//! A package.json, read with nothing taken for granted about its shape.

use serde_json::Value;

use crate::model::project::Problem;
use crate::project::detect::parse;
use crate::project::detect::view::View;

/// The manifest of a Node project.
#[derive(Debug, Clone)]
pub(crate) struct Package {
    /// `package.json`, or `package.json5`.
    pub(crate) file: &'static str,
    json: Value,
}

/// Where dependencies are listed.
const DEPENDENCIES: [&str; 3] = ["dependencies", "devDependencies", "optionalDependencies"];

impl Package {
    /// Reads the manifest of a directory; `None` when there is none.
    pub(crate) fn read(view: &View<'_>) -> Option<Result<Self, Problem>> {
        let (file, json) = match parse::json(view, "package.json") {
            Some(parsed) => ("package.json", parsed),
            None => ("package.json5", parse::json5(view, "package.json5")?),
        };
        Some(json.and_then(|json| match json {
            Value::Object(_) => Ok(Self { file, json }),
            _ => Err(view.fatal(file, "not a JSON object", "write `{}` at least")),
        }))
    }

    /// A manifest that says nothing, for projects without one.
    pub(crate) fn empty() -> Self {
        Self { file: "", json: Value::Null }
    }

    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        self.json.get(key)?.as_str().map(str::trim).filter(|text| !text.is_empty())
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        self.json.get(key)
    }

    pub(crate) fn script(&self, name: &str) -> Option<&str> {
        self.json.get("scripts")?.get(name)?.as_str().map(str::trim).filter(|text| !text.is_empty())
    }

    pub(crate) fn scripts(&self) -> impl Iterator<Item = (&str, &str)> {
        let scripts = self.json.get("scripts").and_then(Value::as_object);
        scripts.into_iter().flatten().filter_map(|(name, script)| Some((name.as_str(), script.as_str()?)))
    }

    pub(crate) fn engine(&self, name: &str) -> Option<&str> {
        self.json.get("engines")?.get(name)?.as_str()
    }

    pub(crate) fn depends(&self, name: &str) -> bool {
        DEPENDENCIES.iter().any(|list| self.json.get(list).is_some_and(|list| list.get(name).is_some()))
    }

    pub(crate) fn depends_on_any<'n>(&self, names: &[&'n str]) -> Option<&'n str> {
        names.iter().copied().find(|name| self.depends(name))
    }

    /// The dependencies of one list with their ranges.
    pub(crate) fn list(&self, list: &str) -> impl Iterator<Item = (&str, &str)> {
        let list = self.json.get(list).and_then(Value::as_object);
        list.into_iter().flatten().filter_map(|(name, range)| Some((name.as_str(), range.as_str()?)))
    }

    pub(crate) fn has_dependencies(&self) -> bool {
        let filled =
            |list: &str| self.json.get(list).and_then(Value::as_object).is_some_and(|list| !list.is_empty());
        DEPENDENCIES.iter().any(|list| filled(list)) || self.is_workspace_root()
    }

    /// Whether it lists workspaces of its own.
    pub(crate) fn is_workspace_root(&self) -> bool {
        self.json.get("workspaces").is_some_and(|list| list.is_array() || list.is_object())
    }

    /// Scripts that installing runs.
    pub(crate) fn has_install_scripts(&self) -> bool {
        ["preinstall", "install", "postinstall", "prepare"].iter().any(|name| self.script(name).is_some())
    }
}
