//! Files that take their time to become whole (SY-16): written in pieces with pauses between them, through memory, into
//! room that was reserved before, appended to for a minute. The other side has the old or the new, and the new soon
//! after it is done.
//!
//! What decides is whether the writer has closed the file. One that never does is waited for for five seconds after its
//! last write, and for half a minute in all; so the pauses here are shorter.

use std::fs;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use std::time::Instant;

use nexus_agent::inquiry::Answer;
use nexus_agent::inquiry::Question;
use nexus_agent::path::RelPath;
use nexus_agent::reconcile::Side;

use super::faults::Agent;
use super::near::Near;
use crate::nightly::nightly_or;

/// How soon after its end a file has to be there.
const SOON: Duration = Duration::from_secs(2);

/// Looks at the other side's file for as long as it takes the writer to go on: it is as it was.
async fn unchanged(other: &Path, before: Option<&[u8]>, lasting: Duration) {
    let started = Instant::now();
    while started.elapsed() < lasting {
        let now = fs::read(other).ok();
        assert_eq!(now.as_deref(), before, "{} after {:?}", other.display(), started.elapsed());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits for all of it. A part of it is no more to be seen than before.
async fn arrives(other: &Path, before: Option<&[u8]>, all: &[u8]) {
    let closed = Instant::now();
    loop {
        let now = fs::read(other).ok();
        if now.as_deref() == Some(all) {
            return;
        }
        assert!(now.as_deref() == before, "{} is there in part", other.display());
        assert!(closed.elapsed() < SOON, "{} is not there after {:?}", other.display(), closed.elapsed());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn pair(name: &str) -> (Agent, Near) {
    let agent = Agent::new(name);
    let mut near = Near::new(agent.program()).await;
    near.write("first", b"first");
    near.connect();
    near.flush().await;
    (agent, near)
}

#[tokio::test]
async fn sy16_a_writer_that_pauses_is_never_seen_half_way() {
    let (agent, near) = pair("sy16-pauses").await;
    let pauses = [700, 1_500, 3_000, 4_500].map(Duration::from_millis);
    for (round, pause) in pauses.into_iter().take(nightly_or(4, 2)).enumerate() {
        for (name, old) in [("new", None), ("old", Some(&b"the old one, whole"[..]))] {
            let name = format!("{name} {round}");
            let sides = [near.at(&name), agent.at(&name)];
            let (here, there) = (&sides[round % 2], &sides[1 - round % 2]);
            if let Some(old) = old {
                fs::write(here, old).unwrap();
                arrives(there, None, old).await;
                // A file that was just saved is looked at twice; the second look is not to meet the first piece.
                near.flush().await;
            }
            let mut file = File::create(here).unwrap();
            let mut all = Vec::new();
            for piece in [&b"the beginning, "[..], b"the middle ", b"and the end"] {
                file.write_all(piece).unwrap();
                all.extend_from_slice(piece);
                unchanged(there, old, pause).await;
            }
            drop(file);
            arrives(there, old, &all).await;
        }
    }
}

/// As a download comes in: in many small pieces, for a while.
#[tokio::test]
async fn sy16_a_download_arrives_when_it_is_complete() {
    let (agent, near) = pair("sy16-download").await;
    let size: usize = nightly_or(100, 6) << 20;
    let content: Vec<u8> = (0..size).map(|at| (at / 4_096 % 251) as u8).collect();
    let mut file = File::create(near.at("download")).unwrap();
    for piece in content.chunks(256 << 10) {
        file.write_all(piece).unwrap();
        assert!(!agent.at("download").exists(), "it is there in part");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(file);
    let closed = Instant::now();
    while fs::metadata(agent.at("download")).map_or(0, |facts| facts.len()) < size as u64 {
        assert!(closed.elapsed() < SOON * 2, "not there after {:?}", closed.elapsed());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    near.flush().await;
    assert!(fs::read(agent.at("download")).unwrap() == content);
}

#[tokio::test]
async fn sy16_room_that_is_reserved_and_then_filled_is_seen_when_it_is_full() {
    let (agent, near) = pair("sy16-reserved").await;
    for round in 0..nightly_or(20, 2) {
        let (here, there) = (near.at(&format!("{round}")), agent.at(&format!("{round}")));
        let file = File::create(&here).unwrap();
        let size = 1_u64 << 20;
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, size).unwrap();
        unchanged(&there, None, Duration::from_millis(700)).await;
        for part in 0..4_u64 {
            let piece = vec![b'a' + part as u8; 256 << 10];
            std::os::unix::fs::FileExt::write_all_at(&file, &piece, part << 18).unwrap();
            unchanged(&there, None, Duration::from_millis(200)).await;
        }
        drop(file);
        arrives(&there, None, &fs::read(&here).unwrap()).await;
    }
}

/// Nothing tells of a write through memory, and its times may be older than what it wrote: only the closing tells.
#[tokio::test]
async fn sy16_what_is_written_through_memory_is_seen_when_it_is_closed() {
    let (agent, near) = pair("sy16-mapped").await;
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/sync/mapped.c");
    let program = near.home.path().join("mapped");
    let built = Command::new("cc").arg("-o").arg(&program).arg(source).status().unwrap();
    assert!(built.success());
    for round in 0..nightly_or(20, 2) {
        let (here, there) = (near.at(&format!("{round}")), agent.at(&format!("{round}")));
        let pauses: &[&str] = if round % 2 == 0 { &["0"] } else { &["1200", "0"] };
        let mut child = tokio::process::Command::new(&program)
            .arg(&here)
            .args(["100000", "a"])
            .args(pauses)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let last = b'a' + pauses.len() as u8 - 1;
        if pauses.len() > 1 {
            // Somebody wants what is there in the middle of it, long enough after the beginning that its times are
            // believed; they are the same at the end.
            let begun = Instant::now();
            while fs::read(&there).ok() != Some(vec![b'a'; 100_000]) {
                assert!(begun.elapsed() < Duration::from_secs(1), "what is asked for is not there");
                near.flush().await;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            near.flush().await;
        }
        assert!(child.wait().await.unwrap().success());
        let closed = Instant::now();
        while fs::read(&there).ok() != Some(vec![last; 100_000]) {
            assert!(
                closed.elapsed() < SOON,
                "{round}: {:?}",
                fs::read(&there).map(|seen| (seen[0], seen.len()))
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// A program that appends twenty times a second, each time opening the file anew, and one that keeps it open: each is
/// carried a few times and not a thousand, and wholly soon after its end.
#[tokio::test]
async fn sy16_what_is_appended_to_is_carried_seldom_and_to_its_end() {
    let (agent, near) = pair("sy16-appended").await;
    let lasting = Duration::from_secs(nightly_or(60, 5));
    let mut kept = File::create(near.at("kept-open")).unwrap();
    let (started, mut lines) = (Instant::now(), 0);
    while started.elapsed() < lasting {
        lines += 1;
        writeln!(kept, "line {lines}").unwrap();
        let mut anew = File::options().create(true).append(true).open(near.at("anew")).unwrap();
        writeln!(anew, "line {lines}").unwrap();
        drop(anew);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    drop(kept);
    let closed = Instant::now();
    for name in ["kept-open", "anew"] {
        let all = fs::read(near.at(name)).unwrap();
        while fs::read(agent.at(name)).ok().as_ref() != Some(&all) {
            assert!(closed.elapsed() < SOON, "{name} is not there after {:?}", closed.elapsed());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // Each time it was carried, what it displaced was kept.
        let path = RelPath::parse(name.as_bytes()).unwrap();
        let asked = near.wishes().ask(Side::Beta, Question::Versions { path: Some(path) }).await.unwrap();
        let Answer::Versions(versions) = asked else { panic!("{asked:?}") };
        println!("{name}: {lines} lines, carried {} times", versions.len() + 1);
        assert!(versions.len() < 10, "{name}: {} versions of {lines} lines", versions.len());
    }
}
