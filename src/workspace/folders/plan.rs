//! Pairs the folders that are there with the workspaces that are known, and gives each a name. Pure.
//!
//! A folder keeps its workspace by name first, by identity (device and inode) second: so a rename is followed, and a
//! folder that is deleted and copied back is the same workspace again. Nothing here ever removes a workspace: a folder
//! that is gone leaves its workspace without one, and that is for the worker to show.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::base::ids::WorkspaceId;
use crate::model::project::FolderIdentity;
use crate::model::workspace::Name;
use crate::model::workspace::NameError;
use crate::store::workspace::Desired;
use crate::store::workspace::Record;

/// A row to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A folder nobody knew.
    New(Record),
    /// A known workspace whose folder has another name or identity now, or came back from the trash.
    Moved(Record),
}

/// What must be written so that every folder has its workspace.
pub fn changes(
    records: &[Record],
    folders: &BTreeMap<String, FolderIdentity>,
    now: Timestamp,
) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut unclaimed: BTreeMap<&String, FolderIdentity> =
        folders.iter().map(|(name, id)| (name, *id)).collect();
    let mut lost = Vec::new();
    for record in records.iter().filter(|record| record.desired != Desired::Removed) {
        match unclaimed.remove(&record.folder) {
            Some(identity) if identity == record.identity => {}
            Some(identity) => {
                changes.push(Change::Moved(Record { identity, updated_at: now, ..record.clone() }))
            }
            None => lost.push(record),
        }
    }
    // What was taken out of the trash is the workspace it was; anything else that is gone waits for its folder.
    let gone = records.iter().filter(|record| record.desired == Desired::Removed);
    for record in lost.into_iter().chain(gone) {
        let found = unclaimed.iter().find(|(_, identity)| **identity == record.identity);
        let Some(folder) = found.map(|(name, _)| (*name).clone()) else { continue };
        unclaimed.remove(&folder);
        let desired = if record.desired == Desired::Removed { Desired::Run } else { record.desired };
        changes.push(Change::Moved(Record {
            folder,
            desired,
            trash: None,
            updated_at: now,
            ..record.clone()
        }));
    }
    changes.extend(
        unclaimed.into_iter().map(|(folder, identity)| Change::New(Record::new(folder, identity, now))),
    );
    changes
}

/// What a workspace is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Called {
    /// As its folder.
    AsFolder(Name),
    /// Close to its folder, whose name cannot be a route.
    Close {
        /// The route.
        name: Name,
        /// Why the folder's own name will not do.
        why: String,
    },
    /// Nothing; it answers nowhere until its folder is renamed.
    Not {
        /// What is wrong.
        message: String,
        /// What to do.
        hint: String,
    },
}

impl Called {
    /// The route, if there is one.
    pub fn route(&self) -> Option<&Name> {
        match self {
            Self::AsFolder(name) | Self::Close { name, .. } => Some(name),
            Self::Not { .. } => None,
        }
    }
}

/// Names every workspace that is not removed. A folder whose own name will do always gets it; among those that need
/// another one, the older workspace wins.
pub fn call(records: &[Record]) -> BTreeMap<WorkspaceId, Called> {
    let mut called = BTreeMap::new();
    let mut taken: BTreeMap<Name, &str> = BTreeMap::new();
    let mut others = Vec::new();
    for record in records.iter().filter(|record| record.desired != Desired::Removed) {
        match Name::parse(&record.folder) {
            Ok(name) => {
                taken.insert(name.clone(), &record.folder);
                called.insert(record.id.clone(), Called::AsFolder(name));
            }
            Err(error) => others.push((record, error)),
        }
    }
    others.sort_by_key(|(record, _)| (record.created_at, record.folder.clone()));
    for (record, error) in others {
        let one = close(&record.folder, &error, &taken);
        if let Called::Close { name, .. } = &one {
            taken.insert(name.clone(), &record.folder);
        }
        called.insert(record.id.clone(), one);
    }
    called
}

fn close(folder: &str, error: &NameError, taken: &BTreeMap<Name, &str>) -> Called {
    let suggestion = error.suggestion().and_then(|text| Name::parse(&text).ok());
    let not = |message: String| {
        let free = suggestion.as_ref().filter(|name| !taken.contains_key(*name));
        let hint = match free {
            Some(name) => format!("rename the folder, for example to `{name}`"),
            None if suggestion.is_some() => "rename one of the two".to_owned(),
            None => "rename the folder, using a-z, 0-9 and -".to_owned(),
        };
        Called::Not { message, hint }
    };
    // Reserved words and a leading `_` are the node's own; a name cut short would surprise. Those stay unnamed.
    if !matches!(error, NameError::Character { .. }) || folder.starts_with('_') {
        return not(error.to_string());
    }
    match &suggestion {
        None => not(error.to_string()),
        Some(name) => match taken.get(name) {
            Some(other) => not(format!("the folders `{folder}` and `{other}` would both be `/{name}/`")),
            None => Called::Close { name: name.clone(), why: error.to_string() },
        },
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn identity(inode: u64) -> FolderIdentity {
        FolderIdentity { device: 1, inode }
    }

    fn known(folder: &str, inode: u64) -> Record {
        Record::new(folder, identity(inode), at(1))
    }

    fn seen(folders: &[(&str, u64)]) -> BTreeMap<String, FolderIdentity> {
        folders.iter().map(|(name, inode)| ((*name).to_owned(), identity(*inode))).collect()
    }

    #[test]
    fn a_new_folder_is_a_new_workspace_that_wants_to_run() {
        let made = changes(&[known("a", 1)], &seen(&[("a", 1), ("b", 2)]), at(2));
        let [Change::New(record)] = made.as_slice() else { panic!("{made:?}") };
        assert_eq!((record.folder.as_str(), record.desired), ("b", Desired::Run));
    }

    #[test]
    fn a_rename_keeps_the_workspace() {
        let a = known("a", 1);
        let made = changes(std::slice::from_ref(&a), &seen(&[("b", 1)]), at(2));
        let [Change::Moved(record)] = made.as_slice() else { panic!("{made:?}") };
        assert_eq!((&record.id, record.folder.as_str()), (&a.id, "b"));
    }

    #[test]
    fn a_folder_that_comes_back_under_its_name_is_the_same_workspace() {
        let a = known("a", 1);
        assert_eq!(changes(std::slice::from_ref(&a), &seen(&[]), at(2)), []);
        let made = changes(std::slice::from_ref(&a), &seen(&[("a", 9)]), at(3));
        let [Change::Moved(record)] = made.as_slice() else { panic!("{made:?}") };
        assert_eq!((&record.id, record.identity), (&a.id, identity(9)));
    }

    #[test]
    fn what_is_taken_out_of_the_trash_runs_again() {
        let gone =
            Record { desired: Desired::Removed, folder: ".nexus-trash/a-1".to_owned(), ..known("a", 1) };
        let made = changes(std::slice::from_ref(&gone), &seen(&[("a", 1)]), at(2));
        let [Change::Moved(record)] = made.as_slice() else { panic!("{made:?}") };
        assert_eq!((&record.id, record.folder.as_str(), record.desired), (&gone.id, "a", Desired::Run));
    }

    #[test]
    fn names_close_to_a_folder_s_are_given_unless_they_clash() {
        let records =
            [known("My App", 1), known("my_app", 2), known("api", 3), known("_x", 4), known("shop", 5)];
        let called = call(&records);
        let of = |index: usize| &called[&records[index].id];
        assert!(matches!(of(0), Called::Close { name, .. } if name.as_str() == "my-app"));
        let Called::Not { message, .. } = of(1) else { panic!("{:?}", of(1)) };
        assert_eq!(message, "the folders `my_app` and `My App` would both be `/my-app/`");
        let Called::Not { hint, .. } = of(2) else { panic!("{:?}", of(2)) };
        assert_eq!(hint, "rename the folder, for example to `api-app`");
        assert!(matches!(of(3), Called::Not { .. }));
        assert!(matches!(of(4), Called::AsFolder(_)));
    }

    proptest! {
        #[test]
        fn no_two_workspaces_share_a_route(folders in proptest::collection::btree_set("[a-cA-C_ .-]{1,4}", 1..20)) {
            let records: Vec<Record> = folders.iter().zip(1..).map(|(folder, inode)| known(folder, inode)).collect();
            let called = call(&records);
            let routes: Vec<&Name> = called.values().filter_map(Called::route).collect();
            let distinct: BTreeSet<&Name> = routes.iter().copied().collect();
            prop_assert_eq!(routes.len(), distinct.len());
        }

        #[test]
        fn applying_the_changes_leaves_none(
            before in proptest::collection::btree_map("[a-e]", 1_u64..8, 0..5),
            after in proptest::collection::btree_map("[a-e]", 1_u64..8, 0..5),
        ) {
            let mut records: Vec<Record> = before.iter().map(|(name, inode)| known(name, *inode)).collect();
            let folders: BTreeMap<String, FolderIdentity> =
                after.iter().map(|(name, inode)| (name.clone(), identity(*inode))).collect();
            for change in changes(&records, &folders, at(2)) {
                match change {
                    Change::New(record) => records.push(record),
                    Change::Moved(moved) => {
                        let slot = records.iter_mut().find(|record| record.id == moved.id);
                        *slot.expect("only known workspaces move") = moved;
                    }
                }
            }
            prop_assert_eq!(changes(&records, &folders, at(3)), vec![]);
        }
    }
}
