//! Bad input ends in a sentence that names the cause and the next step, and holds up nobody else.

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::time::Duration;
use std::time::Instant;

use serde_json::Value;

use super::harness::SOON;
use super::harness::TestNode;
use super::harness::docker;

/// How long a program, an installation or many folders at once may take.
const PATIENCE: Duration = Duration::from_secs(90);

/// Files a folder may hold.
const LIMIT: usize = nexus::sync::ENTRIES_MAX as usize;

const START: &str = r#"{"name": "x", "scripts": {"start": "node server.js"}}"#;

/// A workspace that has come to rest.
async fn rested(node: &TestNode, name: &str) -> Value {
    let seen = node.wait_for_workspace(name, "at rest", PATIENCE, |value| {
        value["workspace"]["at_rest"] == true && value["workspace"]["state"] != "pending"
    });
    seen.await["workspace"].clone()
}

/// Checks state, message and hint of a folder that is at fault, and that its page says the same.
async fn refused(node: &TestNode, name: &str, message: &str, hint: &str) {
    let seen = rested(node, name).await;
    let text = |key: &str| seen[key].as_str().unwrap_or_default().to_owned();
    assert_eq!(text("state"), "error", "{seen}");
    assert!(text("message").contains(message), "{name}: no `{message}` in {seen}");
    assert!(text("hint").contains(hint), "{name}: no `{hint}` in {seen}");
    let address: String = name.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let page = node.get(&format!("/{address}/")).await.unwrap();
    assert!(page.status == 502 || page.status == 404, "{name}: {page:?}");
    let plain = plain(&page.body);
    let said = message.replace('`', "");
    assert!(plain.to_lowercase().contains(&said.to_lowercase()), "{name}: no `{said}` in {plain}");
}

/// A page's text.
fn plain(html: &str) -> String {
    let mut text = String::new();
    let mut inside = false;
    for character in html.chars() {
        match character {
            '<' => inside = true,
            '>' => inside = false,
            other if !inside => text.push(other),
            _ => {}
        }
    }
    text.replace("&quot;", "\"")
        .replace("&#39;", "'")
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&amp;", "&")
}

#[tokio::test]
async fn names_that_are_none_are_explained_or_close_ones_given() {
    let node = TestNode::start().await;
    for folder in ["Upper", "My App", "my-app", "caf\u{e9} noir", "api", "static", "_x", "\u{65e5}\u{672c}"] {
        node.write(&format!("{folder}/index.html"), &format!("<p>text of {folder}</p>"));
    }
    node.wait_for_page("/upper/", 200, "text of Upper", SOON).await;
    node.wait_for_page("/my-app/", 200, "text of my-app", SOON).await;
    node.wait_for_page("/caf-noir/", 200, "text of caf\u{e9} noir", SOON).await;
    let upper = rested(&node, "upper").await;
    assert!(upper["notices"].to_string().contains("answers at /upper/"), "{upper}");

    refused(&node, "My App", "the folders `My App` and `my-app` would both be `/my-app/`", "rename one")
        .await;
    refused(&node, "api", "the name `api` is reserved", "`api-app`").await;
    refused(&node, "static", "the name `static` is reserved", "`static-app`").await;
    refused(&node, "_x", "the name `_x` is not a workspace name", "`x`").await;
    refused(&node, "\u{65e5}\u{672c}", "is not a workspace name", "a-z").await;
    let index = plain(&node.get("/").await.unwrap().body);
    for said in
        ["The folders My App and my-app would both be", "The name api is reserved", "Rename one of the two"]
    {
        assert!(index.contains(said), "`{said}` is not on the index page: {index}");
    }
}

#[tokio::test]
async fn folders_that_cannot_run_say_what_to_mend() {
    let node = TestNode::start().await;
    fs::create_dir(node.projects().join("empty")).unwrap();
    node.write(
        "package/package.json",
        "{\n  \"name\": \"x\",\n  \"scripts\": {\"start\": \"node s.js\",}\n}\n",
    );
    node.write("pyproject/pyproject.toml", "[project]\nname = \"x\"\ndependencies = [ \"flask\"\n");
    node.write("compose/compose.yaml", "services:\n  web:\n    image: nginx\n   ports: [80]\n");
    node.write("own/.nexus/config.yaml", "start: [\n");
    node.write("own/index.html", "x");
    node.write("startless/package.json", r#"{"name": "startless", "scripts": {"test": "x"}}"#);
    node.write("strange/notes.doc", "x");
    node.write("fine/index.html", "fine text");

    refused(&node, "empty", "the folder is empty", "`index.html`").await;
    refused(&node, "package", "not valid JSON: trailing comma (package.json:3:36)", "mend the file").await;
    refused(&node, "pyproject", "(pyproject.toml:3:25)", "mend the file").await;
    refused(&node, "compose", "(compose.yaml:4:4)", "mend the file").await;
    refused(&node, "own", "(.nexus/config.yaml:2:1)", "mend the file").await;
    refused(&node, "startless", "no start script", "`\"start\": \"node FILE\"`").await;
    refused(&node, "strange", "nothing here says how to run it", "one folder further down").await;
    node.wait_for_page("/fine/", 200, "fine text", SOON).await;
    // Programs get the same as JSON.
    let client = std::process::Command::new("curl")
        .args(["-s", "--max-time", "5", "-H", "accept: application/json"])
        .arg(format!("http://127.0.0.1:{}/package/", node.web))
        .output()
        .unwrap();
    let error: Value = serde_json::from_slice(&client.stdout).unwrap();
    assert!(error["error"]["message"].as_str().unwrap().contains("package.json:3:36"), "{error}");
    assert!(error["error"]["hint"].as_str().unwrap().contains("mend the file"), "{error}");
    // What is mended runs.
    node.write("empty/index.html", "no longer empty");
    node.wait_for_page("/empty/", 200, "no longer empty", SOON).await;
}

#[tokio::test]
async fn programs_that_end_fail_or_hide_say_so() {
    let node = TestNode::start().await;
    let server = |name: &str, source: &str| {
        node.write(&format!("{name}/package.json"), START);
        node.write(&format!("{name}/server.js"), source);
    };
    server("local", "require('http').createServer((q, s) => s.end('local text')).listen(3000, '127.0.0.1')");
    server("exits", "console.log('first words'); console.error('boom <b>4711</b>'); process.exit(1)");
    server("prints", "console.log('the answer is 42')");
    server("locks", "require('http').createServer((q, s) => s.end('locks text')).listen(process.env.PORT)");
    node.write("locks/yarn.lock", "");
    node.write("locks/package-lock.json", r#"{"name": "x", "lockfileVersion": 3, "packages": {}}"#);
    let absent =
        r#"{"name": "x", "dependencies": {"absent": "1.0.0"}, "scripts": {"start": "node server.js"}}"#;
    server("registry", "require('http')");
    node.write("registry/package.json", absent);
    node.write("registry/.npmrc", "registry=http://127.0.0.1:9/\nfetch-retries=0\n");

    node.write("gems/Gemfile", "source \"http://127.0.0.1:9\"\ngem \"rack\"\ngem \"absent-4711\"\n");
    node.write("gems/config.ru", "run ->(_) { [200, {}, ['x']] }\n");

    node.wait_for_page("/local/", 200, "local text", PATIENCE).await;
    let local = rested(&node, "local").await;
    assert!(local["notices"].to_string().contains("127.0.0.1 only"), "{local}");
    node.wait_for_page("/locks/", 200, "locks text", PATIENCE).await;
    let locks = rested(&node, "locks").await;
    assert!(locks["notices"].to_string().contains("several lockfiles"), "{locks}");

    let page = node.wait_for_page("/prints/", 200, "the answer is 42", PATIENCE).await;
    assert!(page.body.contains("has finished"), "{page:?}");
    assert_eq!(rested(&node, "prints").await["phase"], "finished");

    let failed = |value: &Value| value["workspace"]["phase"] == "failed";
    let exits = node.wait_for_workspace("exits", "failed", PATIENCE, failed).await;
    assert_eq!(exits["workspace"]["message"], "`node server.js` ended with code 1");
    assert!(exits["workspace"]["log_tail"].to_string().contains("boom"), "{exits}");
    let page = node.wait_for_page("/exits/", 502, "boom &lt;b&gt;4711&lt;/b&gt;", PATIENCE).await;
    assert!(page.body.contains("first words"), "{page:?}");

    let registry = node.wait_for_workspace("registry", "failed", PATIENCE, failed).await;
    let message = registry["workspace"]["message"].as_str().unwrap();
    assert!(message.contains("npm install") && message.contains("code 1"), "{registry}");
    assert!(registry["workspace"]["log_tail"].to_string().contains("ECONNREFUSED"), "{registry}");
    assert!(registry["workspace"]["hint"].to_string().contains("cannot be reached"), "{registry}");

    let gems = node.wait_for_workspace("gems", "failed", PATIENCE, failed).await;
    assert!(gems["workspace"]["message"].as_str().unwrap().contains("bundle install"), "{gems}");
    assert!(gems["workspace"]["hint"].to_string().contains("cannot be reached"), "{gems}");
}

#[tokio::test]
async fn links_lead_nowhere_outside() {
    let node = TestNode::start().await;
    let outside = node.home().join("../canary");
    fs::write(&outside, "canary-4711").unwrap();
    let folder = node.projects().join("links");
    node.write("links/index.html", "inside text");
    symlink("../../canary", folder.join("relative.txt")).unwrap();
    symlink(&outside, folder.join("absolute.txt")).unwrap();
    symlink("/etc", folder.join("etc")).unwrap();
    symlink(".", folder.join("itself")).unwrap();
    symlink("b", folder.join("a")).unwrap();
    symlink("a", folder.join("b")).unwrap();
    symlink("index.html", folder.join("alias.html")).unwrap();
    symlink(&outside, node.projects().join("linked-folder")).unwrap();
    node.wait_for_page("/links/", 200, "inside text", SOON).await;
    node.wait_for_page("/links/alias.html", 200, "inside text", SOON).await;
    for path in
        ["relative.txt", "absolute.txt", "etc/passwd", "etc/hostname", "a", "b", "itself/relative.txt"]
    {
        let answer = node.get(&format!("/links/{path}")).await.unwrap();
        assert_ne!(answer.status, 200, "{path}: {answer:?}");
        assert!(!answer.body.contains("canary-4711"), "{path}");
    }
    let seen = rested(&node, "links").await;
    assert!(seen["sync"]["skipped"].to_string().contains("leads out of the folder"), "{seen}");
}

#[tokio::test]
async fn a_folder_that_never_settles_is_named_and_can_be_taken() {
    let node = TestNode::start().await;
    node.write("busy/index.html", "busy text");
    node.write("calm/index.html", "calm text");
    let file = node.projects().join("busy/growing.log");
    let writing = tokio::spawn(async move {
        let mut every = tokio::time::interval(Duration::from_millis(50));
        loop {
            every.tick().await;
            fs::File::options().create(true).append(true).open(&file).unwrap().write_all(b"x").unwrap();
        }
    });
    let began = Instant::now();
    node.wait_for_page("/calm/", 200, "calm text", SOON).await;
    let restless = |value: &Value| {
        let message = value["workspace"]["message"].as_str().unwrap_or_default();
        message.contains("changing for") && message.contains("growing.log")
    };
    let seen = node.wait_for_workspace("busy", "the file that changes", PATIENCE, restless).await;
    assert!(began.elapsed() < Duration::from_secs(14), "said after {:?}", began.elapsed());
    assert!(seen["workspace"]["hint"].as_str().unwrap().contains("nexus workspace start busy"), "{seen}");
    let (code, _, error) = node.cli(&["workspace", "start", "busy"]);
    assert_eq!(code, 0, "{error}");
    node.wait_for_page("/busy/", 200, "busy text", SOON).await;
    writing.abort();
}

#[tokio::test]
async fn a_folder_with_very_many_files_holds_up_nobody() {
    let files: usize = std::env::var("NEXUS_TEST_FILES").ok().and_then(|n| n.parse().ok()).unwrap_or(20_000);
    let node = TestNode::start().await;
    let folder = node.projects().join("many");
    for file in 0..files {
        let directory = folder.join((file / 1000).to_string());
        if file % 1000 == 0 {
            fs::create_dir_all(&directory).unwrap();
        }
        fs::File::create(directory.join(file.to_string())).unwrap();
    }
    fs::write(folder.join("index.html"), "many text").unwrap();
    let written = Instant::now();
    node.write("other/index.html", "other text");
    node.wait_for_page("/other/", 200, "other text", Duration::from_secs(10)).await;
    let known = Duration::from_secs(5).saturating_sub(written.elapsed()).max(Duration::from_millis(1));
    node.wait_for_workspace("many", "known at all", known, |_| true).await;
    if files > LIMIT {
        // More than is carried: said, and what is named in `exclude` no longer counts.
        let many = |value: &Value| value["workspace"]["state"] == "error";
        let seen = node.wait_for_workspace("many", "too many files", SOON + PATIENCE, many).await;
        let message = seen["workspace"]["message"].as_str().unwrap();
        assert!(message.contains(&format!("more than {LIMIT} files")), "{seen}");
        assert!(seen["workspace"]["hint"].as_str().unwrap().contains("`exclude: [data]`"), "{seen}");
        let names: Vec<String> = (0..files.div_ceil(1000)).map(|directory| directory.to_string()).collect();
        node.write("many/.nexus/config.yaml", &serde_json::json!({"exclude": names}).to_string());
    }
    node.wait_for_page("/many/", 200, "many text", SOON + Duration::from_millis(files as u64)).await;
    let status = fs::read_to_string(format!("/proc/{}/status", node.child.as_ref().unwrap().id())).unwrap();
    let peak = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    println!("{files} files: the node's {peak}, {:?} after the last was written", written.elapsed());
}

/// A node whose engine is at this address.
fn node_with_engine(address: &str) -> TestNode {
    let mut node = TestNode::prepare();
    // Not an engine that what was made could be removed from.
    node.set("NEXUS_ENGINE_SOCKET", address);
    node.spawn();
    node
}

#[tokio::test]
async fn an_engine_that_is_absent_old_or_silent_is_said_at_once() {
    let directory = tempfile::tempdir().unwrap();
    // Accepts and never answers: the kernel takes connections for a listener nobody asks.
    let silent = directory.path().join("silent.sock");
    let _silent = UnixListener::bind(&silent).unwrap();
    let old = directory.path().join("old.sock");
    let listener = UnixListener::bind(&old).unwrap();
    let _old = std::thread::spawn(move || {
        let body = r#"{"Version":"1.0","ApiVersion":"1.12","MinAPIVersion":"1.10"}"#;
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut bytes = [0; 4096];
            let _read = std::io::Read::read(&mut stream, &mut bytes);
            let _written = write!(
                stream,
                "HTTP/1.1 200 OK\r\nApi-Version: 1.12\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
        }
    });
    let absent = directory.path().join("absent.sock");
    for (socket, said) in [
        (absent, "no container engine answered"),
        (old, "the engine speaks API 1.12"),
        (silent, "no container engine answered"),
    ] {
        let node = node_with_engine(&format!("unix://{}", socket.display()));
        node.write("site/index.html", "x");
        node.wait_until_up().await;
        let known = |value: &Value| {
            value["workspace"]["message"].as_str().is_some_and(|message| message.contains(said))
        };
        let seen = node.wait_for_workspace("site", said, SOON, known).await;
        assert!(seen["workspace"]["hint"].is_string(), "{seen}");
        let began = Instant::now();
        let page = node.get("/site/").await.unwrap();
        assert!(plain(&page.body).contains(&said[3..]), "{page:?}");
        assert!(plain(&node.get("/").await.unwrap().body).contains(&said[3..]));
        assert!(began.elapsed() < Duration::from_secs(1), "{said}: {:?}", began.elapsed());
        let began = Instant::now();
        let (code, status, error) = node.cli(&["status"]);
        assert!(code == 0 && status.contains("engine      does not answer"), "{code} {status} {error}");
        assert!(status.contains("problem:") && status.contains("hint:"), "{status}");
        assert!(began.elapsed() < Duration::from_secs(1), "{said}: {:?}", began.elapsed());
    }
}

/// Runs `nexus serve` until it ends by itself, 2 s at most.
fn refuses(node: &TestNode) -> (i32, String) {
    let mut child = node.command("serve").stderr(std::process::Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(2);
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            child.kill().unwrap();
            panic!("it did not end within 2 s");
        }
        std::thread::yield_now();
    }
    let output = child.wait_with_output().unwrap();
    (output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test]
async fn taken_ports_and_homes_are_named_with_the_way_out() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    for (setting, variable) in
        [("web.listen", "NEXUS_WEB_LISTEN"), ("control.listen", "NEXUS_CONTROL_LISTEN")]
    {
        let mut node = TestNode::prepare();
        node.set(variable, &format!("127.0.0.1:{port}"));
        let (code, said) = refuses(&node);
        assert_eq!(code, 4, "{said}");
        assert!(said.contains(&port.to_string()) && said.contains(setting), "{said}");
        assert!(said.contains(variable), "{said}");
        let holder = format!("(process {})", std::process::id());
        assert!(said.contains(&format!("port {port} is taken by `")) && said.contains(&holder), "{said}");
    }
    let node = TestNode::start().await;
    let (code, said) = refuses(&node);
    assert_eq!(code, 4, "{said}");
    assert!(said.contains("another node already runs") && said.contains("NEXUS_HOME"), "{said}");
    assert!(node.get("/").await.is_some(), "the first node goes on");
}

#[tokio::test]
async fn two_nodes_on_one_engine_leave_each_other_alone() {
    let (mut one, mut two) = (TestNode::prepare(), TestNode::prepare());
    // Before they start, so that neither places the sample.
    one.write("same/index.html", "text of one");
    two.write("same/index.html", "text of two");
    one.spawn();
    two.spawn();
    one.wait_for_page("/same/", 200, "text of one", SOON).await;
    two.wait_for_page("/same/", 200, "text of two", SOON).await;
    let containers = |node: &TestNode| {
        docker(&["ps", "--all", "--quiet", "--filter", &format!("label={}", node.label().unwrap())])
    };
    let (ones, twos) = (containers(&one), containers(&two));
    assert_eq!((ones.lines().count(), twos.lines().count()), (1, 1));
    let (code, _, error) = one.cli(&["workspace", "remove", "same", "--purge", "--yes"]);
    assert_eq!(code, 0, "{error}");
    let deadline = Instant::now() + SOON;
    while !containers(&one).is_empty() {
        assert!(Instant::now() < deadline, "never removed");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    one.kill();
    assert_eq!(containers(&two), twos);
    two.wait_for_page("/same/", 200, "text of two", SOON).await;
}
