//! What two people do to one folder at once, and what becomes of the folder itself: both sides on real disks, the agent
//! in this process. The numbers are those of the reliability matrix.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;
use std::time::Instant;

use nexus_agent::entry::Digest;
use nexus_agent::inquiry::Answer;
use nexus_agent::inquiry::Question;
use nexus_agent::inquiry::Which;
use nexus_agent::look::Symlinks;
use nexus_agent::path::RelPath;
use nexus_agent::reconcile::Side;

use super::faults::Agent;
use super::near::Near;
use super::near::picture;
use crate::nightly::nightly_or;

/// A folder, an agent, and the session between them.
async fn pair(name: &str) -> (Agent, Near) {
    let agent = Agent::new(name);
    let near = Near::new(agent.program()).await;
    (agent, near)
}

fn save(path: &Path, content: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

/// Every content either side has, in its folder or kept as a version.
async fn contents(agent: &Agent, near: &Near) -> BTreeSet<Digest> {
    let mut found = BTreeSet::new();
    for folder in [near.at(""), agent.at("")] {
        found.extend(picture(&folder).into_values().map(|(_, content)| Digest::from(blake3::hash(&content))));
    }
    for side in Side::BOTH {
        let kept = near.wishes().ask(side, Question::Versions { path: None }).await.unwrap();
        let Answer::Versions(kept) = kept else { panic!("{kept:?}") };
        found.extend(kept.into_iter().filter_map(|version| version.digest));
    }
    found
}

fn digest(content: &str) -> Digest {
    blake3::hash(content.as_bytes()).into()
}

/// SY-03: edits meet edits, deletions and additions while nobody synchronises.
#[tokio::test]
async fn sy03_whatever_meets_while_apart_is_on_a_side_or_kept() {
    let many = nightly_or(1_000, 15);
    let (agent, mut near) = pair("sy03").await;
    for number in 0..many {
        for kind in ["both", "edited", "gone", "kind", "dir", "filler", "filler2", "filler3", "filler4"] {
            near.write(&format!("{kind}/{number}/x"), format!("{kind} {number}").as_bytes());
        }
    }
    near.connect();
    near.flush().await;
    near.wishes().pause(true).await.unwrap();
    let mut written = BTreeSet::new();
    let mut put = |path: &Path, content: String| {
        save(path, content.as_bytes());
        written.insert(digest(&content));
    };
    for number in 0..many {
        let (host, inside) = (
            |kind: &str| near.at(&format!("{kind}/{number}/x")),
            |kind: &str| agent.at(&format!("{kind}/{number}/x")),
        );
        put(&host("both"), format!("the host's {number}"));
        put(&inside("both"), format!("the container's {number}"));
        put(&host("edited"), format!("changed {number}"));
        fs::remove_file(inside("edited")).unwrap();
        fs::remove_file(host("gone")).unwrap();
        fs::remove_file(inside("gone")).unwrap();
        put(&host("kind"), format!("still a file {number}"));
        fs::remove_file(inside("kind")).unwrap();
        put(&inside("kind").join("below"), format!("below {number}"));
        fs::remove_dir_all(near.at(&format!("dir/{number}"))).unwrap();
        put(&agent.at(&format!("dir/{number}/new")), format!("new {number}"));
    }
    // Many conflicts at once wait for a yes each time; the nightly number has to be let through.
    near.wishes().pause(false).await.unwrap();
    near.settle().await;
    assert_eq!(picture(&near.at("")), picture(&agent.at("")));
    for number in 0..many {
        let text = |kind: &str| fs::read_to_string(near.at(&format!("{kind}/{number}/x"))).ok();
        assert_eq!(text("both"), Some(format!("the host's {number}")), "the host wins");
        assert_eq!(text("edited"), Some(format!("changed {number}")), "an edit beats a deletion");
        assert_eq!(text("gone"), None);
        assert_eq!(text("kind"), Some(format!("still a file {number}")));
        let new = fs::read_to_string(near.at(&format!("dir/{number}/new"))).unwrap();
        assert_eq!(new, format!("new {number}"), "a new file keeps its directory");
    }
    let found = contents(&agent, &near).await;
    assert!(written.is_subset(&found), "{} contents are lost", written.difference(&found).count());
}

/// SY-07: the host's folder is unmounted, renamed away, or another stands in its place.
#[tokio::test]
async fn sy07_a_folder_that_vanishes_removes_nothing_and_comes_back() {
    let (agent, mut near) = pair("sy07").await;
    (0..5).for_each(|number| near.write(&format!("file {number}"), b"x"));
    near.connect();
    near.flush().await;
    let before = picture(&agent.at(""));
    let (folder, aside) = (near.at(""), near.home.path().join("aside"));
    for round in 0..nightly_or(20, 2) {
        for replaced in [false, true] {
            fs::rename(&folder, &aside).unwrap();
            if replaced {
                fs::create_dir(&folder).unwrap();
            }
            let started = Instant::now();
            near.until("a halt", |status| status.halted.is_some()).await;
            assert!(started.elapsed() < Duration::from_secs(4), "{round}: {:?}", started.elapsed());
            assert_eq!(picture(&agent.at("")), before);
            if replaced {
                fs::remove_dir(&folder).unwrap();
            }
            fs::rename(&aside, &folder).unwrap();
            near.until("going on", |status| status.halted.is_none()).await;
            near.flush().await;
            assert!(started.elapsed() < Duration::from_secs(10), "{round}: {:?}", started.elapsed());
            assert_eq!(picture(&agent.at("")), before);
        }
    }
}

/// SY-09: nearly all of a folder goes at once: that is held, the rest goes on, a yes lets it through.
#[tokio::test]
async fn sy09_a_mass_deletion_waits_for_a_yes() {
    let (agent, mut near) = pair("sy09").await;
    (0..500).for_each(|number| near.write(&format!("many/{number}"), format!("{number}").as_bytes()));
    (0..5).for_each(|number| near.write(&format!("few/{number}"), b"x"));
    near.connect();
    near.flush().await;
    fs::rename(near.at("many"), near.home.path().join("away")).unwrap();
    let held = |status: &nexus::sync::Status| {
        status.session.as_ref().is_some_and(|session| !session.holds.is_empty())
    };
    let status = near.until("a hold", held).await;
    let hold = &status.session.unwrap().holds[0];
    near.write("few/new", b"new");
    let started = Instant::now();
    while !agent.at("few/new").exists() {
        assert!(started.elapsed() < Duration::from_secs(10), "the rest goes on");
        tokio::task::yield_now().await;
    }
    assert_eq!(fs::read_dir(agent.at("many")).unwrap().count(), 500, "nothing is removed without a yes");
    assert!(near.wishes().approve(hold.key).await.unwrap());
    near.flush().await;
    assert!(!agent.at("many").exists());
}

/// SY-09: the same folder removed file by file, as a slow program does: most of it is still there when it is held.
#[tokio::test]
async fn sy09_a_slow_deletion_waits_for_a_yes_too() {
    let (agent, mut near) = pair("sy09-slow").await;
    (0..100).for_each(|number| near.write(&format!("many/{number}"), format!("{number}").as_bytes()));
    near.connect();
    near.flush().await;
    for number in 0..95 {
        fs::remove_file(near.at(&format!("many/{number}"))).unwrap();
        // Each by itself: the next goes once this one has gone, or is held.
        let started = Instant::now();
        let path = agent.at(&format!("many/{number}"));
        let held = |near: &Near| near.status().session.is_some_and(|session| !session.holds.is_empty());
        while path.exists() && !held(&near) {
            assert!(started.elapsed() < Duration::from_secs(10), "{number} neither goes nor is held");
            tokio::task::yield_now().await;
        }
    }
    // A yes is to what is held by then: the last of them are only just seen.
    let held = |status: &nexus::sync::Status| {
        status.session.as_ref().is_some_and(|session| session.holds.iter().any(|hold| hold.paths.len() == 45))
    };
    let status = near.until("a hold of all the others", held).await;
    assert_eq!(fs::read_dir(agent.at("many")).unwrap().count(), 50, "half of them may go");
    let hold = &status.session.unwrap().holds[0];
    assert!(near.wishes().approve(hold.key).await.unwrap());
    near.settle().await;
    assert_eq!(fs::read_dir(agent.at("many")).unwrap().count(), 5);
}

/// SY-08: what the node remembers is put back as it was some time ago. That is noticed by the mark the folder carries, and
/// nothing that was edited, added or removed since is done again or undone; what stands on either side stands on both.
#[tokio::test]
async fn sy08_an_old_memory_that_was_put_back_is_dropped_and_deletes_nothing() {
    let (agent, mut near) = pair("sy08-old").await;
    (0..20).for_each(|number| near.write(&format!("file {number}"), format!("{number}").as_bytes()));
    near.connect();
    near.flush().await;
    let (memory, saved) = (near.home.path().join("state/ancestor"), near.home.path().join("saved"));
    // What both agree on is written down a moment after they came to rest.
    let written = async |what: &str, there: &dyn Fn(&[u8]) -> bool| {
        let until = Instant::now() + Duration::from_secs(20);
        while !there(&fs::read(&memory).unwrap()) {
            assert!(Instant::now() < until, "{what} is never remembered");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    for round in 0..nightly_or(20, 3) {
        written("file 3", &|bytes| bytes.windows(6).any(|name| name == b"file 3")).await;
        near.end().await;
        fs::copy(&memory, &saved).unwrap();
        near.connect();
        near.write("file 1", format!("edited by the host, {round}").as_bytes());
        save(&agent.at("file 2"), format!("edited inside, {round}").as_bytes());
        near.write(&format!("added {round}"), b"added");
        near.write("removed", b"as it was");
        near.flush().await;
        fs::remove_file(near.at("removed")).unwrap();
        fs::remove_file(agent.at("file 3")).ok();
        near.flush().await;
        written("an edit", &|bytes| bytes != fs::read(&saved).unwrap()).await;
        near.end().await;
        let before = picture(&near.at(""));
        assert_eq!(before, picture(&agent.at("")));
        fs::copy(&saved, &memory).unwrap();
        save(&agent.at(&format!("inside {round}")), b"while nobody looked");
        // What has come back as it was then looks to an old memory as if the container had removed it.
        near.write("file 3", b"3");
        near.connect();
        near.flush().await;
        let after = picture(&near.at(""));
        assert_eq!(after, picture(&agent.at("")), "{round}");
        for (path, was) in &before {
            assert_eq!(after.get(path), Some(was), "{round}: {}", path.display());
        }
        for new in [format!("inside {round}"), "file 3".to_owned()] {
            assert!(after.contains_key(Path::new(&new)), "{round}: {new}");
        }
    }
}

/// SY-12: a bit of what is remembered is another: nothing is deleted, and both sides become equal again.
#[tokio::test]
async fn sy12_a_damaged_memory_deletes_nothing() {
    let (agent, mut near) = pair("sy12").await;
    (0..5).for_each(|number| near.write(&format!("file {number}"), format!("{number}").as_bytes()));
    near.connect();
    near.flush().await;
    near.end().await;
    let file = near.home.path().join("state/ancestor");
    for round in 0..nightly_or(50, 6) {
        let mut bytes = fs::read(&file).unwrap();
        if !bytes.is_empty() {
            let at = round * 7_919 % bytes.len();
            bytes[at] ^= 1 << (round % 8);
        }
        fs::write(&file, bytes).unwrap();
        // Something is new on either side, and nothing may go.
        near.write(&format!("host {round}"), b"new");
        save(&agent.at(&format!("inside {round}")), b"new");
        let before = (picture(&near.at("")), picture(&agent.at("")));
        near.connect();
        near.flush().await;
        near.end().await;
        let after = picture(&near.at(""));
        assert_eq!(after, picture(&agent.at("")), "{round}");
        assert!(before.0.keys().chain(before.1.keys()).all(|path| after.contains_key(path)), "{round}");
    }
}

/// SY-16: files written for ever, each with one generation in it from beginning to end. No file system says when a
/// writer is done, so a file that is read while its writer is kept waiting may arrive in part; what may never be is that
/// two generations are mixed, or that the last one does not arrive.
#[tokio::test]
async fn sy16_two_generations_are_never_mixed_and_the_last_arrives() {
    let (agent, mut near) = pair("sy16").await;
    near.write("0", b"");
    near.connect();
    near.flush().await;
    let lasting = Duration::from_secs(nightly_or(60, 4));
    let folder = near.at("");
    let writer = tokio::task::spawn_blocking(move || {
        let started = Instant::now();
        let mut generation = 0_u64;
        while started.elapsed() < lasting {
            generation += 1;
            let line = format!("{generation:015}\n");
            let mut file = fs::File::create(folder.join((generation % 20).to_string())).unwrap();
            for _ in 0..16 {
                file.write_all(line.repeat(256).as_bytes()).unwrap();
            }
        }
        generation
    });
    let (mut seen, mut cut) = (0_u64, 0_u64);
    while !writer.is_finished() {
        for number in 0..20 {
            let Ok(text) = fs::read_to_string(agent.at(&number.to_string())) else { continue };
            let first = text.lines().next().unwrap_or_default().to_owned();
            assert!(text.lines().all(|line| line == first), "{number} is torn");
            cut += u64::from(!text.is_empty() && text.len() != 16 * 256 * 16);
            seen += 1;
        }
        tokio::task::yield_now().await;
    }
    let (written, ended) = (writer.await.unwrap(), Instant::now());
    near.flush().await;
    assert!(ended.elapsed() < Duration::from_secs(5), "{:?}", ended.elapsed());
    assert_eq!(picture(&near.at("")), picture(&agent.at("")));
    println!("{written} written, {seen} seen, {cut} of them in part");
    assert!(cut <= seen / 100, "{cut} of {seen} in part");
    assert!(written > 100 && seen > 100, "{written} written, {seen} seen");
}

/// SY-18: names that programs stumble over come through byte for byte, in both directions.
#[tokio::test]
async fn sy18_hostile_names_are_carried_byte_for_byte() {
    let (agent, mut near) = pair("sy18").await;
    let mut names: Vec<Vec<u8>> = [
        &b"\xff\xfe"[..],
        b"new\nline",
        b"tab\there",
        b"\x1b[2Jescape",
        b"-rf",
        b"$(x)",
        b"`x`",
        b"'",
        b"\"",
        b"back\\slash",
        b"dot.",
        b"space ",
        b" space",
        "e\u{301}".as_bytes(),
        "\u{e9}".as_bytes(),
        "\u{202e}txt".as_bytes(),
        b"*",
        b"?",
        b"~",
        b"%2e%2e",
        b"CON",
        b"#x",
        b"!x",
        b"a;b",
        b"a|b",
        b"a&b",
        b"...",
    ]
    .iter()
    .map(|name| name.to_vec())
    .collect();
    names.push(vec![b'x'; 255]);
    names.extend((1..=255_u8).filter(|byte| *byte != b'/').map(|byte| vec![b'b', byte, b'b']));
    for name in &names {
        save(&near.at("host").join(OsStr::from_bytes(name)), name);
        save(&agent.at("inside").join(OsStr::from_bytes(name)), name);
    }
    near.connect();
    let status = near.until("all of it", |status| status.files_synced > 2 * 270).await;
    near.flush().await;
    assert_eq!(picture(&near.at("")), picture(&agent.at("")));
    assert_eq!(picture(&near.at("inside")).len(), names.len() + 1);
    assert_eq!(status.skipped, []);
}

/// SY-21: what is no file is neither opened nor followed, said, and not removed on either side.
#[tokio::test]
async fn sy21_what_is_no_file_is_left_alone_and_listed() {
    let (agent, mut near) = pair("sy21").await;
    near.write("file", b"x");
    let mut made = BTreeSet::new();
    for number in 0..nightly_or(50, 5) {
        let name = |kind: &str| format!("{kind} {number}");
        for (place, side) in [(near.at(""), "host"), (agent.at(""), "container")] {
            let pipe = place.join(name(&format!("pipe {side}")));
            rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, 0o644.into()).unwrap();
            drop(
                std::os::unix::net::UnixListener::bind(place.join(name(&format!("socket {side}")))).unwrap(),
            );
            symlink("/etc/passwd", place.join(name(&format!("outside {side}")))).unwrap();
            symlink("../../above", place.join(name(&format!("above {side}")))).unwrap();
        }
        symlink("nowhere", near.at(&name("dangling"))).unwrap();
        symlink(name("loop"), near.at(&name("loop"))).unwrap();
        made.extend([name("dangling"), name("loop")]);
    }
    let (host, inside) = (picture(&near.at("")), picture(&agent.at("")));
    near.connect();
    near.flush().await;
    let status = near.until("the list", |status| status.skipped_total > 0).await;
    assert_eq!(status.skipped_total, 8 * nightly_or(50, 5), "{:?}", status.skipped);
    let (host_now, inside_now) = (picture(&near.at("")), picture(&agent.at("")));
    assert!(host.iter().all(|(path, was)| host_now.get(path) == Some(was)));
    assert!(inside.iter().all(|(path, was)| inside_now.get(path) == Some(was)));
    assert!(
        made.iter().all(|name| inside_now.contains_key(Path::new(name))),
        "links within the folder are carried"
    );
}

/// SY-21, where that is stated: links are carried as they are, wherever they lead, and followed by nobody.
#[tokio::test]
async fn sy21_links_out_of_the_folder_are_carried_as_they_are_where_that_is_stated() {
    let (agent, mut near) = pair("sy21-raw").await;
    near.settings.symlinks = Symlinks::PosixRaw;
    let outside = tempfile::tempdir().unwrap();
    save(&outside.path().join("canary"), b"alive");
    symlink("/etc/passwd", near.at("absolute")).unwrap();
    symlink("../../above", near.at("above")).unwrap();
    symlink(outside.path(), near.at("way")).unwrap();
    symlink(outside.path(), agent.at("inside way")).unwrap();
    near.connect();
    near.flush().await;
    assert_eq!(near.status().skipped_total, 0);
    let host = picture(&near.at(""));
    assert_eq!(host, picture(&agent.at("")));
    let names: Vec<_> = host.keys().map(|path| path.to_str().unwrap()).collect();
    assert_eq!(names, ["", "above", "absolute", "inside way", "way"]);
    assert_eq!(fs::read_link(agent.at("absolute")).unwrap(), Path::new("/etc/passwd"));
    assert_eq!(fs::read_link(near.at("inside way")).unwrap(), outside.path());

    // A directory takes a link's place, on either side, and one the other way round.
    fs::remove_file(agent.at("way")).unwrap();
    save(&agent.at("way/canary"), b"another");
    fs::remove_file(near.at("inside way")).unwrap();
    save(&near.at("inside way/canary"), b"another");
    near.flush().await;
    assert_eq!(fs::read(near.at("way/canary")).unwrap(), b"another");
    assert_eq!(fs::read(agent.at("inside way/canary")).unwrap(), b"another");
    fs::remove_dir_all(near.at("way")).unwrap();
    symlink(outside.path(), near.at("way")).unwrap();
    near.flush().await;
    assert_eq!(fs::read_link(agent.at("way")).unwrap(), outside.path());
    assert_eq!(fs::read(outside.path().join("canary")).unwrap(), b"alive");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);

    // What the container changes of a link is displaced and comes back like a file.
    fs::remove_file(agent.at("absolute")).unwrap();
    symlink("/etc/group", agent.at("absolute")).unwrap();
    near.flush().await;
    assert_eq!(fs::read_link(near.at("absolute")).unwrap(), Path::new("/etc/group"));
    let which = Which::Path(RelPath::parse(b"absolute").unwrap());
    let undo = Question::Undo { which, batch: 0, dry_run: false };
    let undone = near.wishes().ask(Side::Alpha, undo).await.unwrap();
    assert!(matches!(&undone, Answer::Undone { failed, .. } if failed.is_empty()), "{undone:?}");
    near.flush().await;
    assert_eq!(fs::read_link(agent.at("absolute")).unwrap(), Path::new("/etc/passwd"));

    // Not stated any more, they stay where they are.
    near.settings.symlinks = Symlinks::Portable;
    near.reconnect().await;
    near.flush().await;
    let status = near.until("the list", |status| status.skipped_total > 0).await;
    assert_eq!(status.skipped_total, 6, "{:?}", status.skipped);
    assert!(fs::read_link(near.at("above")).is_ok() && fs::read_link(agent.at("above")).is_ok());
}

/// SY-27: what is not carried stays where it is although its parent goes on the other side, and that is said.
#[tokio::test]
async fn sy27_ignored_files_survive_their_parent() {
    let (agent, mut near) = pair("sy27").await;
    let many = nightly_or(50, 5);
    near.write("keep/me", b"x");
    near.write(".gitignore", b"*.secret\n");
    for number in 0..many {
        near.write(&format!("d{number}/file"), b"x");
        (0..3).for_each(|filler| near.write(&format!("filler/{number}/{filler}"), b"x"));
    }
    near.connect();
    near.flush().await;
    for number in 0..many {
        save(&near.at(&format!("d{number}/own.secret")), b"mine");
        save(&near.at(&format!("d{number}/.git/config")), b"mine");
        if number % 2 == 0 {
            fs::remove_dir_all(agent.at(&format!("d{number}"))).unwrap();
        } else {
            fs::rename(agent.at(&format!("d{number}")), agent.at(&format!("moved{number}"))).unwrap();
        }
    }
    // Told as a conflict: neither side may have its way without a decision.
    let told = |status: &nexus::sync::Status| {
        status
            .session
            .as_ref()
            .is_some_and(|session| session.conflicts.len() + session.deferred.len() >= many)
    };
    near.until("what stays is told", told).await;
    for number in 0..many {
        assert_eq!(fs::read(near.at(&format!("d{number}/own.secret"))).unwrap(), b"mine");
        assert_eq!(fs::read(near.at(&format!("d{number}/.git/config"))).unwrap(), b"mine");
    }
    // Rules that change while it runs do not take for deleted what they left out before.
    near.write("keep/own.secret", b"mine");
    near.write(".gitignore", b"");
    let started = Instant::now();
    while !agent.at("keep/own.secret").exists() {
        assert!(started.elapsed() < Duration::from_secs(20), "what is carried now never came");
        tokio::task::yield_now().await;
    }
    near.write(".gitignore", b"*.secret\n");
    near.write("keep/after", b"x");
    while !agent.at("keep/after").exists() {
        assert!(started.elapsed() < Duration::from_secs(40), "a change after the rules never came");
        tokio::task::yield_now().await;
    }
    assert!(near.at("keep/own.secret").exists() && agent.at("keep/own.secret").exists());
}
