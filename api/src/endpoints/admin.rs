//! How the service is, for those who manage it.

use axum::routing::on;

use super::{ADMINS, Endpoint, Method, OPERATORS, ORDINARY, Permission, Service, get};
use crate::answers::{One, Page};
use crate::document::Answer;
use crate::handlers::{alerts, errors, service};
use crate::parameters::Parameter::{Cursor, From, Limit, To};

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint {
        summary: "Alerts, newest first",
        description: "Those of the tenant, and those about the service itself. An alert stays one as \
                      long as its cause goes on.",
        tables: &["system_alerts"],
        roles: OPERATORS,
        permissions: &[Permission::AlertsManage],
        rate_limit: ORDINARY,
        parameters: &[Limit, Cursor, From, To],
        ..get(
            "listAlerts",
            "/api/v1/alerts",
            Service::Admin,
            Answer::json_of::<Page<alerts::Alert>, alerts::Alert>(),
            |method| on(method, alerts::list),
        )
    },
    Endpoint {
        summary: "Acknowledge an alert",
        description: "The first to do so is remembered; doing it again changes nothing.",
        tables: &["system_alerts"],
        roles: OPERATORS,
        permissions: &[Permission::AlertsManage],
        rate_limit: ORDINARY,
        method: Method::Put,
        ..get(
            "acknowledgeAlert",
            "/api/v1/alerts/{id}/acknowledgement",
            Service::Admin,
            Answer::json_of::<One<alerts::Alert>, alerts::Alert>(),
            |method| on(method, alerts::acknowledge),
        )
    },
    Endpoint {
        summary: "Requests of the tenant that were answered with an error, newest first",
        tables: &["api_error_logs", "api_error_codes", "database_error_patterns"],
        roles: ADMINS,
        permissions: &[Permission::ServiceRead],
        rate_limit: ORDINARY,
        parameters: &[Limit, Cursor, From, To],
        ..get(
            "listErrors",
            "/api/v1/admin/errors",
            Service::Admin,
            Answer::json_of::<Page<errors::LoggedError>, errors::LoggedError>(),
            |method| on(method, errors::list),
        )
    },
    Endpoint {
        summary: "How fast endpoints answer, by minute, newest first",
        description: "One row per endpoint, minute and process, where there was a request.",
        tables: &["api_performance_metrics"],
        roles: ADMINS,
        permissions: &[Permission::ServiceRead],
        rate_limit: ORDINARY,
        parameters: &[Limit, Cursor, From, To],
        ..get(
            "listPerformance",
            "/api/v1/admin/performance",
            Service::Admin,
            Answer::json_of::<Page<service::EndpointMinute>, service::EndpointMinute>(),
            |method| on(method, service::performance),
        )
    },
    Endpoint {
        summary: "Queries that took more than a second, with their plans, newest first",
        description: "Neither texts nor plans hold values.",
        tables: &["query_optimization_tracking"],
        roles: ADMINS,
        permissions: &[Permission::ServiceRead],
        rate_limit: ORDINARY,
        parameters: &[Limit, Cursor],
        ..get(
            "listSlowQueries",
            "/api/v1/admin/performance/queries",
            Service::Admin,
            Answer::json_of::<Page<service::TrackedQuery>, service::TrackedQuery>(),
            |method| on(method, service::queries),
        )
    },
    Endpoint {
        summary: "How the connections to the database are",
        tables: &["database_connection_pool", "database_connection_health"],
        roles: ADMINS,
        permissions: &[Permission::ServiceRead],
        rate_limit: ORDINARY,
        ..get(
            "getDatabaseHealth",
            "/api/v1/admin/database",
            Service::Admin,
            Answer::json_of::<One<service::DatabaseHealth>, service::DatabaseHealth>(),
            |method| on(method, service::database),
        )
    },
];
