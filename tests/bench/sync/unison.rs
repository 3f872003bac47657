//! unison on the host, its server in the container.

use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

use async_trait::async_trait;
use tempfile::TempDir;

use super::contender::Contender;
use super::contender::Ends;
use super::contender::Way;
use super::peer::Container;
use super::peer::DATA;
use super::peer::Program;

const PORT: u16 = 7310;

pub struct Unison {
    home: TempDir,
    ends: Option<(Program, Container)>,
}

impl Unison {
    pub fn new() -> Self {
        Self { home: tempfile::Builder::new().prefix("nexus-bench-").tempdir().unwrap(), ends: None }
    }
}

/// Whether it can be told of edits. Debian's package leaves the program out that does so.
fn watches() -> bool {
    Path::new("/usr/bin/unison-fsmonitor").exists()
}

pub fn note() -> String {
    let repeat = if watches() {
        "-repeat watch"
    } else {
        "-repeat 1, because this system's package has no unison-fsmonitor for -repeat watch"
    };
    format!("{repeat}; the server in the container, reached over the engine's bridge")
}

#[async_trait(?Send)]
impl Contender for Unison {
    async fn start(&mut self, tree: PathBuf) -> Ends {
        let port = PORT.to_string();
        let server = ["unison", "-socket", &port, "-listen", "0.0.0.0"];
        let container = Container::start("unison", &["--env", "UNISON=/tmp/unison"], &server);
        let address = container.wait_for(PORT).await;
        let there = format!("socket://{address}/{DATA}");
        let repeat = if watches() { "watch" } else { "1" };
        let words = [
            &["unison", tree.to_str().unwrap(), &there, "-batch", "-auto", "-dumbtty", "-repeat", repeat][..],
            &["-ignore", "Path .git", "-confirmbigdel=false"],
        ];
        let home = self.home.path();
        let program = Program::start(&words.concat(), home, &[("UNISON", home.to_str().unwrap())]);
        let copy = container.copy();
        self.ends = Some((program, container));
        Ends { host: tree, copy }
    }

    async fn began(&self) -> Instant {
        self.ends.as_ref().expect("it was started").0.began
    }

    fn ways(&self) -> &[Way] {
        &[Way::Out, Way::In]
    }

    fn rhythm(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn processes(&self) -> Vec<u32> {
        let ends = self.ends.iter();
        ends.flat_map(|(program, container)| [program.processes(), container.processes()].concat()).collect()
    }
}
