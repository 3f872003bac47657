//! An agent that somebody in the container has taken over (SY-25): it says what no honest one does. Its connection ends
//! with an error, nothing outside the folder is touched, and the node's memory stays bounded.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use bytes::BufMut as _;
use bytes::BytesMut;
use nexus::engine::memory::Program;
use nexus_agent::delta::outline::Chain;
use nexus_agent::disk::Identity;
use nexus_agent::disk::Nonce;
use nexus_agent::entry::Digest;
use nexus_agent::entry::Target;
use nexus_agent::message::FromSide;
use nexus_agent::message::Piece;
use nexus_agent::message::ToSide;
use nexus_agent::path::RelPath;
use nexus_agent::serve::HEARTBEAT;
use nexus_agent::tree::Change;
use nexus_agent::tree::Directory;
use nexus_agent::tree::File;
use nexus_agent::tree::Item;
use nexus_agent::tree::Keep;
use nexus_agent::wire;
use nexus_agent::wire::Frame;
use nexus_agent::wire::FrameReader;
use nexus_agent::wire::Hello;
use nexus_agent::wire::ToAgent;
use nexus_agent::wire::ToNode;
use tokio::io::AsyncWriteExt as _;

use super::near::Near;
use super::near::picture;

/// What a hostile agent answers: bytes for the wire, or `None` once it has nothing to add.
type Answers = dyn Fn(&ToAgent, usize) -> Option<BytesMut> + Send + Sync;

/// An agent that answers what it hears as told; the number counts its answers on one connection. Its heart
/// beats honestly.
fn agent(ended: &Arc<AtomicUsize>, answers: Arc<Answers>) -> Program {
    let ended = Arc::clone(ended);
    Arc::new(move |_, _, io| {
        let (ended, answers) = (Arc::clone(&ended), Arc::clone(&answers));
        Box::pin(async move {
            let (reader, mut writer) = tokio::io::split(io);
            let mut frames = FrameReader::new(reader);
            let mut hello = BytesMut::new();
            wire::put_hello(&mut hello, &Hello::ours());
            drop(writer.write_all(&hello).await);
            frames.hello().await.unwrap();
            let mut count = 0;
            let mut beats = tokio::time::interval(HEARTBEAT);
            loop {
                // Both are cancel-safe.
                let answer = tokio::select! {
                    heard = frames.next::<ToAgent>() => {
                        let Ok(Frame::Message(heard)) = heard else { break };
                        let Some(answer) = answers(&heard, count) else { continue };
                        count += 1;
                        answer
                    }
                    _ = beats.tick() => message(&ToNode::Heartbeat),
                };
                if writer.write_all(&answer).await.is_err() {
                    break;
                }
            }
            ended.fetch_add(1, Ordering::SeqCst);
            0
        })
    })
}

fn message(said: &ToNode) -> BytesMut {
    let mut buffer = BytesMut::new();
    wire::put_message(&mut buffer, said);
    buffer
}

fn side(said: FromSide) -> BytesMut {
    message(&ToNode::Side(said))
}

fn attached() -> BytesMut {
    let identity = Identity { device: 1, inode: 2, born: 3, nonce: Nonce::default() };
    side(FromSide::Attached { identity, anew: true, stored: Vec::new(), begun: Vec::new(), clock: 0 })
}

fn changes(changes: Vec<Change>, more: bool) -> BytesMut {
    side(FromSide::Changes { changes, more })
}

fn path(text: &str) -> RelPath {
    RelPath::parse(text.as_bytes()).unwrap()
}

fn put(at: &str, item: Item) -> Change {
    Change { path: (!at.is_empty()).then(|| path(at)), item: Some(item) }
}

fn file(size: u64, tag: &str) -> Item {
    Item::File(File::new(size, false, blake3::hash(tag.as_bytes()).into()))
}

fn link(target: &str) -> Item {
    Item::Symlink(Target::raw(target.as_bytes()).unwrap())
}

fn folder(children: Vec<(&str, Item)>) -> Item {
    let children = children.into_iter().map(|(name, item)| (name.as_bytes().into(), item));
    Item::Directory(Directory::from_children(children.collect()))
}

/// The message with other bytes in it than its type could say, framed as if it were honest.
fn forged(honest: &BytesMut, from: &[u8], to: &[u8]) -> BytesMut {
    assert_eq!(from.len(), to.len());
    let mut body = honest[8..].to_vec();
    let at = body.windows(from.len()).position(|window| window == from).unwrap();
    body[at..at + to.len()].copy_from_slice(to);
    let mut frame = BytesMut::new();
    frame.put_u32_le(u32::try_from(body.len()).unwrap());
    frame.put_slice(&blake3::hash(&body).as_bytes()[..4]);
    frame.put_slice(&body);
    frame
}

/// This process's memory, in bytes.
fn resident() -> u64 {
    let pages = fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4_096
}

/// Says all of it after the first question about files.
fn at_once(said: Vec<BytesMut>) -> Arc<Answers> {
    let said = said.into_iter().reduce(|mut all, one| {
        all.unsplit(one);
        all
    });
    Arc::new(move |heard, _| match heard {
        ToAgent::Side(ToSide::Attach { .. }) => said.clone(),
        _ => None,
    })
}

/// Lets an agent speak, and waits until its connection was ended with `error` and it came back to be refused again.
async fn refused(what: &str, answers: Arc<Answers>, error: &str) {
    let ended = Arc::new(AtomicUsize::new(0));
    let mut near = Near::new(agent(&ended, answers)).await;
    // A limit whose double fits well into what the node may grow by, the agent of this very process included.
    near.settings.entries_max = 100_000;
    near.write("own.txt", b"the host's");
    near.write("deep/own.txt", b"the host's");
    fs::create_dir(near.home.path().join("canary")).unwrap();
    fs::write(near.home.path().join("canary/secret"), b"untouched").unwrap();
    let (before, canary) = (picture(&near.at("")), picture(&near.home.path().join("canary")));
    let memory = resident();
    near.connect();
    // What ends a connection below the session is the link's to say, the rest the session's.
    near.until(what, |status| {
        let link = format!("{:?}", status.link);
        status.error.as_ref().is_some_and(|said| said.contains(error)) || link.contains(error)
    })
    .await;
    near.until("the end of its connection", |_| ended.load(Ordering::SeqCst) >= 1).await;
    let grown = resident().saturating_sub(memory) >> 20;
    assert!(grown <= 64, "{what}: {grown} MiB more");
    assert_eq!(picture(&near.at("")), before, "{what}");
    assert_eq!(picture(&near.home.path().join("canary")), canary, "{what}");
}

#[tokio::test]
async fn sy25_paths_that_leave_the_folder_do_not_decode() {
    let honest = changes(vec![put("aa/bb", file(1, "x"))], false);
    for bad in ["/a/bb", "../bb", "aa/..", "aa//b", "a\0/bb"] {
        let forged = forged(&honest, b"aa/bb", bad.as_bytes());
        refused(bad, at_once(vec![attached(), forged]), "does not decode").await;
    }
    let honest = changes(vec![put("aa", folder(vec![("bbb", file(1, "x"))]))], false);
    for bad in ["../", "b/c"] {
        let forged = forged(&honest, b"bbb", bad.as_bytes());
        refused(bad, at_once(vec![attached(), forged]), "does not decode").await;
    }
}

#[tokio::test]
async fn sy25_what_lies_below_a_link_does_not_fit() {
    let root = put("", folder(vec![("d", link("../canary"))]));
    let said =
        vec![attached(), changes(vec![root], true), changes(vec![put("d/secret", file(1, "x"))], false)];
    refused("a symlinked parent", at_once(said), "does not fit").await;
}

#[tokio::test]
async fn sy25_lengths_and_numbers_beyond_reason_are_refused() {
    let root = || put("", folder(vec![]));
    let endless = changes(vec![root(), put("big", file(1 << 63, "x"))], false);
    refused("a file of 2^63 bytes", at_once(vec![attached(), endless]), "9223372036854775808 bytes").await;

    let mut length = BytesMut::new();
    length.put_u32_le(u32::MAX);
    length.put_slice(&[0, 0, 0, 0, 1]);
    refused("a frame of 4 GiB", at_once(vec![length]), "larger than allowed").await;

    // Ten million entries, a page at a time: never all of them in memory.
    let page = |number: usize| {
        let names: Vec<_> = (0..5_000).map(|child| format!("{child:x}")).collect();
        let children = names.iter().map(|name| (name.as_str(), Item::Untracked(Keep::Disposable)));
        changes(vec![put(&format!("{number:x}"), folder(children.collect()))], true)
    };
    let many: Arc<Answers> = Arc::new(move |heard, _| {
        if !matches!(heard, ToAgent::Side(ToSide::Attach { .. })) {
            return None;
        }
        let mut all = attached();
        all.unsplit(changes(vec![root()], true));
        (0..130).for_each(|number| all.unsplit(page(number)));
        Some(all)
    });
    refused("endless entries", many, "files and directories").await;
}

#[tokio::test]
async fn sy25_answers_to_nothing_and_out_of_order_end_the_connection() {
    let digest = Digest([7; 32]);
    let begin = || vec![attached(), changes(vec![put("", folder(vec![]))], false)];
    let content = FromSide::Content { digest, offset: 0, piece: Piece::Whole(vec![1; 1000]) };
    let stored = FromSide::Stored { digest, bytes: 1 << 40, whole: true, problem: None };
    let flood = FromSide::Content { digest, offset: 0, piece: Piece::Whole(vec![1; 8 << 20]) };
    for (what, said, error) in [
        ("a content nobody asked for", content, "what it was not asked"),
        (
            "an outline nobody asked for",
            FromSide::Outlined { digest, from: 0, parts: vec![Chain([1; 32])] },
            "what it was not asked",
        ),
        (
            "a signature nobody asked for",
            FromSide::Signed { digest, signature: vec![1; 100] },
            "what it was not asked",
        ),
        ("content gone that nobody asked for", FromSide::Gone { digest }, "what it was not asked"),
        ("more stored than was sent", stored, "what it was not asked"),
        ("much content at once", flood, "bytes of content at once"),
    ] {
        refused(what, at_once([begin(), vec![side(said)]].concat()), error).await;
    }

    // Done before it was asked to be: the contents are still on their way.
    let early: Arc<Answers> = Arc::new(move |heard, _| match heard {
        ToAgent::Side(ToSide::Attach { .. }) => {
            let mut all = attached();
            all.unsplit(changes(vec![put("", folder(vec![]))], false));
            Some(all)
        }
        ToAgent::Side(ToSide::Apply { batch, .. }) => {
            let outcome =
                nexus_agent::message::Outcome { path: Some(path("never/asked")), now: None, problem: None };
            Some(side(FromSide::Applied { batch: *batch, outcomes: vec![outcome] }))
        }
        ToAgent::Side(ToSide::Store { digest, part, last, .. }) => {
            let bytes = part.size();
            Some(side(FromSide::Stored { digest: *digest, bytes, whole: *last, problem: None }))
        }
        _ => None,
    });
    refused("an outcome of another path", early, "what it was not asked").await;
}

#[tokio::test]
async fn sy28_another_protocol_is_named_before_anything_is_said() {
    for protocol in [wire::PROTOCOL - 1, wire::PROTOCOL + 1] {
        let skewed: Program = Arc::new(move |_, _, io| {
            Box::pin(async move {
                let (reader, mut writer) = tokio::io::split(io);
                let mut hello = BytesMut::new();
                wire::put_hello(&mut hello, &Hello { protocol, version: "0.0.9".to_owned() });
                drop(writer.write_all(&hello).await);
                let mut frames = FrameReader::new(reader);
                frames.hello().await.unwrap();
                // Nothing about files follows a hello that does not fit.
                assert!(frames.next::<ToAgent>().await.is_err());
                0
            })
        });
        let mut near = Near::new(skewed).await;
        near.write("own.txt", b"the host's");
        near.connect();
        let named = format!("(version 0.0.9) speaks protocol {protocol}, this one needs {}", wire::PROTOCOL);
        near.until("a refusal", |status| format!("{:?}", status.link).contains(&named)).await;
    }
}

/// One that greets well and then ends is called again less and less often, as one that cannot be reached at all.
#[tokio::test]
async fn sy25_an_agent_that_greets_and_hangs_up_is_not_called_all_the_time() {
    let called = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&called);
    let curt: Program = Arc::new(move |_, _, io| {
        counted.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            let (reader, mut writer) = tokio::io::split(io);
            let mut hello = BytesMut::new();
            wire::put_hello(&mut hello, &Hello::ours());
            drop(writer.write_all(&hello).await);
            drop(FrameReader::new(reader).hello().await);
            0
        })
    });
    let mut near = Near::new(curt).await;
    near.write("own.txt", b"the host's");
    near.connect();
    let started = std::time::Instant::now();
    while called.load(Ordering::SeqCst) < 9 {
        near.until("another call", |_| true).await;
        assert!(started.elapsed() < std::time::Duration::from_secs(20), "it is not called any more");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    // 10 ms, and each time twice as long: the ninth call comes after two and a half seconds.
    assert!(started.elapsed() > std::time::Duration::from_secs(1), "{:?}", started.elapsed());
}
