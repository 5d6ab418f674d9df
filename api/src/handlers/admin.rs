//! For those who run the service: what is in force for each endpoint, and how the cache does.

use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use crate::answers::{Metadata, One};
use crate::cache::CacheFigures;
use crate::call::Call;
use crate::endpoints::ENDPOINTS;
use crate::gateway::Refusal;
use crate::problem::Problem;
use crate::state::ApiState;

/// What is in force for one endpoint.
#[derive(Debug, Serialize, ToSchema)]
pub struct EndpointInForce {
    /// Names the operation.
    #[schema(example = "listCameras")]
    pub operation_id: String,
    /// HTTP method.
    #[schema(example = "GET")]
    pub http_method: String,
    /// Path.
    #[schema(example = "/api/v1/cameras")]
    pub endpoint_path: String,
    /// Part of the system that it belongs to.
    #[schema(example = "camera_service")]
    pub service_name: String,
    /// Whether it is served.
    pub is_enabled: bool,
    /// How long a client may use an answer again, in seconds; 0 for not at all.
    pub client_cache_s: u32,
    /// How long the service gives an answer again, in seconds; 0 for not at all.
    pub service_cache_s: u64,
    /// Tables whose change ends a kept answer.
    pub invalidated_by: Vec<String>,
    /// Sustained requests a minute of one caller; null is no limit.
    #[schema(required = true)]
    pub rate_limit_per_minute: Option<u32>,
    /// Requests of one caller at once.
    #[schema(required = true)]
    pub rate_limit_burst: Option<u32>,
    /// Requests of one caller a day; null is no quota.
    #[schema(required = true)]
    pub daily_quota: Option<u32>,
    /// Roles of which a caller needs one.
    pub required_roles: Vec<String>,
    /// What opens it to other roles.
    pub required_permissions: Vec<String>,
    /// Whether its body is checked by a schema.
    pub has_validation_schema: bool,
}

/// The gateway as it is in force.
#[derive(Debug, Serialize, ToSchema)]
pub struct GatewayInForce {
    /// Rises with every change that this process has taken over.
    pub revision: u64,
    /// Every endpoint.
    pub endpoints: Vec<EndpointInForce>,
    /// Rows that cannot be obeyed, and why; what was in force before stays.
    pub refused: Vec<Refusal>,
}

/// `GET /api/v1/admin/endpoints`
pub async fn endpoints(
    State(state): State<ApiState>,
    _: Call,
) -> Result<axum::Json<One<GatewayInForce>>, Problem> {
    let in_force = state.gateway.in_force();
    let endpoints = ENDPOINTS.iter().filter_map(|endpoint| {
        let settings = in_force.of(endpoint)?;
        let access = &settings.access;
        let keeping = settings.keeping.as_ref();
        Some(EndpointInForce {
            operation_id: endpoint.operation_id.to_owned(),
            http_method: endpoint.method.as_str().to_owned(),
            endpoint_path: endpoint.path.to_owned(),
            service_name: endpoint.service.name().to_owned(),
            is_enabled: access.enabled,
            client_cache_s: access.client_lifetime_s,
            service_cache_s: keeping.map_or(0, |keeping| keeping.lifetime.as_secs()),
            invalidated_by: keeping.map_or_else(Vec::new, |keeping| keeping.tables.clone()),
            rate_limit_per_minute: access.limits.rate.map(|(per_minute, _)| per_minute),
            rate_limit_burst: access.limits.rate.map(|(_, burst)| burst),
            daily_quota: access.limits.per_day,
            required_roles: access.roles.iter().map(|role| role.name().to_owned()).collect(),
            required_permissions: access
                .permissions
                .iter()
                .map(|one| one.name().to_owned())
                .collect(),
            has_validation_schema: settings.body.is_some(),
        })
    });
    let data = GatewayInForce {
        revision: in_force.revision,
        endpoints: endpoints.collect(),
        refused: in_force.refused.clone(),
    };
    Ok(axum::Json(One { data, metadata: Metadata::now() }))
}

/// `GET /api/v1/admin/cache`
pub async fn cache(
    State(state): State<ApiState>,
    _: Call,
) -> Result<axum::Json<One<CacheFigures>>, Problem> {
    Ok(axum::Json(One { data: state.gateway.cache.figures(), metadata: Metadata::now() }))
}

/// `DELETE /api/v1/admin/cache`
pub async fn empty_cache(State(state): State<ApiState>, call: Call) -> Result<StatusCode, Problem> {
    state.gateway.cache.changed_tenant(call.tenant.as_str()).await;
    Ok(StatusCode::NO_CONTENT)
}
