//! What clients say about a user, and what is wrong with it. Values in, values out.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use headcount_schemas::CameraKey;

use crate::access::{Grant, Permission, Role};
use crate::auth::passwords;
use crate::body::{Faults, given};

/// Most characters of a name or an address.
const MAX_CHARS: usize = 200;
/// Most things that are granted to one user.
const MAX_GRANTS: usize = 1000;
/// Largest settings of one user, in bytes of JSON.
const MAX_SETTINGS_BYTES: usize = 16 << 10;

/// Who a user is.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// What people call the user.
    #[serde(default)]
    #[schema(max_length = 200, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]*$")]
    pub display_name: String,
    /// Where to reach the user.
    #[serde(default)]
    #[schema(
        max_length = 200,
        required = true,
        pattern = "^[^@\\x00-\\x1f\\x7f-\\x9f]+@[^\\x00-\\x1f\\x7f-\\x9f]+$"
    )]
    pub email: Option<String>,
}

/// A user to be added.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"username": "ann", "password": "correct horse battery", "role": "analyst"}))]
pub struct UserCreate {
    /// Unique within the tenant, whatever the case of its letters.
    #[schema(min_length = 1, max_length = 64, pattern = "^[^\\s\\x00-\\x1f\\x7f-\\x9f]+$")]
    pub username: String,
    /// The user's password; without one nobody can log in until one is set.
    #[serde(default)]
    #[schema(min_length = 12, max_length = 1024, format = Password)]
    pub password: Option<String>,
    /// What the user may do.
    pub role: Role,
    /// What the user may do beyond the role.
    #[serde(default)]
    #[schema(max_items = 8)]
    pub permissions: Vec<Permission>,
    /// What the user sees; everything of the tenant if left out.
    #[serde(default)]
    #[schema(max_items = 1000)]
    pub grants: Option<Vec<Grant>>,
    /// Who the user is.
    #[serde(default)]
    pub profile: Option<Profile>,
    /// What the user has set.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub settings: Option<serde_json::Map<String, Value>>,
}

/// What is to change of a user: what is left out stays.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"role": "operator"}))]
pub struct UserUpdate {
    /// A new password; all logins end.
    #[serde(default)]
    #[schema(min_length = 12, max_length = 1024, format = Password, nullable = false)]
    pub password: Option<String>,
    /// What the user may do.
    #[serde(default)]
    #[schema(nullable = false)]
    pub role: Option<Role>,
    /// What the user may do beyond the role.
    #[serde(default)]
    #[schema(max_items = 8, nullable = false)]
    pub permissions: Option<Vec<Permission>>,
    /// What the user sees; null for everything of the tenant.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Vec<Grant>>, max_items = 1000)]
    pub grants: Option<Option<Vec<Grant>>>,
    /// Whether the user may log in; if not, all logins end.
    #[serde(default)]
    #[schema(nullable = false)]
    pub is_active: Option<bool>,
    /// Who the user is.
    #[serde(default)]
    #[schema(nullable = false)]
    pub profile: Option<Profile>,
    /// What the user has set.
    #[serde(default)]
    #[schema(value_type = Option<Object>, nullable = false)]
    pub settings: Option<serde_json::Map<String, Value>>,
}

/// What a user changes of himself.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"settings": {"language": "vi"}}))]
pub struct SelfUpdate {
    /// A new password; all logins end.
    #[serde(default)]
    #[schema(min_length = 12, max_length = 1024, format = Password, nullable = false)]
    pub password: Option<String>,
    /// The password so far; needed for a new one.
    #[serde(default)]
    #[schema(max_length = 1024, format = Password, nullable = false)]
    pub current_password: Option<String>,
    /// Who the user is.
    #[serde(default)]
    #[schema(nullable = false)]
    pub profile: Option<Profile>,
    /// What the user has set.
    #[serde(default)]
    #[schema(value_type = Option<Object>, nullable = false)]
    pub settings: Option<serde_json::Map<String, Value>>,
}

/// Notes what is wrong with `grants`.
pub(crate) fn check_grants(faults: &mut Faults, grants: Option<&[Grant]>) {
    let grants = grants.unwrap_or_default();
    faults.need(grants.len() <= MAX_GRANTS, "/grants", "must not be more than 1000");
    for (i, grant) in grants.iter().enumerate().take(MAX_GRANTS) {
        let known = CameraKey::new("tenant", grant.camera_id.as_str()).is_ok();
        faults.need(known, &format!("/grants/{i}/camera_id"), "is not a camera's id");
        let site = grant.site.as_deref().unwrap_or("site");
        let named =
            (1..=100).contains(&site.chars().count()) && !site.chars().any(char::is_control);
        faults.need(named, &format!("/grants/{i}/site"), "is not a site's name");
    }
}

/// Notes what is wrong with a profile and settings.
pub(crate) fn check_profile(
    faults: &mut Faults,
    profile: Option<&Profile>,
    settings: Option<&serde_json::Map<String, Value>>,
) {
    let printable =
        |text: &str| text.chars().count() <= MAX_CHARS && !text.chars().any(char::is_control);
    if let Some(Profile { display_name, email }) = profile {
        let message = "must have at most 200 characters, none of them control";
        faults.need(printable(display_name), "/profile/display_name", message);
        let addressed = email.as_deref().is_none_or(|email| {
            printable(email)
                && email.split_once('@').is_some_and(|(to, at)| !to.is_empty() && !at.is_empty())
        });
        faults.need(addressed, "/profile/email", "is not an e-mail address");
    }
    if let Some(settings) = settings {
        let text = serde_json::to_string(settings).unwrap_or_default();
        // PostgreSQL has no NUL in text, in JSON either.
        let sane = text.len() <= MAX_SETTINGS_BYTES && !text.contains("\\u0000");
        faults.need(sane, "/settings", "must have at most 16 KiB of JSON without NUL");
    }
}

/// Notes what is wrong with the password of the user called `username`.
pub(crate) fn check_password(faults: &mut Faults, password: Option<&str>, username: &str) {
    if let Some(problem) = password.and_then(|password| passwords::problem(password, username)) {
        faults.add("/password", problem);
    }
}
