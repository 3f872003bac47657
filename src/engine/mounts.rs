//! Which path on the engine's host a path of this node is, when the node itself runs in a container.
//!
//! A bind in a stack is resolved by the engine on its own host. So the node finds out which container it is, asks
//! where that container's mounts come from, and rewrites. A path that no mount covers does not exist on the host.

use std::path::Component;
use std::path::Path;
use std::path::PathBuf;

use super::Engine;
use super::Error;
use super::Mount;

/// The files the engine mounts into every container from the container's own directory on the host.
const TELLING: [&str; 3] = ["/etc/hostname", "/etc/hosts", "/etc/resolv.conf"];

/// How paths of this node become paths of the engine's host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mapping {
    /// The node runs on the host itself.
    Same,
    /// The node runs in a container with these mounts.
    Mounts(Vec<Mount>),
    /// The node runs in a container the engine does not know: they share no paths.
    Foreign,
}

impl Mapping {
    /// Asks the engine about the container this process runs in.
    pub async fn observe(engine: &dyn Engine) -> Result<Self, Error> {
        let Some(id) = own_container_id() else { return Ok(Self::Same) };
        match engine.mounts(&id).await {
            Ok(mounts) => Ok(Self::Mounts(mounts)),
            Err(Error::NotFound { .. }) => Ok(Self::Foreign),
            Err(error) => Err(error),
        }
    }

    /// The path on the engine's host; `None` when there is none.
    pub fn on_host(&self, path: &Path) -> Option<PathBuf> {
        match self {
            Self::Same => Some(path.to_owned()),
            Self::Mounts(mounts) => map(mounts, path),
            Self::Foreign => None,
        }
    }
}

/// The id of the container this process runs in, if it does.
pub fn own_container_id() -> Option<String> {
    // Neither the cgroup (v2 hides it) nor the host name (network `host` has the host's) tells it reliably.
    container_id(&std::fs::read_to_string("/proc/self/mountinfo").ok()?)
}

/// The id in the text of a `mountinfo`: the directory the engine keeps for the container is named after it.
fn container_id(mountinfo: &str) -> Option<String> {
    mountinfo.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let (root, target) = (fields.nth(3)?, fields.next()?);
        let id = root.split('/').find(|part| is_id(part))?;
        TELLING.contains(&target).then(|| id.to_owned())
    })
}

fn is_id(part: &str) -> bool {
    part.len() == 64 && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The host's path of `path`, by the mount that covers it closest. Whole components count: `/work` is not in `/w`.
pub fn map(mounts: &[Mount], path: &Path) -> Option<PathBuf> {
    if path.components().any(|part| matches!(part, Component::ParentDir)) || !path.is_absolute() {
        return None;
    }
    let covering = mounts.iter().filter_map(|mount| Some((mount, path.strip_prefix(&mount.target).ok()?)));
    let (mount, rest) = covering.max_by_key(|(mount, _)| mount.target.components().count())?;
    // Joining an empty rest would add a slash, which makes a file not be found.
    Some(if rest.as_os_str().is_empty() { mount.source.clone() } else { mount.source.join(rest) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mounts() -> Vec<Mount> {
        let pairs = [
            ("/srv/projects", "/workspaces"),
            ("/mnt/big", "/workspaces/big"),
            ("/var/lib/docker/volumes/home/_data", "/var/lib/nexus"),
        ];
        pairs.map(|(source, target)| Mount { source: source.into(), target: target.into() }).into()
    }

    #[test]
    fn the_closest_mount_covers_a_path() {
        for (path, expect) in [
            ("/workspaces/shop/data", Some("/srv/projects/shop/data")),
            ("/workspaces", Some("/srv/projects")),
            ("/workspaces/big/x", Some("/mnt/big/x")),
            ("/workspaces/bigger", Some("/srv/projects/bigger")),
            ("/var/lib/nexus/stacks", Some("/var/lib/docker/volumes/home/_data/stacks")),
            ("/workspaces2", None),
            ("/etc/passwd", None),
            ("/workspaces/../etc", None),
            ("workspaces/shop", None),
        ] {
            assert_eq!(map(&mounts(), Path::new(path)), expect.map(PathBuf::from), "{path}");
        }
        assert_eq!(Mapping::Same.on_host(Path::new("/a")), Some("/a".into()));
        assert_eq!(Mapping::Foreign.on_host(Path::new("/workspaces/a")), None);
    }

    #[test]
    fn the_container_is_told_by_the_files_the_engine_mounts() {
        let id = "3f".repeat(32);
        let inside = format!(
            "612 611 0:50 / / rw - overlay overlay rw\n\
             640 612 8:1 /var/lib/docker/containers/{id}/resolv.conf /etc/resolv.conf rw - ext4 /dev/sda1 rw\n"
        );
        assert_eq!(container_id(&inside), Some(id.clone()));
        let podman =
            format!("1 2 0:5 /containers/overlay-containers/{id}/userdata/hosts /etc/hosts rw - ext4 x rw\n");
        assert_eq!(container_id(&podman), Some(id.clone()));
        // A host sees the file systems of all its containers, and is none of them.
        let host = format!("700 30 0:60 / /var/lib/docker/overlay2/{id}/merged rw - overlay overlay rw\n");
        assert_eq!(container_id(&host), None);
        assert_eq!(container_id(""), None);
    }
}
