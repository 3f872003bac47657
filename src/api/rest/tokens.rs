//! Tokens: see, give, take.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use crate::api::Api;
use crate::api::input::Input;
use crate::api::input::Key;
use crate::api::problem::Problem;
use crate::api::show;
use crate::api::wire;

/// All tokens, without their secrets.
#[utoipa::path(get, path = "/api/v1/tokens", tag = "tokens", responses(
    (status = 200, body = wire::TokenList), (status = "4XX", body = wire::Failure)))]
pub async fn list(State(api): State<Api>) -> Result<Json<wire::TokenList>, Problem> {
    let tokens = api.tokens().list().await?;
    Ok(Json(wire::TokenList { tokens: tokens.iter().map(show::token).collect() }))
}

/// A new token; its secret is shown this once.
#[utoipa::path(post, path = "/api/v1/tokens", tag = "tokens", request_body = wire::CreateToken, responses(
    (status = 201, body = wire::CreatedToken), (status = "4XX", body = wire::Failure)))]
pub async fn create(
    State(api): State<Api>,
    Input(request): Input<wire::CreateToken>,
) -> Result<(StatusCode, Json<wire::CreatedToken>), Problem> {
    let (secret, token) = api.tokens().create(&request.label, &request.scope, request.days).await?;
    let created = wire::CreatedToken { secret: secret.reveal().to_owned(), token: show::token(&token) };
    Ok((StatusCode::CREATED, Json(created)))
}

/// Makes a token stop working, on open streams too.
#[utoipa::path(delete, path = "/api/v1/tokens/{id}", tag = "tokens", params(("id" = String, Path, description = "Id of the token")), responses(
    (status = 204), (status = "4XX", body = wire::Failure)))]
pub async fn revoke(State(api): State<Api>, Key(id): Key) -> Result<StatusCode, Problem> {
    api.tokens().revoke(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}
