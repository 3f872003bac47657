//! The files of a project, for who adapts its compose file: opened beneath the project, links followed only inside.

use std::fs::File;
use std::io;
use std::io::Read as _;
use std::path::Path;

use crate::base::files::open_inside;
use crate::compose::Entry;
use crate::compose::Files;
use crate::compose::Text;
use crate::compose::View;
use crate::engine::mounts::Mapping;

/// The most that is read of one file.
const TEXT_MAX: u64 = 1 << 20;

/// A project folder.
pub struct Project<'a> {
    folder: &'a Path,
}

impl<'a> Project<'a> {
    /// The project in this folder.
    pub fn new(folder: &'a Path) -> Self {
        Self { folder }
    }
}

impl Files for Project<'_> {
    fn entry(&self, path: &str) -> Entry {
        match open_inside(self.folder, Path::new(path), false).and_then(|file| file.metadata()) {
            Ok(metadata) if metadata.is_file() => Entry::File,
            Ok(metadata) if metadata.is_dir() => Entry::Directory,
            Ok(_) => Entry::Unreadable("neither a file nor a directory".to_owned()),
            Err(error) if is_absent(&error) => Entry::Absent,
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => Entry::Outside,
            Err(error) => Entry::Unreadable(error.to_string()),
        }
    }

    fn text(&self, path: &str) -> Text {
        match open_inside(self.folder, Path::new(path), true).and_then(read) {
            Ok(bytes) if bytes.len() as u64 > TEXT_MAX => {
                Text::Unreadable("it is larger than a mebibyte".to_owned())
            }
            Ok(bytes) => String::from_utf8(bytes)
                .map_or_else(|_| Text::Unreadable("it is not text in UTF-8".to_owned()), Text::Present),
            Err(error) if is_absent(&error) => Text::Absent,
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                Text::Unreadable("a link that leads out of the project".to_owned())
            }
            Err(error) => Text::Unreadable(error.to_string()),
        }
    }
}

fn read(file: File) -> io::Result<Vec<u8>> {
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(TEXT_MAX + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// How the node's paths relate to the engine's, in the words of the compose room.
pub fn view(mapping: &Mapping) -> View {
    match mapping {
        Mapping::Same => View::Same,
        Mapping::Mounts(mounts) => View::Through(mounts.clone()),
        Mapping::Foreign => View::Through(Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_are_followed_inside_and_never_out() {
        let directory = tempfile::tempdir().unwrap();
        let folder = directory.path().join("project");
        fs::create_dir_all(folder.join("sub")).unwrap();
        fs::write(folder.join("sub/a"), "text").unwrap();
        fs::write(folder.join("binary"), [0xff, 0xfe]).unwrap();
        fs::write(directory.path().join("secret"), "s").unwrap();
        symlink("sub/a", folder.join("inside")).unwrap();
        symlink("../secret", folder.join("outside")).unwrap();
        symlink("/etc", folder.join("etc")).unwrap();
        symlink("loop", folder.join("loop")).unwrap();
        let project = Project::new(&folder);

        assert_eq!(project.entry(""), Entry::Directory);
        assert_eq!(project.entry("sub"), Entry::Directory);
        assert_eq!(
            (project.entry("inside"), project.text("inside")),
            (Entry::File, Text::Present("text".into()))
        );
        for out in ["outside", "etc", "etc/passwd"] {
            assert_eq!(project.entry(out), Entry::Outside, "{out}");
            assert!(matches!(project.text(out), Text::Unreadable(_)), "{out}");
        }
        for absent in ["no", "no/deeper", "sub/a/deeper"] {
            assert_eq!(
                (project.entry(absent), project.text(absent)),
                (Entry::Absent, Text::Absent),
                "{absent}"
            );
        }
        for unreadable in ["loop", "binary", "sub"] {
            assert!(matches!(project.text(unreadable), Text::Unreadable(_)), "{unreadable}");
        }
        assert!(matches!(project.entry("loop"), Entry::Unreadable(_)));
    }
}
