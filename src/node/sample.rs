//! The sample workspace: the first start of a node whose watched directory is empty puts `hello` there, once.

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

/// Puts the sample there unless this node did so before or somebody else's folders are there.
pub async fn place(store: &Store, directory: &Path) -> Result<(), Error> {
    if !store.first_time("sample").await? {
        return Ok(());
    }
    let io = |source| Error::Directory { path: directory.to_owned(), source };
    if std::fs::read_dir(directory).map_err(io)?.next().is_some() {
        return Ok(());
    }
    // Under a hidden name first, so that nobody sees half of it.
    let hidden = tempfile::Builder::new().prefix(".hello-").tempdir_in(directory).map_err(io)?;
    for (name, content) in FILES {
        std::fs::write(hidden.path().join(name), content).map_err(io)?;
    }
    let hidden = hidden.keep();
    std::fs::set_permissions(&hidden, std::os::unix::fs::PermissionsExt::from_mode(0o755)).map_err(io)?;
    std::fs::rename(hidden, directory.join(NAME)).map_err(io)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_placed_once_and_only_into_an_empty_directory() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(&home.path().join("nexus.db")).unwrap();
        let projects = tempfile::tempdir().unwrap();
        place(&store, projects.path()).await.unwrap();
        let sample = projects.path().join(NAME);
        assert!(sample.join("index.html").is_file());
        std::fs::remove_dir_all(&sample).unwrap();
        place(&store, projects.path()).await.unwrap();
        assert!(!sample.exists(), "its owner removed it");
    }
}
