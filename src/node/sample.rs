//! The sample workspace: the first start of a node whose watched directory is empty puts `hello` there, once.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::fs::chown;
use std::path::Path;

use super::Error;
use crate::store::Store;

const NAME: &str = "hello";
const FILES: [(&str, &[u8]); 4] = [
    ("index.html", include_bytes!("hello/index.html")),
    ("style.css", include_bytes!("hello/style.css")),
    ("icon.svg", include_bytes!("hello/icon.svg")),
    ("package.json", include_bytes!("hello/package.json")),
];

/// Puts the sample there unless this node did so before or somebody else's folders are there. It belongs to whom the
/// directory belongs to.
pub async fn place(store: &Store, directory: &Path) -> Result<(), Error> {
    if !store.first_time("sample").await? {
        return Ok(());
    }
    let io = |source| Error::Directory { path: directory.to_owned(), source };
    let mut entries = std::fs::read_dir(directory).map_err(io)?;
    if entries.any(|entry| entry.is_ok_and(|entry| !is_hidden(&entry.file_name()))) {
        return Ok(());
    }
    // Under a hidden name first, so that nobody sees half of it.
    let hidden = tempfile::Builder::new().prefix(".hello-").tempdir_in(directory).map_err(io)?;
    for (name, content) in FILES {
        std::fs::write(hidden.path().join(name), content).map_err(io)?;
    }
    let hidden = hidden.keep();
    std::fs::set_permissions(&hidden, std::fs::Permissions::from_mode(0o755)).map_err(io)?;
    let owner = std::fs::metadata(directory).map_err(io)?;
    let files = FILES.iter().map(|(name, _)| hidden.join(name));
    for path in files.chain([hidden.clone()]) {
        // A node that may not give files away keeps them: they can be read all the same.
        let _given = chown(path, Some(owner.uid()), Some(owner.gid()));
    }
    std::fs::rename(hidden, directory.join(NAME)).map_err(io)
}

fn is_hidden(name: &OsStr) -> bool {
    name.as_bytes().starts_with(b".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_placed_once_and_only_into_an_empty_directory() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(&home.path().join("nexus.db")).unwrap();
        let projects = tempfile::tempdir().unwrap();
        std::fs::write(projects.path().join(".gitkeep"), "").unwrap();
        // Only root can give files away.
        let other = chown(projects.path(), Some(1000), Some(1000)).is_ok();
        place(&store, projects.path()).await.unwrap();
        let sample = projects.path().join(NAME);
        let page = std::fs::metadata(sample.join("index.html")).unwrap();
        assert!(!other || (page.uid(), page.gid()) == (1000, 1000), "{page:?}");
        assert_eq!(std::fs::metadata(&sample).unwrap().uid(), page.uid());
        std::fs::remove_dir_all(&sample).unwrap();
        place(&store, projects.path()).await.unwrap();
        assert!(!sample.exists(), "its owner removed it");
    }
}
