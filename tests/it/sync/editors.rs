//! The ways in which editors and tools save (SY-15): each is seen, conflicts with nothing and keeps the file's mode.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use std::time::Instant;

use super::faults::Agent;
use super::near::Near;
use super::near::picture;
use super::races::contents;
use super::races::inside;
use crate::agent::Bench;
use crate::agent::DEBIAN;
use crate::agent::NODE;
use crate::nightly::nightly_or;

/// Saves a file as some program does.
type Save = fn(&Path, &str);

fn write_through(path: &Path, text: &str) {
    fs::File::options().write(true).truncate(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
}

fn beside(path: &Path, suffix: &str) -> std::path::PathBuf {
    path.with_file_name(format!("{}{suffix}", path.file_name().unwrap().to_str().unwrap()))
}

/// Writes a new file with the old one's mode.
fn write_like(path: &Path, model: &Path, text: &str) {
    let mode = fs::metadata(model).unwrap().permissions();
    fs::write(path, text).unwrap();
    fs::set_permissions(path, mode).unwrap();
}

const SAVES: [(&str, Save); 7] = [
    ("in place", write_through),
    ("vim, backupcopy=no", |path, text| {
        let backup = beside(path, "~");
        fs::rename(path, &backup).unwrap();
        write_like(path, &backup, text);
        fs::remove_file(backup).unwrap();
    }),
    ("vim, backupcopy=yes", |path, text| {
        let backup = beside(path, "~");
        fs::copy(path, &backup).unwrap();
        write_through(path, text);
        fs::remove_file(backup).unwrap();
    }),
    ("JetBrains safe write", |path, text| {
        let (new, old) = (beside(path, "___jb_tmp___"), beside(path, "___jb_old___"));
        write_like(&new, path, text);
        fs::rename(path, &old).unwrap();
        fs::rename(new, path).unwrap();
        fs::remove_file(old).unwrap();
    }),
    ("emacs", |path, text| {
        let backup = beside(path, "~");
        fs::rename(path, &backup).unwrap();
        write_like(path, &backup, text);
    }),
    ("rename over", |path, text| {
        let new = beside(path, ".tmp");
        write_like(&new, path, text);
        fs::rename(new, path).unwrap();
    }),
    ("sed -i", |path, text| {
        let done = Command::new("sed").arg("-i").arg(format!("1c{text}")).arg(path).status().unwrap();
        assert!(done.success());
    }),
];

#[tokio::test]
async fn sy15_every_way_of_saving_is_seen_from_either_side() {
    let agent = Agent::new("sy15");
    let mut near = Near::new(agent.program()).await;
    near.write("script.sh", b"first\n");
    fs::set_permissions(near.at("script.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    near.connect();
    near.flush().await;
    let mut slowest = Duration::ZERO;
    for (name, save) in SAVES {
        for round in 0..nightly_or(100, 4) {
            let sides = [near.at("script.sh"), agent.at("script.sh")];
            let (from, to) = (&sides[round % 2], &sides[1 - round % 2]);
            let text = format!("{name} {round}\n");
            save(from, text.trim_end());
            let started = Instant::now();
            while fs::read_to_string(to).is_ok_and(|seen| seen.trim_end() != text.trim_end()) {
                assert!(started.elapsed() < Duration::from_secs(10), "{name} {round} was never seen");
                tokio::task::yield_now().await;
            }
            slowest = slowest.max(started.elapsed());
            near.flush().await;
            assert_eq!(fs::metadata(to).unwrap().permissions().mode() & 0o111, 0o111, "{name} {round}");
            let status = near.until("no conflict", |_| true).await;
            assert_eq!(status.session.unwrap().conflicts, [], "{name} {round}");
        }
    }
    println!("the slowest save was seen after {slowest:?}");
    assert_eq!(picture(&near.at("")), picture(&agent.at("")));
}

fn git(folder: &Path, words: &[&str]) {
    let done = Command::new("git").arg("-C").arg(folder).args(words).output().unwrap();
    assert!(done.status.success(), "git {words:?}: {}", String::from_utf8_lossy(&done.stderr));
}

#[tokio::test]
async fn sy15_a_checkout_back_and_forth_is_followed() {
    let agent = Agent::new("checkout");
    let mut near = Near::new(agent.program()).await;
    let many = nightly_or(10_000, 200);
    let folder = near.at("");
    let commit = |tag: &str| {
        (0..many).for_each(|number| {
            near.write(&format!("d{}/{number}", number % 20), format!("{tag} {number}").as_bytes())
        });
        git(&folder, &["add", "--all"]);
        git(&folder, &["-c", "user.name=x", "-c", "user.email=x@x", "commit", "--quiet", "--message", tag]);
        git(&folder, &["branch", tag]);
    };
    git(&folder, &["init", "--quiet"]);
    commit("one");
    commit("two");
    near.connect();
    near.flush().await;
    for round in 0..nightly_or(20, 3) {
        let tag = ["one", "two"][round % 2];
        git(&folder, &["checkout", "--quiet", tag]);
        let started = Instant::now();
        near.flush().await;
        println!("checkout of {many} files: {:?}", started.elapsed());
        let text = fs::read_to_string(agent.at("d7/7")).unwrap();
        assert_eq!(text, format!("{tag} 7"));
        for directory in 0..20 {
            let name = format!("d{directory}");
            assert_eq!(picture(&near.at(&name)), picture(&agent.at(&name)), "{tag}");
        }
    }
    assert!(!agent.at(".git").exists());
}

/// The same in a container: `F` is the file, `T` what is to be in it.
const INSIDE: [(&str, &str); 6] = [
    ("in place", "echo $T > $F"),
    ("vim, backupcopy=no", "mv $F $F~ && echo $T > $F && chmod --reference=$F~ $F && rm $F~"),
    ("vim, backupcopy=yes", "cp -p $F $F~ && echo $T > $F && rm $F~"),
    (
        "JetBrains safe write",
        "echo $T > ${F}___jb_tmp___ && chmod --reference=$F ${F}___jb_tmp___ && mv $F ${F}___jb_old___ && \
         mv ${F}___jb_tmp___ $F && rm ${F}___jb_old___",
    ),
    ("rename over", "echo $T > $F.tmp && chmod --reference=$F $F.tmp && mv $F.tmp $F"),
    ("sed -i", "sed -i 1c$T $F"),
];

/// Vim itself, where there is one.
fn vim(path: &Path, text: &str) {
    let edit = format!(":1s/.*/{text}/");
    let done =
        Command::new("vim").args(["-es", "-u", "NONE", "-N", "-c", &edit, "-c", ":wq"]).arg(path).status();
    assert!(done.unwrap().success());
}

/// SY-15 with a container: whatever saves on the host is seen inside, and the other way round, without a conflict and with
/// the file's mode.
#[tokio::test]
async fn sy15_editors_are_followed_into_a_container_and_out_of_it() {
    let mut bench = Bench::new().await;
    bench.write("script.sh", "first\n");
    let here = bench.folder.path().join("src/script.sh");
    fs::set_permissions(&here, fs::Permissions::from_mode(0o755)).unwrap();
    bench.start(DEBIAN, &[], &["/nexus/nexus-agent", "static", "."]);
    bench.ready().await;
    bench.flush().await;
    let mut saves: Vec<(&str, Save)> = SAVES.into();
    if Command::new("vim").arg("--version").output().is_ok_and(|done| done.status.success()) {
        saves.push(("vim itself", vim));
    }
    let seen = |bench: &Bench| {
        bench.inside(&["sh", "-c", "cat /workspace/script.sh; echo; stat -c %a /workspace/script.sh"])
    };
    for round in 0..nightly_or(20, 2) {
        for (name, save) in &saves {
            let text = format!("host-{}-{round}", name.replace(|c: char| !c.is_alphanumeric(), "-"));
            save(&here, &text);
            let started = Instant::now();
            // Never missing, never empty: what is read is the old or the new.
            while seen(&bench).split_whitespace().ne([text.as_str(), "755"]) {
                assert!(started.elapsed() < Duration::from_secs(10), "{name} {round}: {}", seen(&bench));
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
        for (name, script) in INSIDE {
            let text = format!("inside-{}-{round}", name.replace(|c: char| !c.is_alphanumeric(), "-"));
            let text_is = format!("T={text}");
            bench.inside(&["env", "F=/workspace/script.sh", &text_is, "sh", "-c", script]);
            let started = Instant::now();
            // Four programs one after the other are slower than an editor: it may be gone for a moment, or not executable yet.
            let there = || {
                let mode = fs::metadata(&here).map(|facts| facts.permissions().mode() & 0o777);
                (fs::read_to_string(&here).unwrap_or_default().trim().to_owned(), mode.unwrap_or(0))
            };
            while there() != (text.clone(), 0o755) {
                assert!(started.elapsed() < Duration::from_secs(10), "{name} {round}: {:?}", there());
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            println!("{name}: seen after {:?}", started.elapsed());
        }
        let status = bench.until("a session", |status| status.session.is_some()).await;
        assert_eq!(status.session.unwrap().conflicts, []);
    }
    bench.flush().await;
    assert_eq!(inside(&bench), contents(&bench.folder.path().join("src")), "and nothing beside it");
}

/// SY-15 with a container: a branch is changed there and back on the host while a program edits inside.
#[tokio::test]
async fn sy15_a_checkout_is_followed_into_a_container() {
    let mut bench = Bench::new().await;
    let folder = bench.folder.path().join("src");
    let many = nightly_or(2_000, 200);
    bench.write("README", "first");
    git(&folder, &["init", "--quiet"]);
    for tag in ["one", "two"] {
        (0..many).for_each(|number| {
            bench.write(&format!("d{}/{number}", number % 20), &format!("{tag} {number}"))
        });
        bench.write(&format!("only-{tag}"), tag);
        git(&folder, &["add", "--all"]);
        git(&folder, &["-c", "user.name=x", "-c", "user.email=x@x", "commit", "--quiet", "--message", tag]);
        git(&folder, &["branch", tag]);
    }
    bench.start(DEBIAN, &[], &["/nexus/nexus-agent", "static", "."]);
    bench.ready().await;
    for round in 0..nightly_or(20, 3) {
        bench.inside(&["sh", "-c", "echo $1 > /workspace/inside", "sh", &round.to_string()]);
        git(&folder, &["checkout", "--quiet", ["one", "two"][round % 2]]);
        bench.flush().await;
        let mut own = contents(&folder);
        own.retain(|path, _| !path.starts_with(".git"));
        assert!(inside(&bench) == own, "{round}");
        assert_eq!(fs::read_to_string(folder.join("inside")).unwrap(), format!("{round}\n"));
        let status = bench.until("a session", |status| status.session.is_some()).await;
        assert_eq!(status.session.unwrap().conflicts, [], "{round}");
    }
}

#[tokio::test]
async fn sy15_an_installation_in_the_container_brings_back_its_lockfile_alone() {
    let there = Command::new("docker").args(["image", "inspect", NODE]).output().unwrap();
    if !there.status.success() {
        return;
    }
    let mut bench = Bench::new().await;
    bench.write("package.json", r#"{"name":"app","version":"1.0.0","dependencies":{"own":"file:./own"}}"#);
    bench.write("own/package.json", r#"{"name":"own","version":"1.0.0"}"#);
    bench.start(NODE, &[], &["/nexus/nexus-agent", "static", "."]);
    bench.ready().await;
    bench.inside(&[
        "sh",
        "-c",
        "cd /workspace && npm install --offline --no-audit --no-fund --cache /tmp/npm",
    ]);
    bench.flush().await;
    let at = |name: &str| bench.folder.path().join("src").join(name);
    assert!(fs::read_to_string(at("package-lock.json")).unwrap().contains("\"own\""));
    assert!(!at("node_modules").exists());
    let status = bench.handle.as_ref().unwrap().status.borrow().clone();
    assert_eq!(status.session.unwrap().conflicts, []);
}
