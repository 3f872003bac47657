//! Where a path of a compose file is: in the project or not, and how the engine's host calls it.
//!
//! Compose and the engine read paths at two ends: build contexts where this node runs, mounts on the engine's host.
//! When the node runs in a container the two differ, and a mount named as the node sees it would silently be a new,
//! empty directory. Every path is therefore taken apart here, and put together again for the end that opens it.

use std::path::Path;

use crate::engine::Mount;

/// How this node's paths relate to those of the engine's host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum View {
    /// The node runs on the engine's host: the same paths.
    Same,
    /// The node runs in a container with these mounts.
    Through(Vec<Mount>),
}

impl View {
    /// What the engine's host calls `path`, an absolute path of this node; `None` when no mount covers it.
    pub(super) fn host(&self, path: &str) -> Option<String> {
        let Self::Through(mounts) = self else { return Some(path.to_owned()) };
        let covering = mounts.iter().filter(|mount| Path::new(path).starts_with(&mount.target));
        let nearest = covering.max_by_key(|mount| mount.target.components().count())?;
        let rest = Path::new(path).strip_prefix(&nearest.target).ok()?;
        let full =
            if rest.as_os_str().is_empty() { nearest.source.clone() } else { nearest.source.join(rest) };
        full.to_str().map(str::to_owned)
    }
}

/// A path as a compose file means it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// In the project: relative to it, without `.` and `..`; empty for the project itself.
    Inside(String),
    /// An absolute path elsewhere, without `.` and `..`.
    Outside(String),
    /// In somebody's home directory, which a service of the machine has none of.
    Home,
}

/// Where `path`, found in a file of the project's directory `base` (relative, empty for the project itself), leads.
///
/// `folders` are the absolute names of the project: as this node sees it and as the engine's host does.
pub(super) fn locate(path: &str, base: &str, folders: &[String]) -> Place {
    if path.starts_with('~') {
        return Place::Home;
    }
    if path.starts_with('/') {
        let full = format!("/{}", squash(path).join("/"));
        let inside = folders.iter().find_map(|folder| Path::new(&full).strip_prefix(folder).ok());
        return match inside.and_then(Path::to_str) {
            Some(inside) => Place::Inside(inside.to_owned()),
            None => Place::Outside(full),
        };
    }
    let mut parts: Vec<&str> = squash(base);
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                if parts.pop().is_none() {
                    return outside(path, base, folders);
                }
            }
            part => parts.push(part),
        }
    }
    Place::Inside(parts.join("/"))
}

/// A relative path that leaves the project; it may come back in by the project's own name.
fn outside(path: &str, base: &str, folders: &[String]) -> Place {
    let folder = folders.first().map_or("", String::as_str);
    locate(&format!("{folder}/{base}/{path}"), "", folders)
}

/// The parts of a path, with `.` and `..` resolved by name.
fn squash(path: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts
}

/// Puts the path of something in the project behind the project's own.
pub(super) fn join(folder: &str, inside: &str) -> String {
    let folder = folder.trim_end_matches('/');
    if inside.is_empty() { folder.to_owned() } else { format!("{folder}/{inside}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_inside_by_whole_names_only() {
        let folders = ["/workspaces/shop".to_owned(), "/srv/ws/shop".to_owned()];
        let inside = |path: &str| Place::Inside(path.to_owned());
        let outside = |path: &str| Place::Outside(path.to_owned());
        let cases = [
            ("./data", "", inside("data")),
            (".", "", inside("")),
            ("a/../b/./c", "", inside("b/c")),
            ("../x", "sub", inside("x")),
            ("../x", "", outside("/workspaces/x")),
            ("..", "", outside("/workspaces")),
            ("../shop/x", "", inside("x")),
            ("../shopping", "", outside("/workspaces/shopping")),
            ("a/../../../etc", "", outside("/etc")),
            ("/workspaces/shop/x", "", inside("x")),
            ("/srv/ws/shop", "", inside("")),
            ("/workspaces/shop/../other", "", outside("/workspaces/other")),
            ("/workspaces/shopping", "", outside("/workspaces/shopping")),
            ("/var/run/../run/docker.sock", "", outside("/var/run/docker.sock")),
            ("~/x", "", Place::Home),
            ("//etc", "", outside("/etc")),
        ];
        for (path, base, expected) in cases {
            assert_eq!(locate(path, base, &folders), expected, "{path} in {base:?}");
        }
    }

    #[test]
    fn the_nearest_mount_names_the_path_on_the_host() {
        let mount = |source: &str, target: &str| Mount { source: source.into(), target: target.into() };
        let view =
            View::Through(vec![mount("/home/me/ws", "/workspaces"), mount("/mnt/big", "/workspaces/big")]);
        assert_eq!(view.host("/workspaces/shop/data").as_deref(), Some("/home/me/ws/shop/data"));
        assert_eq!(view.host("/workspaces").as_deref(), Some("/home/me/ws"));
        assert_eq!(view.host("/workspaces/big/x").as_deref(), Some("/mnt/big/x"));
        assert_eq!(view.host("/workspacesx/shop"), None);
        assert_eq!(View::Same.host("/any").as_deref(), Some("/any"));
    }
}
