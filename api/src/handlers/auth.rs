//! Logins: tokens for a password, new ones for old ones, and an end.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::auth::issuer::PublicKey;
use crate::auth::sessions::Tokens;
use crate::body::{Body, Faults};
use crate::problem::{Code, Problem};
use crate::state::ApiState;
use crate::tenant::Tenant;

/// Who wants to log in.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// The user's tenant; the service's default without.
    #[schema(example = "default")]
    pub tenant: Option<String>,
    /// The user's name.
    #[schema(max_length = 64, pattern = "^[^\\x00]*$", example = "ann")]
    pub username: String,
    /// The user's password.
    #[schema(max_length = 1024, pattern = "^[^\\x00]*$", format = Password)]
    pub password: String,
}

/// A refresh token.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Refresh {
    /// As `/api/v1/auth/token` gave it.
    #[schema(max_length = 200)]
    pub refresh_token: String,
}

/// A JSON Web Key Set.
#[derive(Debug, Serialize, ToSchema)]
pub struct KeySet {
    /// The keys, newest first.
    pub keys: Vec<PublicKey>,
}

/// `POST /api/v1/auth/token`
pub async fn token(
    State(state): State<ApiState>,
    Body(login): Body<Login>,
) -> Result<Json<Tokens>, Problem> {
    let mut faults = Faults::default();
    for (pointer, text) in [("/username", &login.username), ("/password", &login.password)] {
        // PostgreSQL has no NUL in text.
        faults.need(!text.contains('\0'), pointer, "must not contain a NUL");
    }
    faults.into_result()?;
    let tenant = login.tenant.as_deref().unwrap_or(&state.config.default_tenant);
    // A tenant that there cannot be is as wrong as one that there is not.
    let tenant = Tenant::new(tenant).ok_or_else(|| {
        Problem::new(Code::InvalidCredentials, "tenant, user or password is wrong")
    })?;
    let auth = &state.authenticator;
    let tokens = auth.sessions().log_in(auth.issuer(), &tenant, &login.username, login.password);
    Ok(Json(tokens.await?))
}

/// `POST /api/v1/auth/refresh`
pub async fn refresh(
    State(state): State<ApiState>,
    Body(refresh): Body<Refresh>,
) -> Result<Json<Tokens>, Problem> {
    let auth = &state.authenticator;
    let tokens = auth.sessions().refresh(auth.issuer(), &refresh.refresh_token).await;
    if tokens.is_err() {
        // It may have been one that came again, and ended its login.
        auth.forget();
    }
    Ok(Json(tokens?))
}

/// `POST /api/v1/auth/revoke`
pub async fn revoke(
    State(state): State<ApiState>,
    Body(refresh): Body<Refresh>,
) -> Result<StatusCode, Problem> {
    state.authenticator.sessions().revoke(&refresh.refresh_token).await?;
    state.authenticator.forget();
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /.well-known/jwks.json`
pub async fn keys(State(state): State<ApiState>) -> Result<Json<KeySet>, Problem> {
    Ok(Json(KeySet { keys: state.authenticator.issuer().public_keys().await? }))
}
