//! `tar` on one side, `docker exec tar` on the other: the least that carrying files through the engine costs.

use std::cell::Cell;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Instant;

use async_trait::async_trait;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::contender::Contender;
use super::contender::Ends;
use super::contender::Way;
use super::peer::Container;
use super::peer::DATA;

pub const NOTE: &str = "tar | docker exec tar of the edited paths, known beforehand: it notices nothing by itself; \
     until it has returned, single edits until they are visible";

pub struct Pipe {
    ends: Option<(PathBuf, Container)>,
    began: Cell<Instant>,
}

impl Pipe {
    pub fn new() -> Self {
        Self { ends: None, began: Cell::new(Instant::now()) }
    }
}

#[async_trait(?Send)]
impl Contender for Pipe {
    async fn start(&mut self, tree: PathBuf) -> Ends {
        let container = Container::start("tar", &[], &["sleep", "3600"]);
        let ends = Ends { host: tree.clone(), copy: container.copy() };
        self.ends = Some((tree, container));
        self.began.set(Instant::now());
        ends
    }

    async fn began(&self) -> Instant {
        self.began.get()
    }

    async fn carry(&self, way: Way, paths: &[String]) {
        let (tree, container) = self.ends.as_ref().expect("it was started");
        let tree = tree.to_str().unwrap();
        let here = ["tar", "--directory", tree];
        let there = ["docker", "exec", "--interactive", container.name(), "tar", "--directory", DATA];
        let (from, to) = match way {
            Way::Out => (&here[..], &there[..]),
            Way::In => (&there[..], &here[..]),
        };
        let what = if paths.is_empty() { ["--exclude=./.git", "."] } else { ["--files-from", "-"] };
        let start = |words: &[&str], more: &[&str], stdin: Stdio, stdout: Stdio| {
            let words = [words, more].concat();
            let mut command = Command::new(words[0]);
            command.args(&words[1..]).stdin(stdin).stdout(stdout).kill_on_drop(true).spawn().unwrap()
        };
        let mut from = start(from, &[&["--create"], &what[..]].concat(), Stdio::piped(), Stdio::piped());
        let output: Stdio = from.stdout.take().expect("it is piped").try_into().unwrap();
        let mut to = start(to, &["--extract"], output, Stdio::null());
        let mut names = from.stdin.take().expect("it is piped");
        names.write_all(paths.join("\n").as_bytes()).await.unwrap();
        drop(names);
        let (read, written) = tokio::join!(from.wait(), to.wait());
        assert!(read.unwrap().success() && written.unwrap().success(), "the pipe carries");
    }

    fn ways(&self) -> &[Way] {
        &[Way::Out, Way::In]
    }

    fn processes(&self) -> Vec<u32> {
        vec![]
    }
}
