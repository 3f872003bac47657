//! The few pages for people: what this port is, and the claim. No script, one sheet, nothing of the user's in them.

use axum::Extension;
use axum::extract::Path;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header;
use axum::response::Html;
use axum::response::IntoResponse;
use axum::response::Response;

use super::Api;
use super::door::Peer;
use super::problem::Problem;

fn page(title: &str, body: &str) -> Html<String> {
    Html(format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>{title}</title>\n<link rel=\"stylesheet\" href=\"/style.css\">\n<main>\n<h1>{title}</h1>\n{body}</main>\n</html>\n"
    ))
}

/// `GET /`
pub async fn welcome() -> Html<String> {
    page(
        "Nexus control port",
        "<p>Workspaces answer on the web port. This port is for the command line and programs, with a token.</p>\n\
         <ul>\n<li><a href=\"/api/v1/openapi.json\">The API</a> (OpenAPI)</li>\n<li><a href=\"/health\">Health</a></li>\n</ul>\n\
         <p>No token yet? On the machine itself, <code>nexus claim</code> prints the link that gives the first one, \
         <code>nexus token create</code> makes more.</p>\n",
    )
}

/// `GET /style.css`
pub async fn style() -> impl IntoResponse {
    const SHEET: &str = "body{font:16px/1.5 system-ui,sans-serif;color:#1c2430;background:#f6f7f9;margin:0}\
        main{max-width:40rem;margin:10vh auto;padding:2rem;background:#fff;border:1px solid #dde1e7;border-radius:8px}\
        h1{font-size:1.4rem;margin-top:0}code,output{font-family:ui-monospace,monospace;background:#eef1f5;padding:.1em .3em;border-radius:4px}\
        output{display:block;padding:.8rem;overflow-wrap:anywhere;user-select:all}\
        button{font:inherit;padding:.5rem 1.2rem;border:0;border-radius:6px;background:#1f5fbf;color:#fff;cursor:pointer}\
        @media(prefers-color-scheme:dark){body{color:#e3e7ee;background:#12161c}main{background:#1a2028;border-color:#2c3540}\
        code,output{background:#252d38}a{color:#8ab4ff}}";
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], SHEET)
}

/// `GET /claim/{code}`: looking uses nothing up, so that a link preview cannot take the token.
pub async fn claim(
    State(api): State<Api>,
    Extension(peer): Extension<Peer>,
    Path(code): Path<String>,
) -> Response {
    match api.tokens().check_claim(&code, peer.address()).await {
        Ok(_) => page(
            "Claim this node",
            "<p>This gives you the first access token, with the scope <code>admin</code>. It is shown once, and this link stops working.</p>\n\
             <form method=\"post\"><button>Give me the token</button></form>\n",
        )
        .into_response(),
        Err(problem) => refused(&problem),
    }
}

/// `POST /claim/{code}`: uses the claim up and shows the token.
pub async fn claimed(
    State(api): State<Api>,
    Extension(peer): Extension<Peer>,
    Path(code): Path<String>,
) -> Response {
    match api.tokens().use_claim(&code, peer.address()).await {
        Ok(secret) => page(
            "This node is yours",
            &format!(
                "<p>Your token, shown this once:</p>\n<output>{}</output>\n\
                 <p>Send it as <code>Authorization: Bearer &hellip;</code>. \
                 <code>nexus token list</code> shows it by its id, <code>nexus token revoke</code> ends it.</p>\n",
                secret.reveal()
            ),
        )
        .into_response(),
        Err(problem) => refused(&problem),
    }
}

/// A failure as a page. Its texts are ours alone: nothing from the request is in them.
fn refused(problem: &Problem) -> Response {
    let retry = problem.retry_after_s.map(|seconds| [(header::RETRY_AFTER, seconds.to_string())]);
    let (message, hint, status) = match problem.status {
        StatusCode::INTERNAL_SERVER_ERROR => ("the node failed", None, problem.status),
        status => (problem.message.as_str(), problem.hint.as_deref(), status),
    };
    let code = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('`', "");
    let hint = hint.map(|hint| format!("<p>{}.</p>\n", code(hint))).unwrap_or_default();
    let body = page("This link does not work", &format!("<p>{}.</p>\n{hint}", code(message)));
    (status, retry, body).into_response()
}
