//! The rows that the declarations in [`crate::endpoints`] make.

use serde_json::{Map, Value, json};

use crate::document;
use crate::endpoints::{ENDPOINTS, Endpoint, Method};
use crate::parameters::Parameter;
use crate::validation::{rules, schemas};

/// A table of the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// One row per endpoint.
    Endpoints,
    /// How the service keeps its answers.
    Cache,
    /// What its body must be.
    Validation,
    /// What its answer looks like.
    Responses,
    /// What happens to fields of bodies.
    Rules,
}

impl Table {
    /// Every table; a table comes after the one that its rows belong to.
    pub const ALL: [Table; 5] =
        [Table::Endpoints, Table::Cache, Table::Validation, Table::Responses, Table::Rules];

    /// Its name in the database.
    pub fn name(self) -> &'static str {
        match self {
            Table::Endpoints => "api_endpoint_mappings",
            Table::Cache => "api_cache_config",
            Table::Validation => "api_validation_schemas",
            Table::Responses => "api_response_templates",
            Table::Rules => "data_sanitization_rules",
        }
    }

    /// Whether its rows belong to rows of [`Table::Endpoints`].
    pub fn is_of_endpoints(self) -> bool {
        !matches!(self, Table::Endpoints | Table::Rules)
    }
}

/// A row as the program declares it.
#[derive(Debug, Clone, PartialEq)]
pub struct Declared {
    /// Where it belongs.
    pub table: Table,
    /// The endpoint's operation id, or the rule's field.
    pub key: String,
    /// Columns that follow from the program.
    pub fixed: Map<String, Value>,
    /// Columns that an operator may change.
    pub settings: Map<String, Value>,
}

/// Every declared row.
pub fn rows() -> Vec<Declared> {
    let document = serde_json::to_value(document::openapi()).unwrap_or_default();
    let mut rows = Vec::new();
    for endpoint in ENDPOINTS {
        rows.push(mapping(endpoint));
        rows.extend(cache(endpoint));
        rows.extend(validation(endpoint, &document));
        rows.extend(response(endpoint, &document));
    }
    rows.extend(rules::DECLARED.iter().map(|rule| Declared {
        table: Table::Rules,
        key: rule.field_name.to_owned(),
        fixed: object(json!({
            "field_name": rule.field_name,
            "field_type": rule.field_type,
            "sanitization_type": rule.sanitization_type,
        })),
        settings: object(json!({
            "sanitization_config": (rule.config)(),
            "error_message": rule.error_message,
        })),
    }));
    rows
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn declared(table: Table, endpoint: &Endpoint, fixed: Value, settings: Value) -> Declared {
    let key = endpoint.operation_id.to_owned();
    Declared { table, key, fixed: object(fixed), settings: object(settings) }
}

fn mapping(endpoint: &Endpoint) -> Declared {
    let operation = match endpoint.method {
        _ if endpoint.tables.is_empty() => Value::Null,
        Method::Get => "SELECT".into(),
        Method::Post => "INSERT".into(),
        // What is deleted is marked so, and stays.
        Method::Put | Method::Patch | Method::Delete => "UPDATE".into(),
    };
    let fixed = json!({
        "operation_id": endpoint.operation_id,
        "endpoint_path": endpoint.path,
        "http_method": endpoint.method.as_str(),
        "service_name": endpoint.service.name(),
        "database_operation": operation,
        "target_table": endpoint.tables.first(),
        "target_tables": endpoint.tables,
        "query_parameters": endpoint.parameters.iter().map(|one| one.name()).collect::<Vec<_>>(),
        "requires_auth": endpoint.needs_caller(),
    });
    let limit = endpoint.rate_limit;
    let settings = json!({
        "is_enabled": true,
        "cache_enabled": endpoint.cache_lifetime_s > 0,
        "cache_ttl_seconds": endpoint.cache_lifetime_s,
        "rate_limit_per_minute": limit.map(|limit| limit.per_minute),
        "rate_limit_burst": limit.map(|limit| limit.burst),
        "daily_quota": limit.map(|limit| limit.per_day),
        "required_roles": endpoint.roles.iter().map(|role| role.name()).collect::<Vec<_>>(),
        "required_permissions":
            endpoint.permissions.iter().map(|one| one.name()).collect::<Vec<_>>(),
    });
    declared(Table::Endpoints, endpoint, fixed, settings)
}

fn cache(endpoint: &Endpoint) -> Option<Declared> {
    let settings = json!({
        "cache_enabled": endpoint.is_kept(),
        "cache_ttl_seconds": endpoint.cache_lifetime_s,
        "cache_distribution": true,
        "cache_invalidation_rules": {"tables": crate::cache::sources::of(endpoint)},
    });
    endpoint.is_kept().then(|| declared(Table::Cache, endpoint, json!({}), settings))
}

fn validation(endpoint: &Endpoint, document: &Value) -> Option<Declared> {
    let body = schemas::declared(endpoint, document)?;
    let settings = json!({
        "validation_schema": body.schema,
        "validation_rules": body.rules,
        "allow_unknown_fields": false,
        "sanitize_input": true,
    });
    Some(declared(Table::Validation, endpoint, json!({"schema_name": body.name}), settings))
}

/// Answers in JSON that have the frame of `data`, `pagination` and `metadata`.
fn response(endpoint: &Endpoint, document: &Value) -> Option<Declared> {
    if !endpoint.is_api() || endpoint.method != Method::Get {
        return None;
    }
    let method = endpoint.method.as_str().to_lowercase();
    let operation = &document["paths"][endpoint.path][&method];
    let schema = operation["responses"]["200"]["content"]["application/json"]["schema"].clone();
    let frame = &document.pointer(schema["$ref"].as_str()?.trim_start_matches('#'))?["properties"];
    frame.get("metadata")?;
    let paginated =
        frame.get("pagination").is_some() || endpoint.parameters.contains(&Parameter::Cursor);
    let fixed = json!({
        "response_type": if paginated { "paginated" } else { "success" },
        "response_schema": schema,
    });
    let settings = json!({
        "response_example": null,
        "response_headers": {},
        "include_metadata": true,
        "include_pagination": paginated,
    });
    Some(declared(Table::Responses, endpoint, fixed, settings))
}
