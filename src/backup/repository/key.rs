//! What opens a destination's repository, kept in the node's home with mode 0600.
//!
//! The recovery password is what a person needs to get everything back without this machine; the master key is what the
//! node itself uses, because deriving it from the password takes time and memory each time. The password
//! is on the disk before the repository exists: there is never a repository that nobody can open.

use std::io;
use std::path::Path;

use aes256ctr_poly1305aes::Aes256CtrPoly1305Aes;
use aes256ctr_poly1305aes::Key;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use rustic_core::repofile::MasterKey;
use serde::Deserialize;
use serde::Serialize;

use super::lock;
use crate::backup::trouble::Cause;
use crate::backup::trouble::Trouble;
use crate::base::files;
use crate::base::ids;
use crate::base::sealed::Sealed;

/// Eight groups of five characters of 5 bits: 200 bits.
const GROUPS: usize = 8;
const GROUP: usize = 5;

/// What it costs to try a password: restic's own, 32 MiB. What rustic takes is four times that, which shows in the first
/// backup of a small machine; the passwords are random and too long to be tried at any cost.
const COST_BITS: u8 = 15;
const BLOCKS: u32 = 8;
const LANES: u32 = 1;

/// A key as restic keeps it beside a repository.
#[derive(Serialize)]
struct Locked {
    created: Timestamp,
    username: &'static str,
    hostname: &'static str,
    kdf: &'static str,
    #[serde(rename = "N")]
    cost: u32,
    r: u32,
    p: u32,
    data: String,
    salt: String,
}

/// The object that gives the master key to whoever has the password: what it is called and what it holds.
///
/// # Errors
/// When the master key is none.
pub fn locked(
    password: &Sealed<String>,
    master: &MasterKey,
    now: Timestamp,
) -> Result<(String, Vec<u8>), Trouble> {
    let failed = |detail: &str| Trouble::new(Cause::Other, "lock the key with the password", detail);
    let (mut salt, mut key) = ([0; 64], [0; 64]);
    getrandom::fill(&mut salt).expect("the kernel gives random bytes");
    let cost = scrypt::Params::new(COST_BITS, BLOCKS, LANES).map_err(|error| failed(&error.to_string()))?;
    scrypt::scrypt(password.reveal().as_bytes(), &salt, &cost, &mut key)
        .map_err(|error| failed(&error.to_string()))?;
    let master = serde_json::to_vec(master).map_err(|error| failed(&error.to_string()))?;
    let cipher = Aes256CtrPoly1305Aes::new(Key::from_slice(&key));
    let locked = Locked {
        created: now,
        username: "nexus",
        hostname: "nexus",
        kdf: "scrypt",
        cost: 1 << COST_BITS,
        r: BLOCKS,
        p: LANES,
        data: STANDARD.encode(lock::seal(&cipher, &master)),
        salt: STANDARD.encode(salt),
    };
    let bytes = serde_json::to_vec(&locked).map_err(|error| failed(&error.to_string()))?;
    Ok((lock::name(&bytes), bytes))
}

/// What opens a repository.
#[derive(Debug, Clone)]
pub struct Keys {
    /// The recovery password.
    pub password: Sealed<String>,
    /// The master key, once it is known.
    pub master: Option<Sealed<MasterKey>>,
}

/// The file. A field that an old node does not know it leaves out when it writes; there are none yet.
#[derive(Serialize, Deserialize)]
struct File {
    password: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    master: Option<MasterKey>,
}

impl Keys {
    /// A new password, which opens nothing yet.
    pub fn random() -> Self {
        let groups: Vec<String> = (0..GROUPS).map(|_| ids::random(GROUP)).collect();
        Self { password: Sealed::new(groups.join("-")), master: None }
    }

    /// The keys in a file; `None` when there is none.
    ///
    /// # Errors
    /// When it cannot be read or is damaged.
    pub fn load(path: &Path) -> io::Result<Option<Self>> {
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let file: File = serde_json::from_slice(&text).map_err(|_| {
            io::Error::new(io::ErrorKind::InvalidData, format!("{} is damaged", path.display()))
        })?;
        Ok(Some(Self { password: Sealed::new(file.password), master: file.master.map(Sealed::new) }))
    }

    /// Writes the file whole, readable by its owner alone.
    ///
    /// # Errors
    /// When it is not on the disk.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        let file = File {
            password: self.password.reveal().clone(),
            master: self.master.as_ref().map(|master| master.reveal().clone()),
        };
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
        files::replace(path, &serde_json::to_vec(&file).map_err(io::Error::other)?)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn keys_come_back_and_nobody_else_reads_them() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys/local.json");
        assert!(Keys::load(&path).unwrap().is_none());
        let mut keys = Keys::random();
        keys.save(&path).unwrap();
        keys.master = Some(Sealed::new(MasterKey::new()));
        keys.save(&path).unwrap();
        let again = Keys::load(&path).unwrap().unwrap();
        assert_eq!(again.password.reveal(), keys.password.reveal());
        assert_eq!(again.master.unwrap().reveal().encrypt, keys.master.unwrap().reveal().encrypt);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!format!("{:?}", Keys::random()).contains('-'));
        std::fs::write(&path, "{").unwrap();
        assert!(Keys::load(&path).is_err(), "damaged is not absent");
    }
}
