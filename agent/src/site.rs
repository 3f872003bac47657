//! Serves a folder of files over HTTP. The serving itself is tower-http's.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use http_body_util::BodyExt;
use http_body_util::Empty;
use http_body_util::Full;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::Request;
use hyper::Response;
use hyper::StatusCode;
use hyper::body::Body as _;
use hyper::body::Bytes;
use hyper::body::Incoming;
use hyper::header;
use hyper::header::HeaderValue;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::rt::TokioTimer;
use rustix::io::Errno;
use tokio::net::TcpListener;
use tower_http::services::ServeDir;
use tower_http::services::ServeFile;

use crate::accept::accept;

/// Connections served at a time.
const CONNECTIONS: usize = 1_024;

type Answer = Response<UnsyncBoxBody<Bytes, io::Error>>;

/// What is served, and how.
#[derive(Debug)]
struct Site {
    files: ServeDir,
    /// Answered where there is no file: the page of an application that routes by itself, or the site's own 404.
    missing: Option<(ServeFile, StatusCode)>,
}

impl Site {
    fn new(directory: &Path, fallback: bool) -> Self {
        // `/about` finds `about.html`: exporters write it so.
        let files = ServeDir::new(directory).html_as_default_extension(true);
        let own = directory.join("404.html");
        let missing = if fallback {
            Some((ServeFile::new(directory.join("index.html")), StatusCode::OK))
        } else {
            own.is_file().then(|| (ServeFile::new(own), StatusCode::NOT_FOUND))
        };
        Self { files, missing }
    }

    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let hidden = is_hidden(request.uri().path());
        let method = request.method().clone();
        let mut headers = request.headers().clone();
        let mut answer = if hidden {
            plain(StatusCode::NOT_FOUND, "not found\n")
        } else {
            unwrap(self.files.clone().try_call(request).await)
        };
        if let Some((page, status)) = &self.missing
            && !hidden
            && answer.status() == StatusCode::NOT_FOUND
        {
            // The page is another file than the one asked for: no condition or range is about it.
            CONDITIONS.iter().for_each(|name| drop(headers.remove(name)));
            let mut request = Request::new(Empty::<Bytes>::new());
            *request.method_mut() = method;
            *request.headers_mut() = headers;
            answer = unwrap(page.clone().try_call(request).await);
            if answer.status() == StatusCode::OK {
                *answer.status_mut() = *status;
            }
        }
        if answer.status() == StatusCode::NOT_FOUND && answer.body().size_hint().exact() == Some(0) {
            answer = plain(StatusCode::NOT_FOUND, "not found\n");
        }
        // Edits show at once: a browser asks again, and is told `304` where nothing changed.
        answer.headers_mut().entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache"));
        answer
    }
}

/// Headers that are about one particular file.
const CONDITIONS: [header::HeaderName; 6] = [
    header::RANGE,
    header::IF_RANGE,
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_UNMODIFIED_SINCE,
];

fn unwrap<B>(answer: io::Result<Response<B>>) -> Answer
where
    B: hyper::body::Body<Data = Bytes, Error = io::Error> + Send + 'static,
{
    answer.map_or_else(
        |error| match Errno::from_io_error(&error) {
            Some(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS | Errno::PERM | Errno::NAMETOOLONG) => {
                plain(StatusCode::NOT_FOUND, "not found\n")
            }
            Some(Errno::LOOP) => {
                plain(StatusCode::NOT_FOUND, "not found: a link there leads back to itself\n")
            }
            _ => plain(StatusCode::INTERNAL_SERVER_ERROR, "the file cannot be read\n"),
        },
        |answer| answer.map(BodyExt::boxed_unsync),
    )
}

fn plain(status: StatusCode, text: &'static str) -> Answer {
    let body = Full::new(Bytes::from_static(text.as_bytes())).map_err(|never| match never {}).boxed_unsync();
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    answer
}

/// Whether a path names something that starts with a dot (`.git`, `.env`), however it is spelt. `.well-known` is meant
/// to be seen.
fn is_hidden(path: &str) -> bool {
    let decoded = decode(path);
    decoded
        .split(|byte| *byte == b'/' || *byte == b'\\')
        .any(|part| part.first() == Some(&b'.') && part != b".well-known")
}

/// Undoes percent encoding, once; what is malformed stays.
fn decode(path: &str) -> Vec<u8> {
    let bytes = path.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let hex = (byte == b'%').then(|| path.get(at + 1..at + 3)).flatten();
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(value) => {
                decoded.push(value);
                at += 3;
            }
            None => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    decoded
}

/// Serves `directory` at `address` until the process ends.
///
/// # Errors
/// When the directory is not there or the address is taken.
pub async fn serve(directory: &Path, address: SocketAddr, fallback: bool) -> io::Result<()> {
    if !directory.is_dir() {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            format!("there is no folder `{}` to serve", directory.display()),
        ));
    }
    let listener = TcpListener::bind(address).await?;
    let site = Arc::new(Site::new(directory, fallback));
    serve_on(listener, site).await;
    Ok(())
}

async fn serve_on(listener: TcpListener, site: Arc<Site>) {
    accept(listener, CONNECTIONS, move |stream| {
        let site = Arc::clone(&site);
        async move {
            let service = service_fn(move |request| {
                let site = Arc::clone(&site);
                async move { Ok::<_, Infallible>(site.answer(request).await) }
            });
            let mut http = hyper::server::conn::http1::Builder::new();
            let served = http.timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
            drop(served.await);
        }
    })
    .await;
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;
    use tokio::io::AsyncWriteExt as _;
    use tokio::task::JoinSet;

    use super::*;

    async fn started(fallback: bool) -> (tempfile::TempDir, SocketAddr, JoinSet<()>) {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("index.html", "home"),
            ("about.html", "about"),
            ("app.js", "0123456789"),
            (".env", "secret"),
            ("404.html", "lost"),
        ] {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        std::fs::create_dir_all(folder.path().join("docs")).unwrap();
        std::fs::create_dir_all(folder.path().join(".git")).unwrap();
        std::fs::write(folder.path().join("docs/index.html"), "docs").unwrap();
        std::fs::write(folder.path().join(".git/config"), "secret").unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(serve_on(listener, Arc::new(Site::new(folder.path(), fallback))));
        (folder, address, tasks)
    }

    async fn get(address: SocketAddr, path: &str, extra: &str) -> String {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{extra}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    fn status(answer: &str) -> &str {
        &answer[9..12]
    }

    #[tokio::test]
    async fn a_site_is_served_with_indexes_ranges_and_its_own_404() {
        let (_folder, address, _tasks) = started(false).await;
        for (path, body) in
            [("/", "home"), ("/docs/", "docs"), ("/about", "about"), ("/app.js", "0123456789")]
        {
            let answer = get(address, path, "").await;
            assert_eq!((status(&answer), answer.ends_with(body)), ("200", true), "{path}: {answer}");
        }
        let range = get(address, "/app.js", "range: bytes=2-4\r\n").await;
        assert_eq!((status(&range), range.ends_with("\r\n\r\n234")), ("206", true), "{range}");
        let lost = get(address, "/nope", "").await;
        assert_eq!((status(&lost), lost.ends_with("lost")), ("404", true), "{lost}");
        assert!(lost.to_lowercase().contains("cache-control: no-cache"), "{lost}");
        let first = get(address, "/app.js", "").await.to_lowercase();
        let tag = first.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap();
        assert_eq!(status(&get(address, "/app.js", &format!("if-none-match: {tag}\r\n")).await), "304");
    }

    #[tokio::test]
    async fn an_application_gets_its_page_for_every_unknown_path() {
        let (_folder, address, _tasks) = started(true).await;
        let answer = get(address, "/users/7", "if-none-match: *\r\n").await;
        assert_eq!((status(&answer), answer.ends_with("home")), ("200", true), "{answer}");
    }

    #[tokio::test]
    async fn what_cannot_be_there_is_not_found() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("app.js"), "x").unwrap();
        std::os::unix::fs::symlink("self", folder.path().join("self")).unwrap();
        std::os::unix::fs::symlink("self.txt", folder.path().join("self.txt")).unwrap();
        std::os::unix::fs::symlink("nothing", folder.path().join("dangling")).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(serve_on(listener, Arc::new(Site::new(folder.path(), false))));
        let long = format!("/{}", "n".repeat(300));
        for (path, said) in [
            ("/self", "not found"),
            ("/self.txt", "a link there leads back to itself"),
            ("/self/x.txt", "a link there leads back to itself"),
            ("/dangling", "not found"),
            ("/app.js/x", "not found"),
            (&long, "not found"),
        ] {
            let answer = get(address, path, "").await;
            assert_eq!((status(&answer), answer.contains(said)), ("404", true), "{path}: {answer}");
        }
    }

    #[tokio::test]
    async fn nothing_hidden_and_nothing_above_is_served() {
        let (folder, address, _tasks) = started(true).await;
        let outside = folder.path().parent().unwrap().join("nexus-outside.txt");
        std::fs::write(&outside, "secret").unwrap();
        for path in [
            "/.env",
            "/%2eenv",
            "/.git/config",
            "/docs/..%2f.env",
            "/../nexus-outside.txt",
            "/%2e%2e/nexus-outside.txt",
            "/docs/%2e%2e/.git/config",
            "/..%5cnexus-outside.txt",
            "//.env",
        ] {
            let answer = get(address, path, "").await;
            assert!(!answer.contains("secret"), "{path}: {answer}");
            assert_eq!(status(&answer), "404", "{path}: {answer}");
        }
        std::fs::remove_file(outside).unwrap();
    }
}
