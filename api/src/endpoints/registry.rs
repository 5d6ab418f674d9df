//! Schemas of the topics.

use axum::routing::on;

use super::{Endpoint, ORDINARY, Service, get};
use crate::document::Answer;
use crate::handlers::registry;

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint {
        summary: "Names of all subjects",
        rate_limit: ORDINARY,
        ..get(
            "listSubjects",
            "/subjects",
            Service::Registry,
            Answer::registry_inline::<Vec<String>>(),
            |method| on(method, registry::subjects),
        )
    },
    Endpoint {
        summary: "Versions of a subject",
        rate_limit: ORDINARY,
        ..get(
            "listSubjectVersions",
            "/subjects/{subject}/versions",
            Service::Registry,
            Answer::registry_inline::<Vec<u32>>(),
            |method| on(method, registry::versions),
        )
    },
    Endpoint {
        summary: "One version of a subject",
        rate_limit: ORDINARY,
        ..get(
            "getSubjectVersion",
            "/subjects/{subject}/versions/{version}",
            Service::Registry,
            Answer::registry::<registry::SubjectVersion>(),
            |method| on(method, registry::version),
        )
    },
    Endpoint {
        summary: "The schema of an id",
        description: "Schemas never change under their id, so an answer may be kept for a day.",
        cache_lifetime_s: 86_400,
        rate_limit: ORDINARY,
        ..get(
            "getSchema",
            "/schemas/ids/{id}",
            Service::Registry,
            Answer::registry::<registry::SchemaText>(),
            |method| on(method, registry::schema),
        )
    },
    Endpoint {
        summary: "Kinds of schemas",
        rate_limit: ORDINARY,
        ..get(
            "listSchemaTypes",
            "/schemas/types",
            Service::Registry,
            Answer::registry_inline::<Vec<String>>(),
            |method| on(method, registry::types),
        )
    },
    Endpoint {
        summary: "What changes a schema may undergo",
        rate_limit: ORDINARY,
        ..get(
            "getCompatibility",
            "/config",
            Service::Registry,
            Answer::registry::<registry::Compatibility>(),
            |method| on(method, registry::config),
        )
    },
];
