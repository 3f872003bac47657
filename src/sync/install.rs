//! Puts the agent where containers find it: on a read-only volume, filled from an image of our own.
//!
//! The image is made from the agent's binary by the node itself and never runs. Its two empty folders belong to the
//! user that containers run as, and give fresh source and state volumes that owner, whatever image they are used with.
//! Version and content are in both names, so a new node never changes what running containers use.

use std::io;
use std::path::Path;
use std::path::PathBuf;

use bytes::Bytes;
use bytes::BytesMut;

use crate::base::fault;
use crate::engine;
use crate::engine::Engine;
use crate::engine::Labels;
use crate::engine::Whole;

/// The user that containers run as, and its group.
const USER: u32 = 1000;
/// Where the agent's volume is mounted.
const AGENT: &str = "/nexus";
/// Where a container's copy of the source is mounted.
const SOURCE: &str = "/workspace";
/// Where the agent's state is mounted.
const STATE: &str = "/nexus-state";

/// The agent this node brings into containers.
#[derive(Debug, Clone)]
pub struct Agent {
    binary: PathBuf,
    tag: String,
}

/// Why the agent cannot be installed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// Its binary is not there.
    #[error("the agent's binary `{}` cannot be read", binary.display())]
    Binary {
        /// Where it should be.
        binary: PathBuf,
        /// What the kernel says.
        #[source]
        source: io::Error,
    },
    /// The engine refuses.
    #[error("the agent cannot be installed")]
    Engine(#[source] engine::Error),
}

impl fault::Explain for InstallError {
    fn kind(&self) -> fault::Kind {
        match self {
            Self::Binary { .. } => fault::Kind::Unavailable,
            Self::Engine(error) => error.kind(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Binary { .. } => Some("set `NEXUS_AGENT` to the path of `nexus-agent`".to_owned()),
            Self::Engine(error) => error.hint(),
        }
    }
}

impl Agent {
    /// The agent at `binary`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn load(binary: &Path) -> Result<Self, InstallError> {
        let content = read(binary)?;
        let digest = blake3::hash(&content).to_hex();
        let tag = format!("{}-{}", env!("CARGO_PKG_VERSION"), &digest[..12]);
        Ok(Self { binary: binary.to_owned(), tag })
    }

    /// The name of the volume that holds it.
    pub fn volume(&self) -> String {
        format!("nexus-agent-{}", self.tag)
    }

    /// The name of the image it is put there from.
    pub fn image(&self) -> String {
        format!("nexus/agent:{}", self.tag)
    }

    /// Makes sure that image and volume are there. Done again it changes nothing.
    ///
    /// # Errors
    /// See [`InstallError`].
    pub async fn install(&self, engine: &dyn Engine, labels: &Labels) -> Result<(), InstallError> {
        let image = self.image();
        let content = Bytes::from(read(&self.binary)?);
        let archive = archive(&content);
        if engine.image(&image).await.map_err(InstallError::Engine)?.is_none() {
            engine.import_image(&image, archive.clone()).await.map_err(InstallError::Engine)?;
        }
        let whole = Whole { path: format!("{AGENT}/nexus-agent"), content, archive };
        engine
            .seed_volume(&self.volume(), labels, &image, AGENT, Some(whole))
            .await
            .map_err(InstallError::Engine)
    }

    /// Makes a volume for a container's copy of the source, owned by the user it runs as.
    ///
    /// # Errors
    /// As the engine says.
    pub async fn source_volume(
        &self,
        engine: &dyn Engine,
        volume: &str,
        labels: &Labels,
    ) -> Result<(), engine::Error> {
        engine.seed_volume(volume, labels, &self.image(), SOURCE, None).await
    }

    /// Makes a volume for the agent's state in one container, owned by the user it runs as.
    ///
    /// # Errors
    /// As the engine says.
    pub async fn state_volume(
        &self,
        engine: &dyn Engine,
        volume: &str,
        labels: &Labels,
    ) -> Result<(), engine::Error> {
        engine.seed_volume(volume, labels, &self.image(), STATE, None).await
    }
}

fn read(binary: &Path) -> Result<Vec<u8>, InstallError> {
    std::fs::read(binary).map_err(|source| InstallError::Binary { binary: binary.to_owned(), source })
}

/// The image's root file system as a tar archive (POSIX.1-1988 ustar, the little of it that is needed).
fn archive(binary: &[u8]) -> Bytes {
    let mut tar = BytesMut::with_capacity(binary.len() + 8 * 1024);
    entry(&mut tar, "nexus/", b'5', 0o755, 0, &[]);
    entry(&mut tar, "nexus/nexus-agent", b'0', 0o755, 0, binary);
    entry(&mut tar, "workspace/", b'5', 0o755, USER, &[]);
    entry(&mut tar, "nexus-state/", b'5', 0o755, USER, &[]);
    // Two empty blocks end an archive.
    tar.resize(tar.len() + 1024, 0);
    tar.freeze()
}

fn entry(tar: &mut BytesMut, name: &str, kind: u8, mode: u32, owner: u32, content: &[u8]) {
    let mut header = [0_u8; 512];
    let mut field = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    field(0, name);
    field(100, &format!("{mode:07o}"));
    field(108, &format!("{owner:07o}"));
    field(116, &format!("{owner:07o}"));
    field(124, &format!("{:011o}", content.len()));
    field(136, "00000000000");
    // The checksum is taken with spaces in its own place.
    field(148, "        ");
    field(257, "ustar\x0000");
    header[156] = kind;
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    tar.extend_from_slice(&header);
    tar.extend_from_slice(content);
    tar.resize(tar.len().next_multiple_of(512), 0);
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn the_archive_is_one_that_tar_reads() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("agent.tar");
        std::fs::write(&file, archive(&[7; 1000])).unwrap();
        let listed = Command::new("tar").arg("-tvf").arg(&file).arg("--numeric-owner").output().unwrap();
        let text = String::from_utf8(listed.stdout).unwrap();
        let fields: Vec<String> = text
            .lines()
            .map(|line| {
                let words: Vec<_> = line.split_whitespace().collect();
                format!("{} {} {} {}", words[0], words[1], words[2], words[5])
            })
            .collect();
        assert_eq!(
            fields,
            [
                "drwxr-xr-x 0/0 0 nexus/",
                "-rwxr-xr-x 0/0 1000 nexus/nexus-agent",
                "drwxr-xr-x 1000/1000 0 workspace/",
                "drwxr-xr-x 1000/1000 0 nexus-state/",
            ]
        );
    }
}
