//! Other people's compose files: what runs unchanged, what is refused, and that no value becomes anything else.

mod allowed;
pub(in crate::compose) mod hostile;
mod policy;

use std::collections::BTreeMap;

use crate::base::ids::NodeId;
use crate::base::ids::WorkspaceId;
use crate::compose::Plan;
use crate::compose::Problem;
use crate::compose::Subnet;
use crate::engine::Mount;
use crate::model::project::Limits;
use crate::model::project::Overrides;
use crate::model::workspace::Name;

use super::input::Entry;
use super::input::Files;
use super::input::PassInput;
use super::input::Text;
use super::paths::View;
use super::rewrite::passthrough;

/// A project in memory: files by path; `None` is a link out of the project.
#[derive(Debug, Default, Clone)]
pub(super) struct Project(pub(super) BTreeMap<String, Option<String>>);

impl Project {
    pub(super) fn of(files: &[(&str, &str)]) -> Self {
        Self(files.iter().map(|(path, text)| ((*path).to_owned(), Some((*text).to_owned()))).collect())
    }
}

impl Files for Project {
    fn entry(&self, path: &str) -> Entry {
        match self.0.get(path) {
            Some(Some(_)) => Entry::File,
            Some(None) => Entry::Outside,
            None if path.is_empty() || self.0.keys().any(|other| other.starts_with(&format!("{path}/"))) => {
                Entry::Directory
            }
            None => Entry::Absent,
        }
    }

    fn text(&self, path: &str) -> Text {
        match self.0.get(path) {
            Some(Some(text)) => Text::Present(text.clone()),
            Some(None) => Text::Unreadable("a link leads out of the project".to_owned()),
            None => Text::Absent,
        }
    }
}

pub(super) fn input(files: &Project) -> PassInput<'_> {
    let mount = Mount { source: "/home/me/ws".into(), target: "/workspaces".into() };
    PassInput {
        node: NodeId::parse("n0de000001").unwrap(),
        workspace: WorkspaceId::parse("w0rk000001").unwrap(),
        name: Name::parse("shop").unwrap(),
        file: None,
        overrides: Overrides::default(),
        files,
        folder: "/workspaces/shop".to_owned(),
        view: View::Through(vec![mount]),
        subnet: Subnet::parse("10.213.0.64/26").unwrap(),
        defaults: Limits { cpus: Some(2.0), memory_bytes: Some(2 << 30), pids: Some(1024) },
        start_interval: true,
    }
}

/// Adapts one compose file beside an ordinary project.
pub(super) fn adapt(compose: &str) -> Result<Plan, Vec<Problem>> {
    let files = Project::of(&[
        ("compose.yaml", compose),
        ("Dockerfile", "FROM scratch\nEXPOSE 8000\n"),
        ("app/Dockerfile", "FROM scratch\n"),
        ("html/index.html", "hi"),
        ("conf/nginx.conf", ""),
        ("secret.txt", "s"),
    ]);
    passthrough(&input(&files))
}
