//! Makes the seeds in `corpus` again: what honest ends say and keep, so that what is fuzzed begins with what makes sense.
//!
//! `cargo run --manifest-path agent/fuzz/Cargo.toml --example seeds`, to be run whenever a message or a record changes.

use std::fs;
use std::path::Path;

use nexus_agent::delta::rsync;
use nexus_agent::journal::Bond;
use nexus_agent::journal::Journal;
use nexus_agent::journal::Root;
use nexus_agent::tree::diff;
use nexus_agent_fuzz::Bytes;
use nexus_agent_fuzz::conversation;
use nexus_agent_fuzz::displaced;
use serde::Serialize;

/// Longer seeds teach nothing more.
const LONGEST: usize = 8 * 1024;

fn main() {
    let (to_agent, to_node, tree) = conversation();
    talk("frames_to_agent", &to_agent);
    talk("frames_to_node", &to_node);

    let root = tree.root().expect("there is a folder");
    keep("tree", "item", &encode(root));
    let changes = diff(&Default::default(), &tree);
    let removed = diff(&tree, &Default::default());
    keep("tree", "changes", &[encode(&changes), encode(&removed)].concat());

    let root = Root { device: 1, inode: 2, born: 3, nonce: [4; 16] };
    let medium = Bytes::new(&[]);
    let (mut journal, _) = Journal::open(medium.clone()).expect("memory can be read");
    journal.bind(Bond { alpha: root, beta: root, rules: tree.digest() }).expect("there is room");
    journal.record(changes).expect("it fits");
    journal.commit().expect("there is room");
    journal.record(removed).expect("it fits");
    journal.commit().expect("there is room");
    keep("journal", "commits", &medium.get());

    keep("versions", "displaced", &displaced());

    let ask =
        |path: &str, line: &str, info: &str, text: &str| [path, line, info, text].join("\0").into_bytes();
    keep("rules", "plain", &ask("build/out.log", "*.tmp", "/secret", "*.log\n!keep.log\nbuild/\n"));
    keep(
        "rules",
        "odd",
        &ask("a/b/c[1]", "**/x{1,2}", "\\#a\\ ", "a/**/c*\n[!a-z]?\n[[:alpha:]]\n\\!x\n***\n"),
    );

    let (old, new) = (vec![7; 5_000], [vec![7; 4_000], vec![8; 100], vec![7; 900]].concat());
    let told = rsync::diff(&rsync::sign(&old), &new).expect("a signature is one").expect("it is short");
    for (name, lie) in [("difference", told), ("signature", rsync::sign(&old))] {
        let length = old.len() + lie.len() + new.len();
        let at = |byte: usize| u8::try_from((byte * 255).div_ceil(length)).expect("a share is one byte");
        let cuts = vec![at(old.len()), at(old.len() + lie.len())];
        keep("delta", name, &[cuts, old.clone(), lie, new.clone()].concat());
    }
}

/// All of it, as far as it is short, and each message by itself.
fn talk<M: Serialize>(target: &str, messages: &[M]) {
    let encoded: Vec<_> = messages.iter().map(encode).filter(|message| message.len() < LONGEST / 4).collect();
    let mut all = Vec::new();
    for (number, message) in encoded.iter().enumerate() {
        if all.len() + message.len() < LONGEST {
            all.extend(message);
            keep(target, &format!("up-to-{number:02}"), &all);
        }
    }
}

fn encode(value: &impl Serialize) -> Vec<u8> {
    postcard::to_allocvec(value).expect("it has a form")
}

fn keep(target: &str, name: &str, bytes: &[u8]) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    fs::create_dir_all(&directory).expect("the sources can be written");
    fs::write(directory.join(name), bytes).expect("the sources can be written");
}
