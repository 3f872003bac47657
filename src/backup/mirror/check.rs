//! Proves that the snapshots of a mirror are whole: each file of each manifest lies where it should with its size, and
//! with `read` is what was written, byte for byte.

use std::collections::HashMap;
use std::collections::HashSet;

use super::manifest;
use super::manifest::Entry;
use super::manifest::Kind;
use super::manifest::Stored;
use super::name;
use super::name::Names;
use super::name::Stamp;
use super::read;
use super::read::Replaced;
use super::run::Mirror;
use crate::backup::objects::Objects;
use crate::backup::trouble::Cause;
use crate::backup::trouble::Trouble;

/// So many findings are listed.
const LISTED: usize = 200;
/// Objects are read in such pieces.
const PIECE: u64 = 8 << 20;

/// Of whom there are manifests at a destination.
///
/// # Errors
/// When they cannot be listed.
pub async fn owners(objects: &Objects) -> Result<Vec<Names>, Trouble> {
    let listed = objects.list(name::MANIFESTS).await?;
    let mut owners: Vec<Names> = Vec::new();
    for (names, _) in listed.iter().filter_map(|one| Names::parse_manifest(&one.key)) {
        if !owners.contains(&names) {
            owners.push(names);
        }
    }
    Ok(owners)
}

/// What lies at the destination of one workspace.
struct There {
    sizes: HashMap<String, u64>,
    replaced: Replaced,
    /// Keys whose content was read and proved, with the hash it has.
    read: HashMap<String, blake3::Hash>,
}

impl Mirror {
    /// What is not whole of the snapshots of a workspace.
    ///
    /// # Errors
    /// When that cannot be found out.
    pub async fn check(&self, read: bool) -> Result<Vec<String>, Trouble> {
        let mut sizes = HashMap::new();
        for prefix in [self.names.files(), self.names.all_replaced()] {
            let listed = self.objects.list(&prefix).await?;
            sizes.extend(listed.into_iter().map(|one| (format!("{prefix}/{}", one.key), one.size)));
        }
        let mut there = There { sizes, replaced: self.replaced().await?, read: HashMap::new() };
        let mut found = Vec::new();
        let mut said = HashSet::new();
        for at in self.stamps().await? {
            let bytes = self.objects.get(&self.names.manifest(at)).await?;
            let reader = match manifest::Reader::open(bytes) {
                Ok(reader) => reader,
                Err(wrong) => {
                    found.push(format!("the manifest of `{}` at {at}: {wrong}", self.names.folder()));
                    continue;
                }
            };
            for entry in reader {
                let finding = match entry {
                    Ok(Entry { path, kind: Kind::File(stored), .. }) => {
                        let bad = self.find(&mut there, &Names::part(&path), &stored, at, read).await?;
                        // What several snapshots share is said once.
                        let new = bad.is_some() && said.insert((path.clone(), stored.since));
                        bad.filter(|_| new)
                            .map(|bad| format!("`{}` of `{}` at {at}: {bad}", path, self.names.folder()))
                    }
                    Ok(_) => None,
                    Err(wrong) => Some(format!("the manifest of `{}` at {at}: {wrong}", self.names.folder())),
                };
                found.extend(finding.filter(|_| found.len() < LISTED));
            }
        }
        Ok(found)
    }

    /// What is wrong with a version of a file, if something is.
    async fn find(
        &self,
        there: &mut There,
        part: &str,
        stored: &Stored,
        at: Stamp,
        read: bool,
    ) -> Result<Option<&'static str>, Trouble> {
        let mut wrong = "it is missing";
        for key in read::candidates(&self.names, &there.replaced, part, at) {
            match there.sizes.get(&key) {
                None => continue,
                Some(size) if *size != stored.size => {
                    wrong = "its size is not the one that was written";
                    continue;
                }
                Some(_) if !read => return Ok(None),
                Some(_) => {}
            }
            let hash = match there.read.get(&key) {
                Some(hash) => *hash,
                None => match self.hash(&key, stored.size).await {
                    Ok(hash) => hash,
                    Err(trouble) if matches!(trouble.cause, Cause::Missing | Cause::Damaged) => continue,
                    Err(trouble) => return Err(trouble),
                },
            };
            there.read.insert(key, hash);
            if hash == stored.hash {
                return Ok(None);
            }
            wrong = "its content is not what was written";
        }
        Ok(Some(wrong))
    }

    async fn hash(&self, key: &str, size: u64) -> Result<blake3::Hash, Trouble> {
        let mut hasher = blake3::Hasher::new();
        let mut offset = 0;
        while offset < size {
            if self.stop.is_cancelled() {
                return Err(Trouble::new(Cause::Stopped, "go on", ""));
            }
            let length = PIECE.min(size - offset);
            hasher.update(&self.objects.get_range(key, offset, length).await?);
            offset += length;
        }
        Ok(hasher.finalize())
    }
}
