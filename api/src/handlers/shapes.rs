//! Lines, zones and sites of a camera: reading them as they are or were, and saying them anew.

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::types::Json;
use utoipa::ToSchema;

use headcount_schemas::camera::{self, CameraConfig, MAX_SHAPES};

use crate::answers::Metadata;
use crate::body::{Body, Faults};
use crate::call::{Call, CameraId};
use crate::database::Snapshot;
use crate::handlers::geometry::{Line, Site, Zone};
use crate::handlers::setup::change;
use crate::preconditions::tag;
use crate::problem::{Code, Problem};
use crate::state::ApiState;

/// A version of a camera's lines, zones or sites.
#[derive(Debug, Serialize, ToSchema)]
pub struct Shapes<T> {
    /// The camera.
    #[schema(example = "front-door")]
    pub camera_id: String,
    /// Version of the configuration that they are from. Counts name it as `geometry_version`.
    #[schema(example = 3)]
    pub version: i64,
    /// They.
    pub data: Vec<T>,
    /// About the answer.
    pub metadata: Metadata,
}

/// Lines in place of those that were.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Lines {
    /// All lines.
    #[schema(max_items = 64)]
    pub lines: Vec<Line>,
}

/// Zones in place of those that were.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Zones {
    /// All zones.
    #[schema(max_items = 64)]
    pub zones: Vec<Zone>,
}

/// Sites in place of those that were.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Sites {
    /// All sites.
    #[schema(max_items = 64)]
    pub sites: Vec<Site>,
}

/// Where the shapes of a kind are, and how to tell them.
struct Kind<S, T> {
    /// As in the database, and in grants.
    scope: &'static str,
    of: fn(&CameraConfig) -> &Vec<S>,
    name: fn(&S) -> &str,
    marker: std::marker::PhantomData<T>,
}

impl<S, T> Kind<S, T>
where
    S: Clone + serde::de::DeserializeOwned,
    T: From<S> + Serialize,
{
    const fn new(
        scope: &'static str,
        of: fn(&CameraConfig) -> &Vec<S>,
        name: fn(&S) -> &str,
    ) -> Self {
        Self { scope, of, name, marker: std::marker::PhantomData }
    }

    /// Those of now, or of `call.query.version`.
    async fn read(
        &self,
        state: &ApiState,
        call: &Call,
        camera: &CameraId,
    ) -> Result<Response, Problem> {
        let mut snapshot = Snapshot::of_camera(&state.pool, call, camera).await?;
        let (current, Json(configuration)): (i64, Json<CameraConfig>) = sqlx::query_as(
            "SELECT version, configuration FROM camera_configurations \
             WHERE tenant_id = $1 AND camera_id = $2",
        )
        .bind(call.tenant.as_str())
        .bind(&camera.0)
        .fetch_one(&mut *snapshot)
        .await?;
        let version = call.query.version.unwrap_or(current);
        if version > current {
            return Err(no_such_version(version, current));
        }
        let shapes = if version == current {
            (self.of)(&configuration).clone()
        } else {
            self.of_version(&mut snapshot, call, camera, version).await?
        };
        let grants = &call.caller.grants;
        let seen = |shape: &S| grants.allow_place(&camera.0, self.scope, (self.name)(shape));
        let data: Vec<T> = shapes.into_iter().filter(seen).map(T::from).collect();
        let body = Shapes { camera_id: camera.0.clone(), version, data, metadata: Metadata::now() };
        let mut response = axum::Json(body).into_response();
        if version == current {
            response.headers_mut().insert(header::ETAG, tag(current));
        }
        Ok(response)
    }

    async fn of_version(
        &self,
        snapshot: &mut Snapshot,
        call: &Call,
        CameraId(camera): &CameraId,
        version: i64,
    ) -> Result<Vec<S>, Problem> {
        let sql = match self.scope {
            LINE => {
                "SELECT coalesce(definition, jsonb_build_object('name', line_name, \
                     'from', jsonb_build_object('x', from_x, 'y', from_y), \
                     'to', jsonb_build_object('x', to_x, 'y', to_y))) \
                 FROM camera_lines WHERE tenant_id = $1 AND camera_id = $2 AND geometry_version = $3 \
                 AND $4 = 'line' ORDER BY line_name"
            }
            _ => {
                "SELECT definition FROM camera_zones WHERE tenant_id = $1 AND camera_id = $2 \
                 AND geometry_version = $3 AND scope = $4 ORDER BY zone_name"
            }
        };
        let rows: Vec<Json<Value>> = sqlx::query_scalar(sql)
            .bind(call.tenant.as_str())
            .bind(camera)
            .bind(version)
            .bind(self.scope)
            .fetch_all(&mut **snapshot)
            .await?;
        let shapes = rows.into_iter().map(|Json(mut shape)| {
            if self.scope == LINE {
                with_line_defaults(&mut shape);
            }
            serde_json::from_value(shape)
        });
        shapes.collect::<Result<_, _>>().map_err(|error| {
            tracing::error!(%error, camera, version, "a stored shape cannot be read");
            Problem::new(Code::InternalError, "the request could not be completed")
        })
    }
}

/// Versions only rise, so what is above the one in force was never. What is below may have been, also where
/// nothing is stored of it: a version without shapes has no rows.
fn no_such_version(version: i64, current: i64) -> Problem {
    let detail = format!("the camera has no version {version}; its newest is {current}");
    Problem::new(Code::ResourceNotFound, detail)
}

/// Lines from before their rules were stored with them have the rules of their time: the defaults.
fn with_line_defaults(line: &mut Value) {
    let point = camera::Point { x: 0.0, y: 0.0 };
    let (Ok(Value::Object(defaults)), Value::Object(line)) =
        (serde_json::to_value(camera::Line::new("", point, point)), line)
    else {
        return;
    };
    for (name, value) in defaults {
        line.entry(name).or_insert(value);
    }
}

const LINE: &str = "line";
const LINES: Kind<camera::Line, Line> =
    Kind::new(LINE, |configuration| &configuration.lines, |line| &line.name);
const ZONES: Kind<camera::Zone, Zone> =
    Kind::new("zone", |configuration| &configuration.zones, |zone| &zone.name);
const SITES: Kind<camera::Site, Site> =
    Kind::new("site", |configuration| &configuration.sites, |site| &site.name);

/// `GET /api/v1/cameras/{id}/lines`
pub async fn lines(
    State(state): State<ApiState>,
    call: Call,
    camera: CameraId,
) -> Result<Response, Problem> {
    LINES.read(&state, &call, &camera).await
}

/// `GET /api/v1/cameras/{id}/zones`
pub async fn zones(
    State(state): State<ApiState>,
    call: Call,
    camera: CameraId,
) -> Result<Response, Problem> {
    ZONES.read(&state, &call, &camera).await
}

/// `GET /api/v1/cameras/{id}/sites`
pub async fn sites(
    State(state): State<ApiState>,
    call: Call,
    camera: CameraId,
) -> Result<Response, Problem> {
    SITES.read(&state, &call, &camera).await
}

/// `PUT /api/v1/cameras/{id}/lines`
pub async fn put_lines(
    State(state): State<ApiState>,
    call: Call,
    CameraId(camera): CameraId,
    headers: HeaderMap,
    Body(body): Body<Lines>,
) -> Result<Response, Problem> {
    too_many("/lines", body.lines.len())?;
    change(&state, &call, &camera, &headers, "camera.lines", move |setup| {
        setup.configuration.lines = body.lines.into_iter().map(camera::Line::from).collect();
        Ok(())
    })
    .await
}

/// `PUT /api/v1/cameras/{id}/zones`
pub async fn put_zones(
    State(state): State<ApiState>,
    call: Call,
    CameraId(camera): CameraId,
    headers: HeaderMap,
    Body(body): Body<Zones>,
) -> Result<Response, Problem> {
    too_many("/zones", body.zones.len())?;
    change(&state, &call, &camera, &headers, "camera.zones", move |setup| {
        setup.configuration.zones = body.zones.into_iter().map(camera::Zone::from).collect();
        Ok(())
    })
    .await
}

/// `PUT /api/v1/cameras/{id}/sites`
pub async fn put_sites(
    State(state): State<ApiState>,
    call: Call,
    CameraId(camera): CameraId,
    headers: HeaderMap,
    Body(body): Body<Sites>,
) -> Result<Response, Problem> {
    too_many("/sites", body.sites.len())?;
    change(&state, &call, &camera, &headers, "camera.sites", move |setup| {
        setup.configuration.sites = body.sites.into_iter().map(camera::Site::from).collect();
        Ok(())
    })
    .await
}

fn too_many(pointer: &str, count: usize) -> Result<(), Problem> {
    let mut faults = Faults::default();
    let message = format!("must not be more than {MAX_SHAPES}");
    faults.need(count <= MAX_SHAPES, pointer, &message);
    faults.into_result_as(Code::InvalidCameraConfig)
}
