//! Setting up cameras: adding, replacing, changing and removing them.
//!
//! Every change locks the camera's row, checks what the client has seen of it, and writes the row, the record
//! for the topic, the audit log and the answer in one transaction.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use sqlx::types::Json;
use sqlx::{FromRow, Postgres, Transaction};

use headcount_schemas::CameraKey;
use headcount_schemas::camera::{CameraConfig, ManagedBy};

use crate::answers::{Metadata, One};
use crate::audit;
use crate::auth::secrets;
use crate::body::{Body, Faults};
use crate::call::{Call, CameraId};
use crate::camera_input::{CameraCreate, CameraUpdate, Setup};
use crate::database::begin_write;
use crate::handlers::cameras::{self, Camera};
use crate::idempotency;
use crate::outbox;
use crate::preconditions::{require_match, tag};
use crate::problem::{Code, Problem};
use crate::state::ApiState;

#[derive(FromRow)]
struct Stored {
    camera_type: String,
    version: i64,
    managed_by: String,
    configuration: Json<CameraConfig>,
    removed: bool,
}

async fn lock(
    transaction: &mut Transaction<'static, Postgres>,
    call: &Call,
    camera: &str,
) -> Result<Option<Stored>, Problem> {
    let stored = sqlx::query_as(
        "SELECT camera_type, version, managed_by, configuration, deleted_at IS NOT NULL AS removed \
         FROM camera_configurations WHERE tenant_id = $1 AND camera_id = $2 FOR UPDATE",
    )
    .bind(call.tenant.as_str())
    .bind(camera)
    .fetch_optional(&mut **transaction)
    .await?;
    Ok(stored)
}

/// `POST /api/v1/cameras`
pub async fn create(
    State(state): State<ApiState>,
    call: Call,
    Body(body): Body<CameraCreate>,
) -> Result<Response, Problem> {
    let id = body.camera_id.clone().unwrap_or_else(|| {
        let random: String = secrets::random::<5>().iter().map(|b| format!("{b:02x}")).collect();
        format!("cam-{random}")
    });
    let Ok(key) = CameraKey::new(call.tenant.as_str(), id.as_str()) else {
        let mut faults = Faults::default();
        faults.add("/camera_id", "must be 1 to 64 letters, digits, `.`, `_` or `-`");
        return Err(faults.into_result().err().unwrap_or_else(|| taken(&id)));
    };
    if !call.caller.grants.allow_camera(&id) {
        let detail = "the caller may only set up the cameras that were granted";
        return Err(Problem::new(Code::InsufficientPermissions, detail));
    }
    let mut setup = body.into_setup(key);
    setup.check(state.config.allows_files())?;

    let mut transaction = begin_write(&state.pool, &call.caller).await?;
    let stored = lock(&mut transaction, &call, &id).await?;
    setup.configuration.version = match &stored {
        Some(stored) if !stored.removed => return Err(taken(&id)),
        // Counts of the camera that was here name its versions: none is used twice.
        Some(stored) => stored.version + 1,
        None => 1,
    };
    if !write(&mut transaction, &setup, stored.is_some()).await? {
        return Err(taken(&id));
    }
    outbox::enqueue(&mut transaction, &call.tenant, &id, Some(&setup.configuration)).await?;
    let details = json!({"version": setup.configuration.version});
    audit::record_call(&mut transaction, &call, "camera.create", &id, details).await?;
    let mut response = shown(&mut transaction, &call, &id, StatusCode::CREATED).await?;
    let location = HeaderValue::from_str(&format!("/api/v1/cameras/{id}"));
    if let Ok(location) = location {
        response.headers_mut().insert(header::LOCATION, location);
    }
    let response = idempotency::commit(transaction, &call, response).await?;
    state.outbox.notify_one();
    Ok(response)
}

fn taken(id: &str) -> Problem {
    Problem::new(Code::Conflict, format!("there is a camera `{id}` already"))
}

/// `PUT /api/v1/cameras/{id}`
pub async fn replace(
    State(state): State<ApiState>,
    call: Call,
    CameraId(camera): CameraId,
    headers: HeaderMap,
    Body(body): Body<CameraCreate>,
) -> Result<Response, Problem> {
    if body.camera_id.as_ref().is_some_and(|id| *id != camera) {
        let mut faults = Faults::default();
        faults.add("/camera_id", "is not the camera of the address; a camera keeps its id");
        faults.into_result()?;
    }
    change(&state, &call, &camera, &headers, "camera.replace", move |setup| {
        let key = setup.configuration.key();
        *setup = body.into_setup(key);
        Ok(())
    })
    .await
}

/// `PATCH /api/v1/cameras/{id}`
pub async fn update(
    State(state): State<ApiState>,
    call: Call,
    CameraId(camera): CameraId,
    headers: HeaderMap,
    Body(body): Body<CameraUpdate>,
) -> Result<Response, Problem> {
    change(&state, &call, &camera, &headers, "camera.update", move |setup| {
        body.apply(setup);
        Ok(())
    })
    .await
}

/// `DELETE /api/v1/cameras/{id}`
pub async fn remove(
    State(state): State<ApiState>,
    call: Call,
    CameraId(camera): CameraId,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let mut transaction = begin_write(&state.pool, &call.caller).await?;
    let stored = owned(&mut transaction, &call, &camera, &headers).await?;
    sqlx::query(
        "UPDATE camera_configurations SET is_active = false, deleted_at = now(), updated_at = now(), \
         version = version + 1 WHERE tenant_id = $1 AND camera_id = $2",
    )
    .bind(call.tenant.as_str())
    .bind(&camera)
    .execute(&mut *transaction)
    .await?;
    outbox::enqueue(&mut transaction, &call.tenant, &camera, None).await?;
    let details = json!({"version": stored.version});
    audit::record_call(&mut transaction, &call, "camera.remove", &camera, details).await?;
    transaction.commit().await?;
    state.outbox.notify_one();
    Ok(StatusCode::NO_CONTENT)
}

/// The row of a camera that the caller may change, as the caller has seen it.
async fn owned(
    transaction: &mut Transaction<'static, Postgres>,
    call: &Call,
    camera: &str,
    headers: &HeaderMap,
) -> Result<Stored, Problem> {
    let stored = lock(transaction, call, camera).await?.filter(|stored| !stored.removed);
    let stored = stored.ok_or_else(|| Problem::camera_not_found(camera))?;
    if !call.caller.grants.allow_camera(camera) {
        let detail = "the caller was granted only a part of this camera";
        return Err(Problem::new(Code::InsufficientPermissions, detail));
    }
    if stored.managed_by != ManagedBy::Api.as_str() {
        let detail = "this camera is configured in a file; change it there";
        return Err(Problem::new(Code::Conflict, detail));
    }
    require_match(headers, stored.version)?;
    Ok(stored)
}

/// Changes a camera, if the client has seen it as it is; answers what it is now.
pub(crate) async fn change(
    state: &ApiState,
    call: &Call,
    camera: &str,
    headers: &HeaderMap,
    action: &'static str,
    apply: impl FnOnce(&mut Setup) -> Result<(), Problem>,
) -> Result<Response, Problem> {
    let mut transaction = begin_write(&state.pool, &call.caller).await?;
    let stored = owned(&mut transaction, call, camera, headers).await?;
    let before = Setup { configuration: stored.configuration.0, camera_type: stored.camera_type };
    let mut setup = before.clone();
    apply(&mut setup)?;
    setup.configuration.version = before.configuration.version;
    setup.check(state.config.allows_files())?;
    // What changes nothing makes no version: counts would name two for one geometry.
    if setup != before {
        setup.configuration.version = stored.version + 1;
        write(&mut transaction, &setup, true).await?;
        let configuration = Some(&setup.configuration);
        outbox::enqueue(&mut transaction, &call.tenant, camera, configuration).await?;
        let details = json!({
            "version": setup.configuration.version,
            "changed": changed(&before, &setup),
        });
        audit::record_call(&mut transaction, call, action, camera, details).await?;
    }
    let status = match call.endpoint.success {
        202 => StatusCode::ACCEPTED,
        _ => StatusCode::OK,
    };
    let response = shown(&mut transaction, call, camera, status).await?;
    let response = idempotency::commit(transaction, call, response).await?;
    state.outbox.notify_one();
    Ok(response)
}

/// Names of what differs; an address may hold a secret, so values are not told.
fn changed(before: &Setup, after: &Setup) -> Vec<&'static str> {
    let (old, new) = (&before.configuration, &after.configuration);
    let parts = [
        ("camera_type", before.camera_type != after.camera_type),
        ("camera_name", old.name != new.name),
        ("is_active", old.enabled != new.enabled),
        ("stream_url", old.source.url != new.source.url),
        ("source", {
            let mut same_url = new.source.clone();
            same_url.url.clone_from(&old.source.url);
            old.source != same_url
        }),
        ("confidence_threshold", old.min_score != new.min_score),
        ("lines", old.lines != new.lines),
        ("zones", old.zones != new.zones),
        ("sites", old.sites != new.sites),
    ];
    parts.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
}

/// Writes the row; false where somebody else has added the camera in the meantime.
async fn write(
    transaction: &mut Transaction<'static, Postgres>,
    setup: &Setup,
    exists: bool,
) -> Result<bool, Problem> {
    let Setup { configuration, camera_type } = setup;
    let sql = if exists {
        "UPDATE camera_configurations SET camera_name = $3, camera_type = $4, stream_url = $5, \
         frame_rate = $6, confidence_threshold = $7, is_active = $8, version = $9, configuration = $10, \
         managed_by = 'api', updated_at = now(), deleted_at = NULL, \
         created_at = CASE WHEN deleted_at IS NULL THEN created_at ELSE now() END \
         WHERE tenant_id = $1 AND camera_id = $2"
    } else {
        "INSERT INTO camera_configurations (tenant_id, camera_id, camera_name, camera_type, stream_url, \
         frame_rate, confidence_threshold, is_active, version, configuration, managed_by) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 'api') ON CONFLICT DO NOTHING"
    };
    let written = sqlx::query(sql)
        .bind(&configuration.tenant)
        .bind(&configuration.camera)
        .bind(&configuration.name)
        .bind(camera_type)
        .bind(&configuration.source.url)
        .bind(configuration.source.max_fps)
        .bind(configuration.min_score)
        .bind(configuration.enabled)
        .bind(configuration.version)
        .bind(Json(configuration))
        .execute(&mut **transaction)
        .await?;
    Ok(written.rows_affected() == 1)
}

/// The camera as it is in this transaction.
async fn shown(
    transaction: &mut Transaction<'static, Postgres>,
    call: &Call,
    camera: &str,
    status: StatusCode,
) -> Result<Response, Problem> {
    let camera: Camera = cameras::find(transaction, call, camera).await?;
    let version = camera.version;
    let mut response =
        (status, axum::Json(One { data: camera, metadata: Metadata::now() })).into_response();
    response.headers_mut().insert(header::ETAG, tag(version));
    Ok(response)
}
