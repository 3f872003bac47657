//! A syncthing on the host, another in the container.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use std::time::Instant;

use async_trait::async_trait;
use tempfile::TempDir;

use super::super::harness::free_port;
use super::contender::Contender;
use super::contender::Ends;
use super::contender::Way;
use super::peer::Container;
use super::peer::DATA;
use super::peer::Program;

pub const NOTE: &str = "one on the host, one in the container, connected over the engine's bridge; no discovery, no \
     relays, normal priority, edits gathered for 1 s, the shortest it offers";
const PORT: u16 = 22000;
const HOME: &str = "/home/syncthing";

pub struct Syncthing {
    home: TempDir,
    ends: Option<(Program, Container)>,
}

impl Syncthing {
    pub fn new() -> Self {
        Self { home: tempfile::Builder::new().prefix("nexus-bench-").tempdir().unwrap(), ends: None }
    }
}

/// One of the two, as the other's configuration names it.
struct Side {
    id: String,
    address: String,
}

/// Makes a certificate and says who it is.
fn identity(home: &Path) -> String {
    let run = |words: &[&str]| {
        let output = Command::new("syncthing").args(words).env("HOME", home).output().unwrap();
        assert!(output.status.success(), "syncthing {words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let home = format!("--home={}", home.display());
    run(&["generate", &home, "--no-default-folder", "--skip-port-probing"]);
    run(&["--device-id", &home])
}

fn configuration(sides: [&Side; 2], folder: &str, listen: &str) -> String {
    let devices = |inside: &dyn Fn(&Side) -> String| -> String {
        sides.map(|side| format!("<device id='{}'>{}</device>", side.id, inside(side))).concat()
    };
    let shared = devices(&|_| String::new());
    let known = devices(&|side| format!("<address>{}</address>", side.address));
    format!(
        "<configuration version='36'>\
         <folder id='data' path='{folder}' type='sendreceive' rescanIntervalS='3600' fsWatcherEnabled='true' fsWatcherDelayS='1'>\
         {shared}<markerName>.stfolder</markerName></folder>{known}<gui enabled='false'></gui><options>\
         <listenAddress>{listen}</listenAddress><globalAnnounceEnabled>false</globalAnnounceEnabled>\
         <localAnnounceEnabled>false</localAnnounceEnabled><relaysEnabled>false</relaysEnabled><natEnabled>false</natEnabled>\
         <reconnectionIntervalS>1</reconnectionIntervalS><startBrowser>false</startBrowser><urAccepted>-1</urAccepted>\
         <autoUpgradeIntervalH>0</autoUpgradeIntervalH><crashReportingEnabled>false</crashReportingEnabled>\
         <setLowPriority>false</setLowPriority><stunKeepaliveStartS>0</stunKeepaliveStartS></options></configuration>"
    )
}

#[async_trait(?Send)]
impl Contender for Syncthing {
    async fn start(&mut self, tree: PathBuf) -> Ends {
        let (ours, theirs) = (self.home.path().join("host"), self.home.path().join("container"));
        let here = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let host = Side { id: identity(&ours), address: "dynamic".to_owned() };
        let mut container_side = Side { id: identity(&theirs), address: "dynamic".to_owned() };
        // The host calls, the container listens: it cannot reach the host's loopback.
        let inside = configuration([&container_side, &host], DATA, &format!("tcp://0.0.0.0:{PORT}"));
        fs::write(theirs.join("config.xml"), inside).unwrap();

        let mount = format!("{}:{HOME}", theirs.display());
        let options = ["--volume", &mount, "--env", &format!("HOME={HOME}")];
        let home = format!("--home={HOME}");
        let container = Container::prepare("syncthing");
        let copy = container.copy();
        // It shares no folder without this marker.
        fs::create_dir(copy.join(".stfolder")).unwrap();
        fs::create_dir(tree.join(".stfolder")).unwrap();
        container.run(&options, &["syncthing", "serve", "--no-browser", "--no-restart", &home]);
        let address = container.wait_for(PORT).await;
        container_side.address = format!("tcp://{address}");
        let outside =
            configuration([&host, &container_side], tree.to_str().unwrap(), &format!("tcp://{here}"));
        fs::write(ours.join("config.xml"), outside).unwrap();
        fs::write(tree.join(".stignore"), "/.git\n").unwrap();

        let home = format!("--home={}", ours.display());
        let words = ["syncthing", "serve", "--no-browser", "--no-restart", &home];
        let program = Program::start(&words, &ours, &[]);
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
