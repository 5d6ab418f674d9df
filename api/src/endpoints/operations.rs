//! For those who run the service.

use axum::routing::on;

use super::{ADMINS, Endpoint, Method, ORDINARY, Service, get};
use crate::answers::One;
use crate::cache::CacheFigures;
use crate::document::Answer;
use crate::handlers::{admin, operations};

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint {
        summary: "What is in force for each endpoint, and which rows were refused",
        description: "An operator changes `api_endpoint_mappings`, `api_cache_config`, \
                      `api_validation_schemas`, `api_response_templates` and \
                      `data_sanitization_rules` in the database; a change is in force within five \
                      seconds, in every process. A row that cannot be obeyed is in `refused`, and \
                      what was in force before stays.",
        roles: ADMINS,
        rate_limit: ORDINARY,
        ..get(
            "listEndpoints",
            "/api/v1/admin/endpoints",
            Service::Operations,
            Answer::json_of::<One<admin::GatewayInForce>, admin::GatewayInForce>(),
            |method| on(method, admin::endpoints),
        )
    },
    Endpoint {
        summary: "How the cache of this process does",
        roles: ADMINS,
        rate_limit: ORDINARY,
        ..get(
            "getCache",
            "/api/v1/admin/cache",
            Service::Operations,
            Answer::json_of::<One<CacheFigures>, CacheFigures>(),
            |method| on(method, admin::cache),
        )
    },
    Endpoint {
        summary: "Forget the answers that are kept for the caller's tenant",
        method: Method::Delete,
        success: 204,
        roles: ADMINS,
        rate_limit: ORDINARY,
        ..get(
            "emptyCache",
            "/api/v1/admin/cache",
            Service::Operations,
            Answer::nothing(),
            |method| on(method, admin::empty_cache),
        )
    },
    Endpoint {
        summary: "Whether the process lives",
        description: "Asks nothing of the database: a restart mends no database.",
        ..get(
            "getLiveness",
            "/healthz",
            Service::Operations,
            Answer::json::<operations::Alive>(),
            |method| on(method, operations::healthz),
        )
    },
    Endpoint {
        summary: "Whether requests can be answered",
        description: "503 while the database does not answer or has tables of another version.",
        tables: &["_sqlx_migrations"],
        ..get(
            "getReadiness",
            "/readyz",
            Service::Operations,
            Answer::json::<operations::Readiness>(),
            |method| on(method, operations::readyz),
        )
    },
    Endpoint {
        summary: "Metrics in the Prometheus text format",
        ..get(
            "getMetrics",
            "/metrics",
            Service::Operations,
            Answer::text(operations::METRICS_TEXT),
            |method| on(method, operations::metrics),
        )
    },
    Endpoint {
        summary: "This document",
        ..get("getOpenApi", "/openapi.json", Service::Operations, Answer::object(), |method| {
            on(method, operations::openapi)
        })
    },
];
