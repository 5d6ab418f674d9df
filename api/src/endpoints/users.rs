//! Users, their logins and keys, and what they changed.

use axum::routing::on;

use super::{
    ADMINS, EVERYONE, Endpoint, LOGIN, Method, ORDINARY, Permission, Service, change, get, post,
};
use crate::answers::{One, Page};
use crate::auth::sessions::Tokens;
use crate::document::Answer;
use crate::handlers::{audit, auth, keys, users};
use crate::parameters::Parameter::{Cursor, From, Limit, To};
use crate::user_input::{SelfUpdate, UserCreate, UserUpdate};

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint {
        summary: "Users, by id",
        tables: &["users"],
        roles: ADMINS,
        permissions: &[Permission::UsersManage],
        rate_limit: ORDINARY,
        parameters: &[Limit, Cursor],
        ..get(
            "listUsers",
            "/api/v1/users",
            Service::User,
            Answer::json_of::<Page<users::User>, users::User>(),
            |method| on(method, users::list),
        )
    },
    Endpoint {
        summary: "Add a user",
        description: "Nobody gives a role, a permission or a grant that he does not have.",
        tables: &["users", "audit_log"],
        roles: ADMINS,
        permissions: &[Permission::UsersManage],
        rate_limit: ORDINARY,
        success: 201,
        ..post(
            "createUser",
            "/api/v1/users",
            Service::User,
            Answer::json::<UserCreate>(),
            Answer::json_of::<One<users::User>, users::User>(),
            |method| on(method, users::create),
        )
    },
    Endpoint {
        summary: "The calling user",
        tables: &["users"],
        roles: EVERYONE,
        rate_limit: ORDINARY,
        ..get(
            "getMe",
            "/api/v1/users/me",
            Service::User,
            Answer::json_of::<One<users::User>, users::User>(),
            |method| on(method, users::me),
        )
    },
    Endpoint {
        summary: "Change the profile, the settings or the password of the calling user",
        tables: &["users", "auth_sessions", "audit_log"],
        roles: EVERYONE,
        rate_limit: ORDINARY,
        ..change(
            "updateMe",
            Method::Patch,
            "/api/v1/users/me",
            Service::User,
            Some(Answer::json::<SelfUpdate>()),
            Answer::json_of::<One<users::User>, users::User>(),
            |method| on(method, users::update_me),
        )
    },
    Endpoint {
        summary: "One user",
        tables: &["users"],
        roles: ADMINS,
        permissions: &[Permission::UsersManage],
        rate_limit: ORDINARY,
        ..get(
            "getUser",
            "/api/v1/users/{id}",
            Service::User,
            Answer::json_of::<One<users::User>, users::User>(),
            |method| on(method, users::one),
        )
    },
    Endpoint {
        summary: "Change a user",
        tables: &["users", "auth_sessions", "audit_log"],
        roles: ADMINS,
        permissions: &[Permission::UsersManage],
        rate_limit: ORDINARY,
        ..change(
            "updateUser",
            Method::Patch,
            "/api/v1/users/{id}",
            Service::User,
            Some(Answer::json::<UserUpdate>()),
            Answer::json_of::<One<users::User>, users::User>(),
            |method| on(method, users::update),
        )
    },
    Endpoint {
        summary: "Remove a user",
        tables: &["users", "audit_log"],
        roles: ADMINS,
        permissions: &[Permission::UsersManage],
        rate_limit: ORDINARY,
        success: 204,
        ..change(
            "removeUser",
            Method::Delete,
            "/api/v1/users/{id}",
            Service::User,
            None,
            Answer::nothing(),
            |method| on(method, users::remove),
        )
    },
    Endpoint {
        summary: "API keys, by id",
        tables: &["api_keys"],
        roles: ADMINS,
        permissions: &[Permission::UsersManage],
        rate_limit: ORDINARY,
        parameters: &[Limit, Cursor],
        ..get(
            "listApiKeys",
            "/api/v1/api-keys",
            Service::User,
            Answer::json_of::<Page<keys::Key>, keys::Key>(),
            |method| on(method, keys::list),
        )
    },
    Endpoint {
        summary: "Make an API key",
        description: "The key is told once.",
        tables: &["api_keys", "audit_log"],
        roles: ADMINS,
        permissions: &[Permission::UsersManage],
        rate_limit: ORDINARY,
        success: 201,
        ..post(
            "createApiKey",
            "/api/v1/api-keys",
            Service::User,
            Answer::json::<keys::KeyCreate>(),
            Answer::json_of::<One<keys::NewKey>, keys::NewKey>(),
            |method| on(method, keys::create),
        )
    },
    Endpoint {
        summary: "Revoke an API key",
        tables: &["api_keys", "audit_log"],
        roles: ADMINS,
        permissions: &[Permission::UsersManage],
        rate_limit: ORDINARY,
        conditional: false,
        success: 204,
        ..change(
            "revokeApiKey",
            Method::Delete,
            "/api/v1/api-keys/{id}",
            Service::User,
            None,
            Answer::nothing(),
            |method| on(method, keys::revoke),
        )
    },
    Endpoint {
        summary: "What was changed and by whom, newest first",
        tables: &["audit_log"],
        roles: ADMINS,
        rate_limit: ORDINARY,
        parameters: &[Limit, Cursor, From, To],
        ..get(
            "listAudit",
            "/api/v1/audit",
            Service::User,
            Answer::json_of::<Page<audit::AuditEntry>, audit::AuditEntry>(),
            |method| on(method, audit::list),
        )
    },
    Endpoint {
        summary: "Log in: a short-lived token for a user's password",
        description: "`tenant` may be left out for the service's own.",
        tables: &["users", "auth_sessions"],
        rate_limit: LOGIN,
        ..post(
            "createToken",
            "/api/v1/auth/token",
            Service::User,
            Answer::json::<auth::Login>(),
            Answer::json::<Tokens>(),
            |method| on(method, auth::token),
        )
    },
    Endpoint {
        summary: "Renew a login: new tokens for a refresh token, which is used up by it",
        description: "A refresh token that comes a second time was stolen: it ends the login.",
        tables: &["users", "auth_sessions"],
        rate_limit: LOGIN,
        ..post(
            "refreshToken",
            "/api/v1/auth/refresh",
            Service::User,
            Answer::json::<auth::Refresh>(),
            Answer::json::<Tokens>(),
            |method| on(method, auth::refresh),
        )
    },
    Endpoint {
        summary: "End a login",
        description: "The refresh token is void at once, access tokens of the same login within \
                      seconds. A token that is not known is no error.",
        tables: &["auth_sessions"],
        rate_limit: LOGIN,
        success: 204,
        ..post(
            "revokeToken",
            "/api/v1/auth/revoke",
            Service::User,
            Answer::json::<auth::Refresh>(),
            Answer::nothing(),
            |method| on(method, auth::revoke),
        )
    },
    Endpoint {
        summary: "Keys that check the service's own tokens (RFC 7517)",
        cache_lifetime_s: 300,
        tables: &["auth_signing_keys"],
        rate_limit: ORDINARY,
        ..get(
            "listSigningKeys",
            "/.well-known/jwks.json",
            Service::User,
            Answer::json::<auth::KeySet>(),
            |method| on(method, auth::keys),
        )
    },
];
