//! Why a request was not answered by a site: one value, shown as a page or as JSON.

use std::fmt::Write as _;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Response, StatusCode};
use serde_json::json;

use super::super::route;
use super::super::table::{Site, SiteState, Table};
use super::html::{Text, code, frame, output, picture, sentence, without_escapes};
use super::{HTML, JSON, answer};

/// The way up, as a page shows it.
const PHASES: [&str; 6] = ["waiting", "creating", "syncing", "installing", "building", "starting"];

/// What is wrong (or, for a program that has finished, right), and what to do about it.
pub(crate) struct Problem<'a> {
    status: StatusCode,
    /// For programs: stable.
    code: &'static str,
    title: String,
    message: String,
    hint: Option<String>,
    site: Option<&'a Site>,
    log: &'a [String],
    near: Vec<String>,
    /// Names of sites are linked below it: empty on the node itself, `//host` from a host name that names no site.
    base: String,
    phase: Option<&'a str>,
    method: Method,
    request: String,
}

impl<'a> Problem<'a> {
    fn new(
        status: StatusCode,
        code: &'static str,
        title: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            status,
            code,
            title: title.into(),
            message: message.into(),
            hint: None,
            site: None,
            log: &[],
            near: Vec::new(),
            base: String::new(),
            phase: None,
            method: Method::GET,
            request: String::new(),
        }
    }

    /// The request itself is at fault.
    pub(crate) fn refused(status: StatusCode, message: impl Into<String>) -> Self {
        Self::new(status, "request_refused", "This request was refused", message)
    }

    /// The host name is not one of ours.
    pub(crate) fn stranger(authority: &str) -> Self {
        let host = route::host(authority);
        let message = format!("this node does not answer to the name `{host}`");
        let hint = format!("if it should, add `{host}` to `web.hosts`");
        Self {
            hint: Some(hint),
            ..Self::new(StatusCode::MISDIRECTED_REQUEST, "unknown_host", "Unknown host name", message)
        }
    }

    /// There is no site of this name.
    pub(crate) fn unknown(table: &Table, name: &str, authority: &str) -> Self {
        let folder = percent_encoding::percent_decode_str(name).decode_utf8_lossy();
        if let Some(one) = table.unnamed().iter().find(|one| one.folder == folder) {
            let title = format!("{folder} has no address");
            let problem = Self::new(StatusCode::NOT_FOUND, "unnamed_folder", title, &one.message);
            return Self { hint: one.hint.clone(), ..problem };
        }
        let near: Vec<String> = table.near(name).into_iter().map(str::to_owned).collect();
        let hint = match near.first() {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("drop a folder called `{name}` into {}", table.settings().drop_into),
        };
        let message = format!("there is no workspace called `{name}`");
        // Under a host name of its own, links by prefix would ask that very host again.
        let base = match route::host(authority).split_once('.') {
            Some((label, rest)) if label.eq_ignore_ascii_case(name) => {
                format!("//{rest}{}", &authority[route::host(authority).len()..])
            }
            _ => String::new(),
        };
        let problem = Self::new(StatusCode::NOT_FOUND, "unknown_workspace", "No such workspace", message);
        Self { hint: Some(hint), near, base, ..problem }
    }

    /// The site is there and cannot answer now.
    pub(crate) fn of_state(site: &'a Site, table: &Table) -> Self {
        let title = site.title();
        let name = &site.name;
        let problem = match &site.state {
            SiteState::Ready => Self {
                hint: Some(format!(
                    "a program that serves the web listens on $PORT; see its output with `nexus workspace logs {name}`"
                )),
                ..Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "not_listening",
                    format!("{title} runs, but serves no pages"),
                    "the program is running and listens on no port",
                )
            },
            SiteState::Starting { phase, message, log_tail } => Self {
                log: log_tail,
                phase: Some(phase),
                ..Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "starting",
                    format!("{title} is starting"),
                    message,
                )
            },
            SiteState::Finished { output } => {
                let message = "the program did its work and ended with code 0";
                Self {
                    log: output,
                    ..Self::new(StatusCode::OK, "finished", format!("{title} has finished"), message)
                }
            }
            SiteState::Failed { message, hint, log_tail } => Self {
                hint: hint.clone(),
                log: log_tail,
                ..Self::new(StatusCode::BAD_GATEWAY, "failed", format!("{title} could not start"), message)
            },
            SiteState::Stopped => Self {
                hint: Some(format!("start it with `nexus workspace start {name}`")),
                ..Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "stopped",
                    format!("{title} is stopped"),
                    "it was told not to run",
                )
            },
            SiteState::Missing => Self {
                hint: Some(format!(
                    "put the folder back into {}, or let go of its data with `nexus workspace remove {name}`",
                    table.settings().drop_into
                )),
                ..Self::new(
                    StatusCode::NOT_FOUND,
                    "missing",
                    format!("The folder of {title} is gone"),
                    "the workspace is stopped and its data is kept until the folder comes back",
                )
            },
        };
        Self { site: Some(site), ..problem }
    }

    /// The site should have answered and did not.
    pub(crate) fn unreachable(site: &'a Site, status: StatusCode, code: &'static str, error: String) -> Self {
        let hint = format!("see its output with `nexus workspace logs {}`", site.name);
        let problem = Self::new(status, code, format!("{} does not answer", site.title()), error);
        Self { site: Some(site), hint: Some(hint), ..problem }
    }

    /// A method the node's own pages do not have.
    pub(super) fn method_not_allowed() -> Self {
        let message = "the node's own pages answer GET and HEAD";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "Not allowed", message)
    }

    /// Nothing under `/_nexus` by that name.
    pub(super) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "Nothing here", "the node has no page of this name")
    }

    /// The request's method: a page that answers a POST must not send it again by itself.
    pub(crate) fn method(self, method: &Method) -> Self {
        Self { method: method.clone(), ..self }
    }

    /// The request's id, to be found again in the log.
    pub(crate) fn request(self, id: &HeaderValue) -> Self {
        Self { request: id.to_str().unwrap_or_default().to_owned(), ..self }
    }

    /// The answer: a page for people, JSON for everybody else.
    pub(crate) fn render(&self, html: bool) -> Response<Full<Bytes>> {
        let mut response = if html {
            answer(self.status, HTML, self.page())
        } else {
            answer(self.status, JSON, self.json().to_string())
        };
        let headers = response.headers_mut();
        headers.insert(header::VARY, HeaderValue::from_static("Accept"));
        if self.code == "starting" || self.code == "upstream_refused" {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
        }
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        response
    }

    /// What programs read. `error` is there only when something is wrong.
    pub(super) fn json(&self) -> serde_json::Value {
        let log: Vec<String> = self.log.iter().map(|line| without_escapes(line)).collect();
        if self.status.is_success() {
            let name = self.site.map(|site| site.name.as_str());
            return json!({ "workspace": name, "state": self.code, "message": self.message, "output": log });
        }
        let mut error = json!({ "code": self.code, "message": self.message, "hint": self.hint, "log": log });
        if let Some(site) = self.site {
            error["workspace"] = json!(site.name);
        }
        if let Some(phase) = self.phase {
            error["phase"] = json!(phase);
        }
        if !self.near.is_empty() {
            error["near"] = json!(self.near);
        }
        error["request"] = json!(self.request);
        json!({ "error": error })
    }

    fn page(&self) -> String {
        let mut main = format!(r#"<main class="card state-{}""#, self.tone());
        if let Some(site) = self.site.filter(|_| self.is_passing()) {
            let _infallible = write!(
                main,
                r#" data-live="{}" data-state="{}" data-method="{}""#,
                Text(&site.name),
                self.code,
                Text(self.method.as_str())
            );
        }
        main.push_str(">\n");
        if let Some(site) = self.site {
            main.push_str(&picture(site));
        }
        let _infallible = write!(
            main,
            r#"<h1>{}</h1><p class="message" id="message" role="status">{}</p>"#,
            Text(&self.title),
            code(&sentence(&self.message))
        );
        self.steps(&mut main);
        if let Some(hint) = &self.hint {
            let _infallible = write!(main, r#"<p class="hint">{}</p>"#, code(&sentence(hint)));
        }
        self.neighbours(&mut main);
        let caption = if self.status.is_success() { "Output" } else { "Last output" };
        main.push_str(&output(caption, self.log));
        if self.is_passing() {
            main.push_str(
                r#"<p class="again"><button id="again" type="button" hidden>Send it again</button></p>"#,
            );
            if self.method == Method::GET {
                main.push_str(r#"<noscript><meta http-equiv="refresh" content="2"></noscript>"#);
            }
        }
        let _infallible = write!(
            main,
            r#"<p class="foot"><a href="{}/_nexus/">All workspaces</a><span>{} · request {}</span></p></main>"#,
            Text(&self.base),
            self.status.as_u16(),
            Text(&self.request)
        );
        frame(&self.title, &main)
    }

    fn steps(&self, main: &mut String) {
        let Some(current) = self.phase.and_then(|phase| PHASES.iter().position(|known| *known == phase))
        else {
            return;
        };
        main.push_str(r#"<ol class="steps" id="steps">"#);
        for (index, phase) in PHASES.iter().enumerate() {
            let (class, mark) = match index.cmp(&current) {
                std::cmp::Ordering::Less => ("done", ""),
                std::cmp::Ordering::Equal => ("now", r#" aria-current="step""#),
                std::cmp::Ordering::Greater => ("later", ""),
            };
            let _infallible = write!(main, r#"<li class="{class}" data-phase="{phase}"{mark}>{phase}</li>"#);
        }
        main.push_str("</ol>");
    }

    fn neighbours(&self, main: &mut String) {
        if self.near.is_empty() {
            return;
        }
        main.push_str(r#"<ul class="near">"#);
        for name in &self.near {
            let _infallible =
                write!(main, r#"<li><a href="{}/{1}/">{1}</a></li>"#, Text(&self.base), Text(name));
        }
        main.push_str("</ul>");
    }

    /// Whether it may be over soon, so that the page looks again.
    fn is_passing(&self) -> bool {
        self.site.is_some() && self.code != "finished"
    }

    fn tone(&self) -> &'static str {
        match self.code {
            "starting" => "starting",
            "finished" => "finished",
            "stopped" | "missing" | "unknown_workspace" | "not_listening" => "quiet",
            _ => "failed",
        }
    }
}
