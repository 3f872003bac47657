//! Who wrote what, and who is to blame where it is gone.

use std::collections::BTreeSet;

use crate::disk::Slot;
use crate::disk::sim::Random;
use crate::disk::sim::Seen;
use crate::disk::sim::Volume;
use crate::entry::Digest;
use crate::reconcile::Side;
use crate::tree::Change;
use crate::tree::Item;

/// What people have written, and what became of it as far as they are to blame.
#[derive(Default)]
pub(super) struct Oracle {
    /// Whether people write long files, and change a little of them.
    pub(super) large: bool,
    pub(super) serial: u64,
    /// Overwritten or deleted by a person who had it before them.
    pub(super) given_up: BTreeSet<Vec<u8>>,
    pub(super) written: BTreeSet<Vec<u8>>,
    /// What would survive a crash, by side.
    pub(super) durable: [BTreeSet<Vec<u8>>; 2],
    /// Lost in a crash before anybody made it last.
    pub(super) perished: BTreeSet<Vec<u8>>,
}

impl Oracle {
    /// A person does something on one side.
    pub(super) fn edit(&mut self, random: &mut Random, volume: &mut Volume) {
        let path = some_path(random);
        match random.below(12) {
            0..=3 => self.write(random, volume, &path, false),
            4..=6 => self.write(random, volume, &path, true),
            7 => drop(volume.make_directory(&path)),
            8 | 9 => {
                let gone = contents(volume, &path);
                if volume.remove(&path).is_ok() {
                    self.given_up.extend(gone);
                }
            }
            10 => {
                let from = some_path(random);
                let gone = contents(volume, &path);
                let inside = path.starts_with(&format!("{from}/")) || from.starts_with(&format!("{path}/"));
                if from != path && !inside && volume.rename(&from, &path).is_ok() {
                    self.given_up.extend(gone);
                }
            }
            _ => {
                if matches!(volume.see(&path), Some(Seen::File(..))) {
                    drop(volume.set_executable(&path, random.below(2) == 0));
                }
            }
        }
    }

    pub(super) fn write(&mut self, random: &mut Random, volume: &mut Volume, path: &str, save: bool) {
        self.serial += 1;
        let mut content = format!("{} ", self.serial).into_bytes();
        let before = contents(volume, path);
        if self.large {
            self.fill(random, &mut content, before.first());
        } else {
            content.resize([8, 8, 100, 5_000][random.below(4)], b'.');
        }
        let done = if save { volume.save(path, &content) } else { volume.write(path, &content) };
        if done.is_ok() {
            self.given_up.extend(before);
            self.written.insert(content);
        } else if contents(volume, path) != before {
            // A disk that became full while a person wrote.
            self.given_up.extend(before);
        }
    }

    /// Makes a long content of a short one; often it is much of what was there `before`.
    fn fill(&self, random: &mut Random, content: &mut Vec<u8>, before: Option<&Vec<u8>>) {
        match before.filter(|before| before.len() > 1_000 && random.below(4) > 0) {
            Some(before) => {
                // Removed, inserted or changed, somewhere at the beginning and somewhere else.
                let at = 100 + random.below(before.len() - 100);
                let kept = (content.len() + random.below(2) * random.below(50)).min(at);
                content.extend(&before[kept..at]);
                content.extend(self.serial.to_le_bytes());
                let removed = [8, random.below(3_000)][random.below(2)];
                content.extend(&before[(at + removed).min(before.len())..]);
            }
            None => {
                let mut rest = vec![0; [70_000, 300_000, 900_000][random.below(3)]];
                blake3::Hasher::new().update(content).finalize_xof().fill(&mut rest);
                content.extend(rest);
            }
        }
    }

    /// Everything on this side is about to be made to last.
    pub(super) fn synced(&mut self, side: Side, volume: &Volume) {
        self.durable[side as usize] = everything(volume);
    }

    /// What is remembered would survive a crash on both sides, as far as people have not done away with it.
    pub(super) fn recorded(&self, changes: &[Change]) {
        let digests = |contents: &BTreeSet<Vec<u8>>| -> BTreeSet<Digest> {
            contents.iter().map(|content| blake3::hash(content).into()).collect()
        };
        let given_up = digests(&self.given_up);
        for durable in self.durable.iter().map(digests) {
            for (path, item) in
                changes.iter().filter_map(|change| change.item.as_ref()).flat_map(|item| item.walk(None))
            {
                let Item::File(file) = item else { continue };
                let lasts = durable.contains(&file.digest) || given_up.contains(&file.digest);
                assert!(lasts, "{path:?} is remembered and would not survive a crash");
            }
        }
    }

    /// A crash may take what was not made to last, content or name; what the `other` side has it cannot take.
    pub(super) fn crashed(
        &mut self,
        side: Side,
        before: BTreeSet<Vec<u8>>,
        volume: &Volume,
        other: &BTreeSet<Vec<u8>>,
    ) {
        let after = everything(volume);
        let durable = &self.durable[side as usize];
        let taken = before
            .into_iter()
            .filter(|content| [&after, durable, other].iter().all(|held| !held.contains(content)));
        self.perished.extend(taken);
        self.durable[side as usize] = after;
    }
}

pub(super) fn some_path(random: &mut Random) -> String {
    let names = ["a", "b", "c", "d"];
    let mut path = names[random.below(names.len())].to_owned();
    for _ in 0..random.below(3) {
        path.push('/');
        path.push_str(names[random.below(names.len())]);
    }
    path
}

pub(super) fn contents(volume: &Volume, path: &str) -> Vec<Vec<u8>> {
    let inside = format!("{path}/");
    let at = |other: &str| other == path || other.starts_with(&inside);
    let all = volume.see_all().into_iter().filter(|(other, _)| at(other));
    all.filter_map(|(_, seen)| if let Seen::File(content, _) = seen { Some(content) } else { None }).collect()
}

/// Every content a side holds for people, in the folder and beside it. What is coming in is not theirs yet: under such
/// a name is also what a crash leaves of a file somebody wrote into, when it takes the names the file had since.
pub(super) fn everything(volume: &Volume) -> BTreeSet<Vec<u8>> {
    let file = |seen| if let Seen::File(content, _) = seen { Some(content) } else { None };
    let coming = |name: &str, content: &[u8]| {
        let slot = Slot::staged(name.as_bytes());
        matches!(slot, Some(Slot::Part(_))) || slot == Some(Slot::Whole(blake3::hash(content).into()))
    };
    let folder = volume.see_all().into_values().filter_map(file);
    let beside = volume.see_slots().into_iter().filter_map(|(name, seen)| Some((name, file(seen)?)));
    folder
        .chain(beside.filter(|(name, content)| !coming(name, content)).map(|(_, content)| content))
        .collect()
}
