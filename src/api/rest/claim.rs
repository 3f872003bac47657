//! The claim's link: for the machine itself, over the local socket.

use axum::Json;
use axum::extract::State;

use crate::api::Api;
use crate::api::problem::Problem;
use crate::api::token::Secret;
use crate::api::wire;

/// The link that gives the first token, while it has not been used.
#[utoipa::path(get, path = "/api/v1/claim", tag = "tokens", responses(
    (status = 200, body = wire::Claim), (status = "4XX", body = wire::Failure)))]
pub async fn show(State(api): State<Api>) -> Result<Json<wire::Claim>, Problem> {
    let code = api.tokens().claim_code().await?;
    Ok(Json(wire::Claim { claimed: code.is_none(), url: code.map(|code| link(&api, &code)) }))
}

/// A new link; an old one stops working.
#[utoipa::path(post, path = "/api/v1/claim", tag = "tokens", responses(
    (status = 200, body = wire::Claim), (status = "4XX", body = wire::Failure)))]
pub async fn renew(State(api): State<Api>) -> Result<Json<wire::Claim>, Problem> {
    let code = api.tokens().new_claim().await?;
    Ok(Json(wire::Claim { claimed: false, url: Some(link(&api, &code)) }))
}

fn link(api: &Api, code: &Secret) -> String {
    format!("{}/claim/{}", api.settings().control_url, code.reveal())
}
