//! A side of a session on a disk in memory, and who speaks to it.

use std::time::Duration;

use nexus_agent::disk::sim::SimDisk;
use nexus_agent::entry::Digest;
use nexus_agent::inquiry::Question;
use nexus_agent::look;
use nexus_agent::look::Look;
use nexus_agent::message::Order;
use nexus_agent::message::ToSide;
use nexus_agent::path::RelPath;
use nexus_agent::reconcile::Side;
use nexus_agent::replica::Replica;
use nexus_agent::rules;
use nexus_agent::rules::Rules;
use nexus_agent::tree::Item;
use nexus_agent::versions;
use nexus_agent::versions::Versions;
use nexus_agent::wire::ToAgent;

use crate::Bytes;
use crate::as_frames;
use crate::messages;

/// A folder with a little in it, which a side looks after.
pub(crate) fn side(side: Side) -> (SimDisk, Replica<SimDisk, Bytes>) {
    let disk = SimDisk::new(1);
    disk.user(|volume| {
        volume.make_directory("dir").expect("there is room");
        volume.write("dir/a", b"one").expect("there is room");
        volume.write("b", &[7; 100_000]).expect("there is room");
        volume.write("c", &[8; 600_000]).expect("there is room");
        volume.link("link", b"dir/a").expect("there is room");
        volume.advance(20_000_000_000);
    });
    let versions = Versions::open(&disk, Bytes::new(&[]), side, versions::Limits::default());
    let versions = versions.expect("nothing fails");
    let rules = Rules::new(rules::Settings::default()).expect("the defaults are rules");
    (disk.clone(), Replica::new(disk, Look::new(look::Settings::default(), rules), versions))
}

/// What a node may say to an agent: the container's side does it, or ends the connection.
pub fn frames_to_agent(data: &[u8]) {
    as_frames(data);
    let (disk, mut replica) = side(Side::Beta);
    let mut said = Vec::new();
    let now = Duration::from_secs(1);
    for message in messages::<ToAgent>(data) {
        match message {
            ToAgent::Side(message) => {
                if replica.hear(message, &mut (), now, &mut said).is_err() {
                    replica.detach();
                }
            }
            ToAgent::Ask { question, .. } => {
                let writes = matches!(question, Question::Undo { .. });
                replica.answer(question, &mut (), now, &mut said);
                if writes {
                    disk.user(|volume| volume.advance(1_000_000));
                }
            }
            ToAgent::Keep(_) | ToAgent::Settled => {}
        }
        // Nobody waits here for room: what is said is let go of at once.
        said.clear();
    }
}

/// The list of a version store after something was displaced.
pub fn displaced() -> Vec<u8> {
    let disk = SimDisk::new(1);
    disk.user(|volume| volume.write("b", b"old").expect("there is room"));
    let medium = Bytes::new(&[]);
    let versions = Versions::open(&disk, medium.clone(), Side::Beta, versions::Limits::default());
    let rules = Rules::new(rules::Settings::default()).expect("the defaults are rules");
    let look = Look::new(look::Settings::default(), rules);
    let mut replica = Replica::new(disk.clone(), look, versions.expect("nothing fails"));
    let (mut said, now) = (Vec::new(), Duration::from_secs(60));
    disk.user(|volume| volume.advance(60_000_000_000));
    replica.hear(ToSide::Attach { have: Digest([0; 32]) }, &mut (), now, &mut said).expect("it makes sense");
    let path = RelPath::parse(b"b").expect("it is a path");
    let expected = replica.tree().get(Some(&path)).map(Item::digest);
    let orders = vec![Order { path: Some(path), expected, new: None }];
    replica.hear(ToSide::Apply { batch: 1, orders }, &mut (), now, &mut said).expect("it makes sense");
    medium.get().clone()
}

/// What a version store makes of its list.
pub fn versions(data: &[u8]) {
    let disk = SimDisk::new(1);
    let medium = Bytes::new(data);
    let limits = versions::Limits::default();
    let open = |medium| Versions::open(&disk, medium, Side::Alpha, limits).expect("it can be read");
    let mut store = open(medium.clone());
    let before: Vec<_> = store.all().cloned().collect();
    store.settle(&disk).ok();
    for version in &before {
        store.place(version.id);
        if let Some(path) = &version.path {
            store.undo_path(path);
        }
        store.undo_batch(version.batch);
    }
    store.prune(&disk, 0).expect("nothing fails");
    drop(store);
    drop(open(medium));
}
