//! The schema registry, read-only, in the shapes of Confluent's: a client configured with this
//! service's address as `schema.registry.url` can read every topic.
//!
//! The schemas are built in, so nothing can be registered. Query parameters are not checked here:
//! clients of other vendors send flags (`deleted`, `fetchMaxId`, `subject`) that change nothing
//! for a registry in which nothing is ever deleted.

use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use headcount_schemas::registry::{self, Published};
use headcount_schemas::{Topic, TopicNames};

use crate::state::ApiState;

/// Content type of the registry's answers.
pub const REGISTRY_JSON: &str = "application/vnd.schemaregistry.v1+json";

/// An answer with the registry's content type.
pub struct RegistryJson<T>(StatusCode, T);

impl<T: Serialize> IntoResponse for RegistryJson<T> {
    fn into_response(self) -> Response {
        let mut response = (self.0, axum::Json(self.1)).into_response();
        let content_type = HeaderValue::from_static(REGISTRY_JSON);
        response.headers_mut().insert(header::CONTENT_TYPE, content_type);
        response
    }
}

fn ok<T: Serialize>(body: T) -> RegistryJson<T> {
    RegistryJson(StatusCode::OK, body)
}

/// What a schema registry's client is told when something is wrong.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"error_code": 40401, "message": "Subject 'doors-value' not found."}))]
pub struct RegistryError {
    /// The status, or the status followed by two digits that say more.
    pub error_code: u32,
    /// In words.
    pub message: String,
    #[serde(skip)]
    status: StatusCode,
}

impl RegistryError {
    fn subject(subject: &str) -> Self {
        let message = format!("Subject '{}' not found.", shown(subject));
        Self { error_code: 40401, message, status: StatusCode::NOT_FOUND }
    }

    fn version(version: u32) -> Self {
        let message = format!("Version {version} not found.");
        Self { error_code: 40402, message, status: StatusCode::NOT_FOUND }
    }

    fn schema(id: &str) -> Self {
        let message = format!("Schema {} not found", shown(id));
        Self { error_code: 40403, message, status: StatusCode::NOT_FOUND }
    }

    fn bad_version(version: &str) -> Self {
        let message = format!(
            "The specified version '{}' is not a valid version id. Allowed values are between \
             [1, 2^31-1] and the string \"latest\"",
            shown(version)
        );
        Self { error_code: 42202, message, status: StatusCode::UNPROCESSABLE_ENTITY }
    }
}

impl IntoResponse for RegistryError {
    fn into_response(self) -> Response {
        RegistryJson(self.status, self).into_response()
    }
}

/// A client's text, cut to what may be sent back.
fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(250).collect()
}

/// Answers methods that a read-only registry does not have.
pub async fn method_not_allowed() -> RegistryError {
    RegistryError {
        error_code: 405,
        message: "HTTP 405 Method Not Allowed: this registry is read-only".to_owned(),
        status: StatusCode::METHOD_NOT_ALLOWED,
    }
}

/// One published version of one subject.
#[derive(Debug, Serialize, ToSchema)]
pub struct SubjectVersion {
    /// Name of the subject.
    #[schema(example = "headcount.crossings-value")]
    pub subject: String,
    /// From 1.
    #[schema(example = 1)]
    pub version: u32,
    /// Its id on the wire.
    #[schema(example = 301)]
    pub id: u32,
    /// The Avro schema, as a text.
    pub schema: &'static str,
}

/// A schema without its place.
#[derive(Debug, Serialize, ToSchema)]
pub struct SchemaText {
    /// The Avro schema, as a text.
    pub schema: &'static str,
}

/// What changes a schema may undergo.
#[derive(Debug, Serialize, ToSchema)]
pub struct Compatibility {
    /// Every version can read what the one before it wrote.
    #[serde(rename = "compatibilityLevel")]
    #[schema(example = "BACKWARD")]
    pub compatibility_level: &'static str,
}

/// `GET /subjects`
pub async fn subjects(State(state): State<ApiState>) -> RegistryJson<Vec<String>> {
    let names = &state.config.topics;
    ok(Topic::ALL.into_iter().map(|topic| registry::subject(names, topic)).collect())
}

/// `GET /subjects/{subject}/versions`
pub async fn versions(
    State(state): State<ApiState>,
    Path(subject): Path<String>,
) -> Result<RegistryJson<Vec<u32>>, RegistryError> {
    let topic = topic(&state.config.topics, &subject)?;
    Ok(ok(registry::versions(topic).map(|published| published.version).collect()))
}

/// `GET /subjects/{subject}/versions/{version}`
pub async fn version(
    State(state): State<ApiState>,
    Path((subject, version)): Path<(String, String)>,
) -> Result<RegistryJson<SubjectVersion>, RegistryError> {
    let topic = topic(&state.config.topics, &subject)?;
    let published = published(topic, &version)?;
    Ok(ok(SubjectVersion {
        subject,
        version: published.version,
        id: published.id,
        schema: published.text,
    }))
}

/// `GET /schemas/ids/{id}`
pub async fn schema(Path(id): Path<String>) -> Result<RegistryJson<SchemaText>, RegistryError> {
    let published = id.parse().ok().and_then(registry::by_id);
    let published = published.ok_or_else(|| RegistryError::schema(&id))?;
    Ok(ok(SchemaText { schema: published.text }))
}

/// `GET /schemas/types`
pub async fn types() -> RegistryJson<[&'static str; 1]> {
    ok(["AVRO"])
}

/// `GET /config`
pub async fn config() -> RegistryJson<Compatibility> {
    ok(Compatibility { compatibility_level: "BACKWARD" })
}

fn topic(names: &TopicNames, subject: &str) -> Result<Topic, RegistryError> {
    registry::parse_subject(names, subject).ok_or_else(|| RegistryError::subject(subject))
}

/// `latest` may also be written `-1`, as some clients do.
fn published(topic: Topic, version: &str) -> Result<&'static Published, RegistryError> {
    if matches!(version, "latest" | "-1") {
        return Ok(registry::current(topic));
    }
    let number = version.parse().ok().filter(|number| (1..=i32::MAX as u32).contains(number));
    let number = number.ok_or_else(|| RegistryError::bad_version(version))?;
    registry::versions(topic)
        .find(|published| published.version == number)
        .ok_or_else(|| RegistryError::version(number))
}
