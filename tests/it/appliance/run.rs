//! A program run inside of a workspace: its output as it comes, and its end when nobody waits for it any more.

use std::io::BufRead as _;
use std::io::BufReader;
use std::process::Stdio;
use std::time::Instant;

use super::harness::LATER;
use super::harness::SOON;
use super::harness::TestNode;
use super::harness::docker;

/// Prints a line, starts another program, and waits for ever with it.
const STUBBORN: &str =
    "console.log('begun'); require('child_process').spawn('sleep', ['4321']); setInterval(() => {}, 1000)";

async fn running() -> TestNode {
    let node = TestNode::start().await;
    node.drop_fixture("node-plain", "plain");
    node.wait_for_page("/plain/", 200, "plain node", LATER).await;
    node
}

/// Waits until neither the program nor what it started is left in any container of this node.
async fn wait_until_gone(node: &TestNode) {
    let label = format!("label={}", node.label().unwrap());
    let until = Instant::now() + SOON;
    loop {
        let containers = docker(&["ps", "--quiet", "--filter", &label]);
        let left: String = containers.split_whitespace().map(|id| docker(&["top", id])).collect();
        if !left.contains("sleep 4321") && !left.contains("setInterval") {
            return;
        }
        assert!(Instant::now() < until, "still there:\n{left}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_program_that_takes_too_long_is_ended_with_what_it_started() {
    let node = running().await;
    let (code, out, talk) =
        node.cli(&["workspace", "run", "plain", "--timeout", "2", "--", "node", "-e", STUBBORN]);
    assert_eq!((code, out.as_str()), (124, "begun\n"), "{talk}");
    assert!(talk.contains("did not end within 2s and was killed"), "{talk}");
    wait_until_gone(&node).await;
    let (code, out, talk) =
        node.cli(&["workspace", "run", "plain", "--", "node", "-e", "console.error('no'); process.exit(3)"]);
    assert_eq!((code, out.as_str(), talk.as_str()), (3, "", "no\n"));
    let (code, _, talk) = node.cli(&["workspace", "run", "plain", "--", "no-such-program"]);
    assert!(code == 127 && talk.contains("no-such-program"), "{code}: {talk}");
}

#[tokio::test]
async fn output_comes_as_it_is_printed_and_hanging_up_ends_the_program() {
    let node = running().await;
    let mut command = node.command("workspace");
    command.args(["run", "plain", "--", "node", "-e", STUBBORN]).stdout(Stdio::piped()).stdin(Stdio::null());
    let mut client = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(client.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "begun\n");
    assert!(client.try_wait().unwrap().is_none(), "it goes on");
    // SIGKILL to a process this test started; waiting reaps it.
    client.kill().and_then(|()| client.wait()).unwrap();
    wait_until_gone(&node).await;
}
