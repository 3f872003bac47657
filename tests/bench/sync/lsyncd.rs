//! lsyncd on the host, an rsync daemon in the container.

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use async_trait::async_trait;
use tempfile::TempDir;

use super::contender::Contender;
use super::contender::Ends;
use super::contender::Way;
use super::peer::Container;
use super::peer::DATA;
use super::peer::Program;

pub const NOTE: &str = "host to container only; lsyncd without delay, rsync to a daemon in the container over the \
     engine's bridge (no program has to be started in the container, changed blocks only)";
const PORT: u16 = 8730;

pub struct Lsyncd {
    home: TempDir,
    ends: Option<(Program, Container)>,
}

impl Lsyncd {
    pub fn new() -> Self {
        Self { home: tempfile::Builder::new().prefix("nexus-bench-").tempdir().unwrap(), ends: None }
    }
}

#[async_trait(?Send)]
impl Contender for Lsyncd {
    async fn start(&mut self, tree: PathBuf) -> Ends {
        let home = self.home.path();
        let module = format!("use chroot = no\nuid = 0\ngid = 0\n[data]\npath = {DATA}\nread only = no\n");
        fs::write(home.join("rsyncd.conf"), module).unwrap();
        let mount = format!("{}:/etc/rsyncd.conf:ro", home.join("rsyncd.conf").display());
        let port = PORT.to_string();
        let daemon = ["rsync", "--daemon", "--no-detach", "--port", &port];
        let container = Container::start("lsyncd", &["--volume", &mount], &daemon);
        let address = container.wait_for(PORT).await;

        let settings = format!(
            "settings {{ nodaemon = true, insist = true }}\n\
             sync {{ default.rsync, source = '{}', target = 'rsync://{address}/data', delay = 0, exclude = {{ '/.git' }}, \
             rsync = {{ archive = true, compress = false, whole_file = false }} }}\n",
            tree.display()
        );
        let file = home.join("lsyncd.lua");
        fs::write(&file, settings).unwrap();
        let copy = container.copy();
        let program = Program::start(&["lsyncd", file.to_str().unwrap()], home, &[]);
        self.ends = Some((program, container));
        Ends { host: tree, copy }
    }

    async fn began(&self) -> Instant {
        self.ends.as_ref().expect("it was started").0.began
    }

    fn ways(&self) -> &[Way] {
        &[Way::Out]
    }

    fn processes(&self) -> Vec<u32> {
        let ends = self.ends.iter();
        ends.flat_map(|(program, container)| [program.processes(), container.processes()].concat()).collect()
    }
}
