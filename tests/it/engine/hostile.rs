//! Engines that are not there, hang, lie or speak another version: every call ends in time and says why.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use futures::StreamExt as _;
use nexus::base::fault::Explain as _;
use nexus::engine::Engine;
use nexus::engine::Error;
use nexus::engine::Exec;
use nexus::engine::Labels;
use nexus::engine::Stack;

use super::fake::Answer;
use super::fake::Fake;
use super::fake::version;

/// What every call may take at most: its own time-out and some for a busy machine.
const AT_MOST: Duration = Duration::from_secs(5);

async fn containers(engine: &dyn Engine) -> Result<usize, Error> {
    let begun = Instant::now();
    let found = engine.containers(&Labels::new()).await;
    assert!(begun.elapsed() < AT_MOST, "took {:?}", begun.elapsed());
    found.map(|found| found.len())
}

fn unreachable(error: &Error) -> bool {
    matches!(error, Error::Unreachable { .. })
}

#[tokio::test]
async fn an_engine_that_is_not_there_is_said_at_once() {
    let fake = Fake::absent();
    let error = containers(&fake.engine()).await.unwrap_err();
    let address = fake.path().display().to_string();
    assert_eq!(error.to_string(), format!("no container engine answered at unix://{address} within 1s"));
    assert!(error.hint().unwrap().contains("engine.socket"));
    std::fs::write(fake.path(), "").unwrap();
    assert!(unreachable(&containers(&fake.engine()).await.unwrap_err()), "a file is no socket");
}

#[tokio::test]
async fn an_engine_that_hangs_holds_nobody_up() {
    let mute = Fake::new(|_| Answer::Stalls(b""));
    let engine = mute.engine();
    assert!(unreachable(&containers(&engine).await.unwrap_err()));
    let stack =
        Stack { project: "x".to_owned(), file: "/nowhere/x.yaml".into(), directory: "/nowhere".into() };
    let begun = Instant::now();
    let error = engine.up(&stack, tokio::sync::mpsc::channel(1).0).await.unwrap_err();
    assert!(unreachable(&error) && begun.elapsed() < AT_MOST);
    let error = engine.events(&Labels::new()).await.err().unwrap();
    assert!(unreachable(&error));
    let exec = Exec { argv: vec!["true".to_owned()], ..Exec::default() };
    assert!(unreachable(&engine.pipe("x", &exec).await.err().unwrap()));

    for half in [&b""[..], b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[{"] {
        let fake = Fake::new(move |asked| match asked {
            "GET /version" => Answer::Says(200, version("1.24", "1.45")),
            _ => Answer::Stalls(half),
        });
        assert!(unreachable(&containers(&fake.engine()).await.unwrap_err()), "{half:?}");
    }
    let cut = b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n[{\"Id\":";
    let fake = Fake::new(|asked| match asked {
        "GET /version" => Answer::Says(200, version("1.24", "1.45")),
        _ => Answer::Raw(cut),
    });
    let error = containers(&fake.engine()).await.unwrap_err();
    assert!(unreachable(&error), "an engine that ends mid-answer is gone: {error:?}");
}

#[tokio::test]
async fn an_engine_that_falls_silent_ends_an_up_that_waits_for_it() {
    let pings = AtomicUsize::new(0);
    let fake = Fake::new(move |asked| match asked {
        "GET /version" => Answer::Says(200, version("1.24", "1.45")),
        // Alive at first, so that Compose is started; then mute to it and to us.
        "GET /v1.45/_ping" if pings.fetch_add(1, Ordering::Relaxed) == 0 => {
            Answer::Says(200, "OK".to_owned())
        }
        _ => Answer::Stalls(b""),
    });
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("compose.yaml");
    std::fs::write(&file, "services: { app: { image: x } }").unwrap();
    let stack = Stack { project: "x".to_owned(), file, directory: directory.path().to_owned() };
    let engine = fake.engine();
    let up = engine.up(&stack, tokio::sync::mpsc::channel(1).0);
    let error = tokio::time::timeout(Duration::from_secs(20), up).await.expect("it ends").unwrap_err();
    assert!(unreachable(&error), "{error:?}");
    assert!(fake.asked().contains(&"HEAD /_ping".to_owned()), "Compose was at it: {:?}", fake.asked());
}

#[test]
fn a_socket_we_may_not_use_is_told_apart() {
    let denied = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
    let unreachable =
        |source| Error::Unreachable { socket: "unix:///x".to_owned(), seconds: 5, source: Some(source) };
    assert!(unreachable(denied.into()).hint().unwrap().contains("group"));
    assert!(unreachable("other".into()).hint().unwrap().contains("start the engine"));
}

#[tokio::test]
async fn an_answer_that_makes_no_sense_is_said_to_make_none() {
    for (answer, expect) in [
        (&b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n[{\"Id\":"[..], "EOF"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{\"a\":\"b\"}", "expected a sequence"),
        (b"SSH-2.0-OpenSSH_9.2p1\r\n", ""),
    ] {
        let fake = Fake::new(move |asked| match asked {
            "GET /version" => Answer::Says(200, version("1.24", "1.45")),
            _ => Answer::Raw(answer),
        });
        let error = containers(&fake.engine()).await.unwrap_err();
        assert!(matches!(error, Error::Garbled { .. }), "{error:?}");
        assert!(error.to_string().starts_with("the engine's answer cannot be read: "), "{error}");
        assert!(error.to_string().contains(expect), "{error}");
    }
}

#[tokio::test]
async fn an_answer_without_end_is_cut_off() {
    let fake = Fake::new(|asked| match asked {
        "GET /version" => Answer::Says(200, version("1.24", "1.45")),
        _ => Answer::Floods,
    });
    // The flood is limited by bytes, not by time.
    let engine = fake.patient_engine(Duration::from_secs(30));
    let error = engine.containers(&Labels::new()).await.unwrap_err();
    assert!(matches!(&error, Error::Garbled { message } if message.contains("64 MiB")), "{error:?}");
}

#[tokio::test]
async fn refusals_keep_the_engines_words() {
    for (status, message, expect) in [
        (500, "it broke", "the engine refused: it broke"),
        (
            500,
            "write /var/lib/docker/x: no space left on device",
            "the engine's disk is full: write /var/lib/docker/x: no space left on device",
        ),
        (409, "name is taken", "name is taken"),
        (404, "no such volume", "no such volume: `data`"),
        (503, "", "the engine refused: status 503"),
    ] {
        let fake = Fake::new(move |asked| match asked {
            "GET /version" => Answer::Says(200, version("1.24", "1.45")),
            _ => Answer::Says(status, format!(r#"{{"message":"{message}"}}"#)),
        });
        let error = fake.engine().ensure_volume("data", &Labels::new()).await.unwrap_err();
        assert_eq!(error.to_string(), expect);
    }
}

#[tokio::test]
async fn the_newest_version_both_know_is_spoken() {
    for (min, max, path) in [
        ("1.24", "1.41", "GET /v1.41/containers/json"),
        ("1.24", "1.45", "GET /v1.45/containers/json"),
        ("1.44", "1.60", "GET /v1.53/containers/json"),
    ] {
        let fake = Fake::speaking(min, max, "[]");
        let engine = fake.engine();
        assert_eq!(containers(&engine).await.unwrap(), 0);
        assert_eq!(containers(&engine).await.unwrap(), 0);
        assert_eq!(fake.asked(), ["GET /version", path, path], "agreed once");
    }
    for (min, max, expect) in [
        ("1.12", "1.20", "the engine speaks API 1.20 at most, this node needs 1.41 or newer"),
        ("1.99", "1.120", "the engine speaks API 1.99 at least, this node knows 1.53 at most"),
    ] {
        let fake = Fake::speaking(min, max, "[]");
        assert_eq!(containers(&fake.engine()).await.unwrap_err().to_string(), expect);
        assert_eq!(fake.asked(), ["GET /version"]);
    }
}

#[tokio::test]
async fn an_engine_that_comes_back_older_is_agreed_with_anew() {
    let mut fake = Fake::speaking("1.24", "1.45", "[]");
    let engine = fake.engine();
    assert_eq!(containers(&engine).await.unwrap(), 0);
    fake.end();
    assert!(unreachable(&containers(&engine).await.unwrap_err()));
    let older = version("1.12", "1.41");
    fake.begin(move |asked| match asked {
        "GET /version" => Answer::Says(200, older.clone()),
        _ => Answer::Says(200, "[]".to_owned()),
    });
    assert_eq!(containers(&engine).await.unwrap(), 0);
    assert_eq!(fake.asked().last().unwrap(), "GET /v1.41/containers/json");
}

#[tokio::test]
async fn events_end_with_the_engine_and_bad_ones_are_errors() {
    const STREAM: &[u8] = b"HTTP/1.1 200 OK\r\n\r\n{\"Type\":\"container\",\"Action\":\"start\",\"Actor\":{\"Attributes\":{\"a\":\"b\"}}}\nnonsense\n";
    let fake = Fake::new(|asked| match asked {
        "GET /version" => Answer::Says(200, version("1.24", "1.45")),
        _ => Answer::Raw(STREAM),
    });
    let mut events = fake.engine().events(&Labels::new()).await.unwrap();
    let first = events.next().await.unwrap().unwrap();
    assert_eq!((first.object.as_str(), first.action.as_str()), ("container", "start"));
    assert_eq!(first.labels, Labels::from([("a".to_owned(), "b".to_owned())]));
    assert!(matches!(events.next().await.unwrap(), Err(Error::Garbled { .. })));
    assert!(tokio::time::timeout(AT_MOST, events.next()).await.unwrap().is_none());
}
