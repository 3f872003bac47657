//! What is fuzzed: each function takes any bytes and must neither panic, nor hang, nor take memory without bound.
//!
//! `scripts/fuzz` builds the targets and runs them from the seeds in `corpus`; the example `seeds` makes those.

mod medium;
mod node;
mod side;

use bytes::BytesMut;
use nexus_agent::delta::outline::Outliner;
use nexus_agent::delta::rsync;
use nexus_agent::journal::Journal;
use nexus_agent::path::RelPath;
use nexus_agent::rules;
use nexus_agent::rules::Rules;
use nexus_agent::tree::Change;
use nexus_agent::tree::Item;
use nexus_agent::tree::Tree;
use nexus_agent::tree::diff;
use nexus_agent::wire;
use nexus_agent::wire::ToAgent;
use nexus_agent::wire::ToNode;
use serde::Deserialize;

pub use medium::Bytes;
pub use node::conversation;
pub use node::frames_to_node;
pub use side::displaced;
pub use side::frames_to_agent;
pub use side::versions;

/// One message after the other, for as long as they decode: a frame around each would only hide them.
fn messages<M: for<'de> Deserialize<'de>>(mut data: &[u8]) -> Vec<M> {
    let mut messages = Vec::new();
    while !data.is_empty()
        && messages.len() < 64
        && let Ok((message, rest)) = postcard::take_from_bytes(data)
    {
        // What takes no bytes would come for ever.
        if rest.len() == data.len() {
            break;
        }
        messages.push(message);
        data = rest;
    }
    messages
}

/// The same bytes as frames, whatever they say.
fn as_frames(data: &[u8]) {
    let mut buffer = BytesMut::from(data);
    while let Ok(Some(_)) = wire::take::<ToAgent>(&mut buffer) {}
    let mut buffer = BytesMut::from(data);
    while let Ok(Some(_)) = wire::take::<ToNode>(&mut buffer) {}
}

/// Items and changes as they come over the wire and out of the journal.
pub fn tree(data: &[u8]) {
    if let Ok(item) = postcard::from_bytes::<Item>(data) {
        let again = postcard::to_allocvec(&item).expect("an item has a form");
        let again: Item = postcard::from_bytes(&again).expect("what was decoded decodes");
        assert_eq!(again.digest(), item.digest());
        if std::env::var_os("NEXUS_FUZZ_PLANTED").is_some() {
            planted(&item);
        }
    }
    if let Ok((before, rest)) = postcard::take_from_bytes::<Vec<Change>>(data)
        && let Ok(after) = postcard::from_bytes::<Vec<Change>>(rest)
    {
        let mut one = Tree::default();
        if one.apply(&before).is_err() {
            assert_eq!(one.root(), None, "what does not fit changes nothing");
        }
        let mut two = one.clone();
        drop(two.apply(&after));
        let mut same = one.clone();
        same.apply(&diff(&one, &two)).expect("a difference fits");
        assert_eq!(same.digest(), two.digest());
    }
}

/// A careless reader of what was decoded: `scripts/fuzz --self-test` sees that its fault is found.
fn planted(item: &Item) {
    for (_, item) in item.walk(None) {
        if let Item::File(file) = item {
            u32::try_from(file.size).expect("the planted fault: no length is longer than 32 bits");
        }
    }
}

/// What a journal makes of a file.
pub fn journal(data: &[u8]) {
    let medium = Bytes::new(data);
    let (mut journal, _) = Journal::open(medium.clone()).expect("it can be read");
    let (tree, bond) = (journal.tree().clone(), journal.bond().copied());
    let Some(bond) = bond else { return };
    journal.rebind(bond);
    journal.commit().expect("there is room");
    let (again, _) = Journal::open(medium).expect("it can be read");
    assert_eq!((again.tree().digest(), again.bond()), (tree.digest(), Some(&bond)));
}

/// Rules, from a `.gitignore` and from a session, and a path they are asked about: separated by zeros.
pub fn rules(data: &[u8]) {
    let mut fields = data.splitn(4, |byte| *byte == 0);
    let mut next = || fields.next().unwrap_or_default();
    let (path, line, info) = (next(), next(), next());
    let text = next();
    let excludes = vec![String::from_utf8_lossy(line).into_owned()];
    let Ok(mut rules) = Rules::new(rules::Settings { excludes, ..rules::Settings::default() }) else {
        return;
    };
    rules.set_info(Some(info));
    rules.set_gitignore(None, Some(text));
    let Ok(path) = RelPath::parse(path) else { return };
    let mut directory = path.parent();
    while let Some(at) = directory {
        rules.set_gitignore(Some(&at), Some(text));
        directory = at.parent();
    }
    for is_directory in [false, true] {
        rules.judge(&path, is_directory);
        rules.keep(&path, is_directory);
        rules.reason(&path, is_directory);
    }
}

/// What is different in a file: an old content, a lie about it, a new one.
pub fn delta(data: &[u8]) {
    let [one, two, rest @ ..] = data else { return };
    let at = |part: u8| usize::from(part) * rest.len() / 255;
    let (first, second) = (at(*one).min(at(*two)), at(*one).max(at(*two)));
    let (old, lie, new) = (&rest[..first], &rest[first..second], &rest[second..]);
    for size in [0, new.len(), 100_000] {
        if let Ok(made) = rsync::patch(old, lie, size) {
            assert_eq!(made.len(), size);
        }
    }
    if let Ok(Some(delta)) = rsync::diff(lie, new) {
        assert!(delta.len() <= new.len());
    }
    if let Some(delta) = rsync::diff(&rsync::sign(old), new).expect("a signature is one") {
        assert_eq!(rsync::patch(old, &delta, new.len()).expect("a difference is one"), new);
    }
    let mut outliner = Outliner::default();
    new.chunks(1 + old.len()).for_each(|part| outliner.update(part));
    assert_eq!(outliner.finish().0, blake3::hash(new).into());
}
