//! The OpenAPI 3.1 document, made from the declarations in [`crate::endpoints`].

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use utoipa::openapi::extensions::ExtensionsBuilder;
use utoipa::openapi::path::{
    HttpMethod, OperationBuilder, ParameterBuilder, ParameterIn, PathItem, PathsBuilder,
};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{ComponentsBuilder, ObjectBuilder, Type};
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{
    ContentBuilder, HeaderBuilder, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder, Ref,
    RefOr, Required, Response, ResponseBuilder, Schema,
};
use utoipa::{PartialSchema, ToSchema};

use headcount_schemas::ids::ID_MAX_CHARS;

use crate::endpoints::{ENDPOINTS, Endpoint, Method, Service};
use crate::formats::Format;
use crate::gateway::InForce;
use crate::handlers::registry::{REGISTRY_JSON, RegistryError};
use crate::idempotency::MAX_KEY_CHARS;
use crate::parameters::Parameter;
use crate::problem::{Code, PROBLEM_JSON, ProblemBody};

const JSON: &str = "application/json";
const EVENT_STREAM: &str = "text/event-stream";
const BEARER: &str = "bearer";
const API_KEY: &str = "api_key";
const TENANT_HEADER: &str = "X-Tenant";
const NO_SCOPES: [&str; 0] = [];

/// Says why it fails in the same words in which it says that all is well.
const READINESS: &str = "/readyz";

const DESCRIPTION: &str = "\
Cameras go in, counts come out. Times are RFC 3339, UTC, with microseconds; ranges are half open. \
Collections come in pages: follow `next_cursor`, or the `Link` header, until it is null. Unknown is \
null, never 0: every aggregate carries `coverage`, the share of its bucket in which the camera \
was really watched. What is wrong with a request is said as `application/problem+json` (RFC 9457) \
with a stable `code`; unknown parameters are refused. The schema registry answers in the shapes of \
Confluent's instead.\n\n\
Callers send `Authorization: Bearer` with a token of `/api/v1/auth/token`, one of a configured issuer, \
or an API key. `x-headcount` names the roles of which an endpoint takes one, and the permissions that open \
it to other roles. Where the service is open, on loopback, `X-Tenant` chooses the tenant.";

type Schemas = Vec<(String, RefOr<Schema>)>;

/// What an endpoint answers when all is well.
#[derive(Clone, Copy)]
pub(crate) struct Answer {
    content_type: &'static str,
    schema: fn(&mut Schemas) -> RefOr<Schema>,
}

impl Answer {
    /// JSON of type `T`.
    pub(crate) const fn json<T: ToSchema>() -> Self {
        Self { content_type: JSON, schema: reference::<T> }
    }

    /// JSON of type `F`, which is a frame such as a page around things of type `T`.
    pub(crate) const fn json_of<F: ToSchema, T: ToSchema>() -> Self {
        Self { content_type: JSON, schema: framed::<F, T> }
    }

    /// Server-sent events whose data is JSON of type `T`.
    pub(crate) const fn events<T: ToSchema>() -> Self {
        Self { content_type: EVENT_STREAM, schema: reference::<T> }
    }

    /// JSON of type `T` under the registry's content type.
    pub(crate) const fn registry<T: ToSchema>() -> Self {
        Self { content_type: REGISTRY_JSON, schema: reference::<T> }
    }

    /// As [`Answer::registry`], for types that are no component of their own, such as lists.
    pub(crate) const fn registry_inline<T: PartialSchema>() -> Self {
        Self { content_type: REGISTRY_JSON, schema: inline::<T> }
    }

    /// No body at all.
    pub(crate) const fn nothing() -> Self {
        Self { content_type: "", schema: |_| ObjectBuilder::new().into() }
    }

    /// Any JSON object.
    pub(crate) const fn object() -> Self {
        Self {
            content_type: JSON,
            schema: |_| ObjectBuilder::new().schema_type(Type::Object).into(),
        }
    }

    /// A text.
    pub(crate) const fn text(content_type: &'static str) -> Self {
        Self { content_type, schema: |_| ObjectBuilder::new().schema_type(Type::String).into() }
    }
}

fn reference<T: ToSchema>(schemas: &mut Schemas) -> RefOr<Schema> {
    T::schemas(schemas);
    let name = T::name().into_owned();
    schemas.push((name.clone(), T::schema()));
    RefOr::Ref(Ref::from_schema_name(name))
}

/// The name of a generic type says nothing of what is inside, so the component's name does.
fn framed<F: ToSchema, T: ToSchema>(schemas: &mut Schemas) -> RefOr<Schema> {
    reference::<T>(schemas);
    F::schemas(schemas);
    let name = format!("{}Of{}", F::name(), T::name());
    schemas.push((name.clone(), F::schema()));
    RefOr::Ref(Ref::from_schema_name(name))
}

fn inline<T: PartialSchema>(_: &mut Schemas) -> RefOr<Schema> {
    T::schema()
}

/// The whole document.
pub fn openapi() -> OpenApi {
    let mut schemas = Schemas::new();
    let problem = reference::<ProblemBody<'static>>(&mut schemas);
    let registry_error = reference::<RegistryError>(&mut schemas);

    let mut items: BTreeMap<&str, PathItem> = BTreeMap::new();
    for endpoint in ENDPOINTS {
        let failure = match endpoint.service {
            Service::Registry => (REGISTRY_JSON, registry_error.clone()),
            _ => (PROBLEM_JSON, problem.clone()),
        };
        let item = PathItem::new(http_method(endpoint), operation(endpoint, &mut schemas, failure));
        match items.entry(endpoint.path) {
            std::collections::btree_map::Entry::Vacant(place) => {
                place.insert(item);
            }
            std::collections::btree_map::Entry::Occupied(mut place) => {
                place.get_mut().merge_operations(item);
            }
        }
    }
    let paths =
        items.into_iter().fold(PathsBuilder::new(), |paths, (path, item)| paths.path(path, item));

    let token = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("JWT or API key")
        .description(Some(
            "A token of `/api/v1/auth/token` or of a configured issuer, or an API key.",
        ))
        .build();
    let key = ApiKeyValue::with_description("X-API-Key", "An API key.");
    let components = ComponentsBuilder::new()
        .schemas_from_iter(schemas)
        .security_scheme(BEARER, SecurityScheme::Http(token))
        .security_scheme(API_KEY, SecurityScheme::ApiKey(ApiKey::Header(key)))
        .build();
    let tags = Service::ALL.map(|service| {
        TagBuilder::new().name(service.name()).description(Some(service.description())).build()
    });
    let license = LicenseBuilder::new().name("Apache-2.0").identifier(Some("Apache-2.0")).build();
    let info = InfoBuilder::new()
        .title("Headcount")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(DESCRIPTION))
        .license(Some(license))
        .build();
    OpenApiBuilder::new()
        .info(info)
        .paths(paths.build())
        .components(Some(components))
        .tags(Some(tags))
        .build()
}

fn http_method(endpoint: &Endpoint) -> HttpMethod {
    match endpoint.method {
        Method::Get => HttpMethod::Get,
        Method::Post => HttpMethod::Post,
        Method::Put => HttpMethod::Put,
        Method::Patch => HttpMethod::Patch,
        Method::Delete => HttpMethod::Delete,
    }
}

fn operation(
    endpoint: &Endpoint,
    schemas: &mut Schemas,
    (failure_type, failure): (&'static str, RefOr<Schema>),
) -> OperationBuilder {
    let failed = |description: &str| {
        ResponseBuilder::new()
            .description(description)
            .content(failure_type, ContentBuilder::new().schema(Some(failure.clone())).build())
            .build()
    };
    let mut operation = OperationBuilder::new()
        .operation_id(Some(endpoint.operation_id))
        .tag(endpoint.service.name())
        .summary(Some(endpoint.summary))
        .description((!endpoint.description.is_empty()).then_some(endpoint.description))
        .response(endpoint.success.to_string(), success(endpoint, schemas));
    if let Some(body) = endpoint.body {
        let content = ContentBuilder::new().schema(Some((body.schema)(schemas))).build();
        operation = operation.request_body(Some(
            RequestBodyBuilder::new()
                .content(body.content_type, content)
                .required(Some(Required::True))
                .build(),
        ));
        operation = operation
            .response("413", failed(Code::BodyTooLarge.title()))
            .response("415", failed(Code::UnsupportedMediaType.title()));
    }
    for name in path_parameters(endpoint.path) {
        operation = operation.parameter(path_parameter(name));
    }
    for parameter in endpoint.parameters {
        operation = operation.parameter(parameter.document());
    }

    let limit = endpoint.rate_limit;
    let declared = json!({
        "cache_lifetime_s": endpoint.cache_lifetime_s,
        "rate_limit": limit.map(|limit| json!({
            "per_minute": limit.per_minute, "burst": limit.burst, "per_day": limit.per_day,
        })),
        "permissions": endpoint.permissions.iter().map(|one| one.name()).collect::<Vec<_>>(),
        "roles": endpoint.roles.iter().map(|role| role.name()).collect::<Vec<_>>(),
    });
    let extensions = ExtensionsBuilder::new().add("x-headcount", declared);
    operation = operation.extensions(Some(extensions.build()));

    if endpoint.is_api() {
        operation =
            operation.response("400", failed("`VALIDATION_ERROR`; `errors` names every fault"));
        operation = operation
            .response("500", failed(Code::InternalError.title()))
            .response("default", failed("Any other problem; `code` says which"));
    }
    if endpoint.conditional {
        operation = operation
            .parameter(if_match_header())
            .response("412", failed(Code::PreconditionFailed.title()))
            .response("428", failed(Code::PreconditionRequired.title()));
    }
    let ends = endpoint.answer.content_type != EVENT_STREAM;
    if endpoint.is_api() && endpoint.method == Method::Get && ends {
        operation = operation
            .parameter(if_none_match_header())
            .response("304", ResponseBuilder::new().description("As the client has it").build());
    }
    if endpoint.needs_caller() && endpoint.method == Method::Post {
        operation = operation
            .parameter(idempotency_header())
            .response("422", failed(Code::IdempotencyKeyReused.title()));
    }
    if endpoint.needs_caller() && endpoint.method != Method::Get {
        operation = operation.response("409", failed(Code::Conflict.title()));
    }
    if endpoint.needs_caller() {
        operation = operation
            .parameter(tenant_header())
            .response("401", failed(Code::AuthenticationRequired.title()))
            .response("403", failed(Code::InsufficientPermissions.title()))
            .securities(Some([
                SecurityRequirement::new(BEARER, NO_SCOPES),
                SecurityRequirement::new(API_KEY, NO_SCOPES),
                // On loopback the service may be open.
                SecurityRequirement::default(),
            ]));
    } else if endpoint.path.starts_with("/api/v1/auth/") && endpoint.success == 200 {
        operation = operation.response("401", failed(Code::InvalidCredentials.title()));
    }
    if endpoint.formats.len() > 1 {
        operation = operation.response("406", failed(Code::NotAcceptable.title()));
    }
    let asks_of_a_camera =
        endpoint.parameters.contains(&Parameter::Camera) && !endpoint.tables.is_empty();
    if endpoint.parameters.contains(&Parameter::Version) {
        let (camera, version) = (Code::CameraNotFound.title(), Code::ResourceNotFound.as_str());
        let description = format!("{camera}; `{version}`: the camera never had this version");
        operation = operation.response("404", failed(&description));
    } else if endpoint.is_of_a_camera() || asks_of_a_camera {
        operation = operation.response("404", failed(Code::CameraNotFound.title()));
    } else if matches!(endpoint.service, Service::User | Service::Admin) && endpoint.needs_caller()
    {
        operation = operation.response("404", failed(Code::ResourceNotFound.title()));
    }
    if endpoint.service == Service::Registry && endpoint.path.contains('{') {
        operation = operation.response("404", failed("40401, 40402 or 40403: no such thing"));
        if endpoint.path.contains("{version}") {
            operation = operation.response("422", failed("42202: not a version"));
        }
    }
    if endpoint.rate_limit.is_some() {
        operation = operation.response("429", limited(failed(Code::RateLimitExceeded.title())));
    }
    if endpoint.answer.content_type == EVENT_STREAM {
        let description =
            "The id of the last event that the client has, sent by itself when it comes again.";
        operation = operation
            .parameter(header("Last-Event-ID", description, Required::False))
            .response("503", failed("The event bus is away; try again later"));
    }
    if endpoint.path == READINESS {
        operation = operation.response("503", success(endpoint, schemas));
    } else if !endpoint.tables.is_empty() {
        operation = operation.response("503", failed("The database is away; try again later"));
    }
    operation
}

fn success(endpoint: &Endpoint, schemas: &mut Schemas) -> Response {
    let mut response = ResponseBuilder::new().description(endpoint.summary);
    if !endpoint.answer.content_type.is_empty() {
        let schema = (endpoint.answer.schema)(schemas);
        let content = ContentBuilder::new().schema(Some(schema)).build();
        response = response.content(endpoint.answer.content_type, content);
        for format in endpoint.formats.iter().filter(|format| **format != Format::Json) {
            response = response.content(format.content_type(), format.schema());
        }
    }
    if endpoint.parameters.contains(&Parameter::Cursor) {
        let link = HeaderBuilder::new()
            .description(Some("Address of the next page, with `rel=\"next\"` (RFC 8288)"))
            .build();
        response = response.header("Link", link);
    }
    response.build()
}

/// Says when to come again.
fn limited(mut response: Response) -> Response {
    let told = [
        ("Retry-After", "Seconds after which to come again"),
        ("RateLimit-Policy", "What is allowed (draft-ietf-httpapi-ratelimit-headers)"),
        ("RateLimit", "What is left of it"),
    ];
    for (name, description) in told {
        let header = HeaderBuilder::new().description(Some(description)).build();
        response.headers.insert(name.to_owned(), header.into());
    }
    response
}

/// The document, as an operator's rows have it: limits, lifetimes and roles that are in force, examples, and what
/// answers leave out. `requires_auth`: callers must say who they are, so nobody comes without credentials, and
/// these name the tenant.
pub fn in_force(in_force: &InForce, requires_auth: bool) -> Value {
    let mut document = serde_json::to_value(openapi()).unwrap_or_default();
    if requires_auth {
        closed(&mut document);
    }
    for endpoint in ENDPOINTS {
        let Some(settings) = in_force.of(endpoint) else { continue };
        let method = endpoint.method.as_str().to_lowercase();
        let components = document["components"]["schemas"].clone();
        let operation = &mut document["paths"][endpoint.path][&method];
        let access = &settings.access;
        let limits = access.limits;
        let declared = &mut operation["x-headcount"];
        declared["cache_lifetime_s"] = access.client_lifetime_s.into();
        declared["rate_limit"] = match (limits.rate, limits.per_day) {
            (None, None) => Value::Null,
            (rate, per_day) => json!({
                "per_minute": rate.map(|(per_minute, _)| per_minute),
                "burst": rate.map(|(_, burst)| burst),
                "per_day": per_day,
            }),
        };
        declared["roles"] = access.roles.iter().map(|role| role.name()).collect();
        declared["permissions"] = access.permissions.iter().map(|one| one.name()).collect();
        if !access.enabled {
            declared["enabled"] = false.into();
        }
        let form = &settings.form;
        // Only good answers in JSON have a form, and indexing would make what is not there.
        if form.example.is_none() && form.without.is_empty() {
            continue;
        }
        let content = &mut operation["responses"]["200"]["content"][JSON];
        if let Some(example) = &form.example {
            content["example"] = example.clone();
        }
        if !form.without.is_empty()
            && let Some(reference) = content["schema"]["$ref"].as_str()
        {
            let name = reference.rsplit('/').next().unwrap_or_default();
            content["schema"] = without(components[name].clone(), &form.without);
        }
    }
    document
}

/// Takes out what only an open service has.
fn closed(document: &mut Value) {
    let paths = document["paths"].as_object_mut().into_iter().flat_map(Map::values_mut);
    let operations = paths.filter_map(Value::as_object_mut).flat_map(Map::values_mut);
    for operation in operations {
        if let Some(ways) = operation.get_mut("security").and_then(Value::as_array_mut) {
            ways.retain(|way| way.as_object().is_some_and(|schemes| !schemes.is_empty()));
        }
        if let Some(given) = operation.get_mut("parameters").and_then(Value::as_array_mut) {
            given.retain(|parameter| parameter["name"] != TENANT_HEADER);
        }
    }
}

/// An object's schema without some of its members.
fn without(mut schema: Value, members: &[&str]) -> Value {
    if let Some(properties) = schema["properties"].as_object_mut() {
        properties.retain(|name, _| !members.contains(&name.as_str()));
    }
    if let Some(required) = schema["required"].as_array_mut() {
        required.retain(|name| !members.iter().any(|member| name == member));
    }
    schema
}

/// The names between braces.
fn path_parameters(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}

fn path_parameter(name: &str) -> ParameterBuilder {
    let (description, example) = match name {
        "subject" => ("A subject, which is a topic's name followed by `-value`.", None),
        "version" => ("A version from 1, or `latest`.", Some("latest")),
        _ => ("An id.", None),
    };
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .description(Some(description))
        .schema(Some(ObjectBuilder::new().schema_type(Type::String).build()))
        .example(example.map(serde_json::Value::from))
}

fn header(name: &str, description: &str, required: Required) -> ParameterBuilder {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Header)
        .required(required)
        .description(Some(description))
        .schema(Some(ObjectBuilder::new().schema_type(Type::String).build()))
}

fn if_match_header() -> ParameterBuilder {
    let description = "The `ETag` of what is changed, as it was last read.";
    header("If-Match", description, Required::True)
}

fn if_none_match_header() -> ParameterBuilder {
    let description = "The `ETag` of an answer that the client has; 304 if it is still the same.";
    header("If-None-Match", description, Required::False)
}

fn idempotency_header() -> ParameterBuilder {
    let schema = ObjectBuilder::new()
        .schema_type(Type::String)
        .min_length(Some(1))
        .max_length(Some(MAX_KEY_CHARS))
        .build();
    let description = "Names the request: sent again with the same key, nothing is done again, and the \
                       first answer is repeated for a day.";
    header("Idempotency-Key", description, Required::False).schema(Some(schema))
}

fn tenant_header() -> ParameterBuilder {
    let schema = ObjectBuilder::new()
        .schema_type(Type::String)
        .min_length(Some(1))
        .max_length(Some(ID_MAX_CHARS))
        .pattern(Some("^[A-Za-z0-9._-]+$"))
        .build();
    ParameterBuilder::new()
        .name(TENANT_HEADER)
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some("Whose cameras; the configured tenant by default."))
        .schema(Some(schema))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::gateway::catalogue;

    fn served(requires_auth: bool) -> Value {
        in_force(&InForce::declared(&catalogue::rows()), requires_auth)
    }

    /// Whether an operation may be asked without credentials, and whether it takes `X-Tenant`.
    fn openness(document: &Value, endpoint: &Endpoint) -> (bool, bool) {
        let method = endpoint.method.as_str().to_ascii_lowercase();
        let operation = &document["paths"][endpoint.path][method.as_str()];
        assert_eq!(operation["operationId"], endpoint.operation_id);
        let ways = operation["security"].as_array();
        let given = operation["parameters"].as_array();
        (
            ways.is_none_or(|ways| ways.contains(&json!({}))),
            given.is_some_and(|given| given.iter().any(|one| one["name"] == TENANT_HEADER)),
        )
    }

    #[rstest]
    #[case::open(false)]
    #[case::closed(true)]
    fn who_must_be_known_does_not_come_without_credentials_or_choose_a_tenant(
        #[case] requires_auth: bool,
    ) {
        let document = served(requires_auth);
        for endpoint in ENDPOINTS {
            let expected = match (endpoint.needs_caller(), requires_auth) {
                (true, true) => (false, false),
                (true, false) => (true, true),
                (false, _) => (true, false),
            };
            assert_eq!(openness(&document, endpoint), expected, "{endpoint:?}");
        }
    }

    #[test]
    fn who_must_be_known_may_still_come_with_a_token_or_a_key() {
        let ways = &served(true)["paths"]["/api/v1/cameras"]["get"]["security"];
        assert_eq!(*ways, json!([{BEARER: []}, {API_KEY: []}]));
    }
}
