//! What is in force for an endpoint, and the judgement of the rows that say so. Pure.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::catalogue::{Declared, Table};
use crate::access::{Permission, Role};
use crate::endpoints::{ENDPOINTS, Endpoint, Service};
use crate::validation::rules::Rules;
use crate::validation::schemas::BodySchema;

/// Longest lifetime of an answer, in seconds.
const MAX_LIFETIME_S: i64 = 7 * 86_400;
/// Highest limit of requests, in requests a minute or at once.
const MAX_RATE: i64 = 10_000_000;
/// Headers that an answer must have as the program sets them.
const OWN_HEADERS: [&str; 22] = [
    "age",
    "allow",
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-security-policy",
    "content-type",
    "date",
    "etag",
    "link",
    "location",
    "ratelimit",
    "ratelimit-policy",
    "retry-after",
    "set-cookie",
    "transfer-encoding",
    "vary",
    "www-authenticate",
    "x-content-type-options",
    "x-frame-options",
    "x-request-id",
];

/// How often one caller may ask.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Requests a minute, sustained, and requests at once; none for no limit.
    pub rate: Option<(u32, u32)>,
    /// Requests a day (UTC); none for no quota.
    pub per_day: Option<u32>,
}

/// Who may call an endpoint, how often, and how long its answers may be used again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// Whether it is served.
    pub enabled: bool,
    /// How long a client may use an answer again; 0 for not at all.
    pub client_lifetime_s: u32,
    /// How often one caller may ask.
    pub limits: Limits,
    /// Roles of which a caller needs one.
    pub roles: Vec<Role>,
    /// What opens it to a caller of another role.
    pub permissions: Vec<Permission>,
}

/// How the service keeps an endpoint's answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keeping {
    /// For how long.
    pub lifetime: Duration,
    /// Also in Redis.
    pub shared: bool,
    /// Tables whose change ends an answer.
    pub tables: Vec<String>,
}

/// What an endpoint's answer looks like.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Form {
    /// Headers to add.
    pub headers: HeaderMap,
    /// Members of the answer to leave out.
    pub without: Vec<&'static str>,
    /// An example for the document.
    pub example: Option<Value>,
}

/// What is in force for one endpoint.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Who, how often, how long.
    pub access: Arc<Access>,
    /// How answers are kept; none: they are not.
    pub keeping: Option<Arc<Keeping>>,
    /// What its body must be; none where the program alone says.
    pub body: Option<Arc<BodySchema>>,
    /// What its answer looks like.
    pub form: Arc<Form>,
}

/// A row that cannot be obeyed, and why. What was in force stays.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct Refusal {
    /// The table.
    #[schema(example = "api_cache_config")]
    pub table: String,
    /// The endpoint's operation id, or the rule's field.
    #[schema(example = "listCameras")]
    pub row: String,
    /// Why.
    #[schema(example = "cache_ttl_seconds: -1 is not a number from 0 to 604800")]
    pub reason: String,
}

/// What is in force for every endpoint.
#[derive(Debug, Clone)]
pub struct InForce {
    /// By operation id; every declared endpoint is there.
    pub endpoints: BTreeMap<&'static str, Settings>,
    /// What happens to fields of bodies.
    pub rules: Arc<Rules>,
    /// What was refused.
    pub refused: Vec<Refusal>,
    /// Rises with every change.
    pub revision: u64,
}

/// Rows as they were read: by table and key.
pub type Rows = BTreeMap<(Table, String), Map<String, Value>>;

impl InForce {
    /// As the program declares it.
    pub fn declared(declared: &[Declared]) -> Self {
        let rules = Arc::new(Rules::default());
        let mut in_force =
            Self { endpoints: BTreeMap::new(), rules, refused: Vec::new(), revision: 0 };
        let bare = || Settings {
            access: Arc::new(Access {
                enabled: true,
                client_lifetime_s: 0,
                limits: Limits::default(),
                roles: Vec::new(),
                permissions: Vec::new(),
            }),
            keeping: None,
            body: None,
            form: Arc::default(),
        };
        in_force.endpoints.extend(ENDPOINTS.iter().map(|one| (one.operation_id, bare())));
        in_force.obey(declared, &Rows::new());
        in_force
    }

    /// Takes over what can be obeyed of `rows`; a declaration that has no row is in force itself. What cannot
    /// be obeyed is in [`InForce::refused`] afterwards.
    pub fn obey(&mut self, declared: &[Declared], rows: &Rows) {
        self.refused.clear();
        self.revision += 1;
        // Rules first: bodies are checked with them.
        let (rules, rest): (Vec<_>, Vec<_>) =
            declared.iter().partition(|one| one.table == Table::Rules);
        for one in rules.into_iter().chain(rest) {
            let row = rows.get(&(one.table, one.key.clone())).unwrap_or(&one.settings);
            if let Err(reason) = unchanged(one, row).and_then(|()| self.obey_row(one, row)) {
                let table = one.table.name().to_owned();
                self.refused.push(Refusal { table, row: one.key.clone(), reason });
            }
        }
    }

    fn obey_row(&mut self, declared: &Declared, row: &Map<String, Value>) -> Result<(), String> {
        if declared.table == Table::Rules {
            let mut rules = (*self.rules).clone();
            rules.set(&declared.key, read(row)?)?;
            self.rules = Arc::new(rules);
            return Ok(());
        }
        let endpoint = ENDPOINTS.iter().find(|one| one.operation_id == declared.key);
        let settings = self.endpoints.get_mut(declared.key.as_str());
        let Some((endpoint, settings)) = endpoint.zip(settings) else {
            return Err("there is no such endpoint".to_owned());
        };
        match declared.table {
            Table::Endpoints => settings.access = Arc::new(access(endpoint, row)?),
            Table::Cache => settings.keeping = keeping(&declared.settings, row)?.map(Arc::new),
            Table::Validation => settings.body = Some(Arc::new(BodySchema::compile(read(row)?)?)),
            Table::Responses => settings.form = Arc::new(form(&declared.settings, row)?),
            Table::Rules => {}
        }
        Ok(())
    }

    /// What is in force for `endpoint`.
    pub fn of(&self, endpoint: &Endpoint) -> Option<&Settings> {
        self.endpoints.get(endpoint.operation_id)
    }
}

/// Columns that follow from the program must be as it says. A row of declarations alone has none of them.
fn unchanged(declared: &Declared, row: &Map<String, Value>) -> Result<(), String> {
    for (column, value) in &declared.fixed {
        if row.get(column).is_some_and(|found| found != value) {
            return Err(format!("{column}: follows from the program and cannot be changed"));
        }
    }
    Ok(())
}

fn read<T: DeserializeOwned>(row: &Map<String, Value>) -> Result<T, String> {
    serde_path_to_error::deserialize(Value::Object(row.clone()))
        .map_err(|error| format!("{}: {}", error.path(), error.inner()))
}

/// `value` as a number of `column` from `least` to `most`.
fn within(column: &str, value: i64, least: i64, most: i64) -> Result<u32, String> {
    let fits = (least..=most).contains(&value).then(|| u32::try_from(value).ok()).flatten();
    fits.ok_or_else(|| format!("{column}: {value} is not a number from {least} to {most}"))
}

#[derive(Deserialize)]
struct AccessRow {
    is_enabled: bool,
    cache_enabled: bool,
    cache_ttl_seconds: i64,
    rate_limit_per_minute: Option<i64>,
    rate_limit_burst: Option<i64>,
    daily_quota: Option<i64>,
    required_roles: Vec<String>,
    required_permissions: Vec<String>,
}

fn access(endpoint: &Endpoint, row: &Map<String, Value>) -> Result<Access, String> {
    let row: AccessRow = read(row)?;
    if !row.is_enabled && endpoint.service == Service::Operations {
        return Err("is_enabled: who runs the service needs this endpoint".to_owned());
    }
    let lifetime_s = within("cache_ttl_seconds", row.cache_ttl_seconds, 0, MAX_LIFETIME_S)?;
    let rate = match (row.rate_limit_per_minute, row.rate_limit_burst) {
        (None, None) => None,
        (None, Some(_)) => return Err("rate_limit_burst: needs rate_limit_per_minute".to_owned()),
        (Some(per_minute), burst) => {
            let per_minute = within("rate_limit_per_minute", per_minute, 1, MAX_RATE)?;
            let burst = within("rate_limit_burst", burst.unwrap_or(1), 1, MAX_RATE)?;
            Some((per_minute, burst))
        }
    };
    let quota = row.daily_quota;
    let per_day = quota.map(|quota| within("daily_quota", quota, 1, i64::from(u32::MAX)));
    let roles = narrower("required_roles", &row.required_roles, endpoint.roles, Role::parse)?;
    if roles.is_empty() && endpoint.needs_caller() {
        return Err("required_roles: is empty; to close the endpoint, set is_enabled".to_owned());
    }
    Ok(Access {
        enabled: row.is_enabled,
        client_lifetime_s: if row.cache_enabled { lifetime_s } else { 0 },
        limits: Limits { rate, per_day: per_day.transpose()? },
        roles,
        permissions: narrower(
            "required_permissions",
            &row.required_permissions,
            endpoint.permissions,
            Permission::parse,
        )?,
    })
}

fn narrower<T: Copy + PartialEq>(
    column: &str,
    names: &[String],
    declared: &[T],
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Vec<T>, String> {
    let read = |name: &String| {
        let value = parse(name).ok_or_else(|| format!("{column}: there is no `{name}`"))?;
        let known = declared.contains(&value);
        known
            .then_some(value)
            .ok_or_else(|| format!("{column}: `{name}` is not among those declared"))
    };
    names.iter().map(read).collect()
}

#[derive(Deserialize)]
struct KeepingRow {
    cache_enabled: bool,
    cache_ttl_seconds: i64,
    cache_distribution: bool,
    cache_invalidation_rules: Invalidation,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Invalidation {
    tables: Vec<String>,
}

fn keeping(
    declared: &Map<String, Value>,
    row: &Map<String, Value>,
) -> Result<Option<Keeping>, String> {
    let least: KeepingRow = read(declared)?;
    let row: KeepingRow = read(row)?;
    let lifetime_s = within("cache_ttl_seconds", row.cache_ttl_seconds, 0, MAX_LIFETIME_S)?;
    let tables = row.cache_invalidation_rules.tables;
    for table in &least.cache_invalidation_rules.tables {
        if !tables.contains(table) {
            return Err(format!("cache_invalidation_rules: `{table}` is missing"));
        }
    }
    Ok((row.cache_enabled && lifetime_s > 0).then(|| Keeping {
        lifetime: Duration::from_secs(lifetime_s.into()),
        shared: row.cache_distribution,
        tables,
    }))
}

#[derive(Deserialize)]
struct FormRow {
    response_example: Option<Value>,
    response_headers: BTreeMap<String, String>,
    include_metadata: bool,
    include_pagination: bool,
}

fn form(declared: &Map<String, Value>, row: &Map<String, Value>) -> Result<Form, String> {
    let declared: FormRow = read(declared)?;
    let row: FormRow = read(row)?;
    if row.include_pagination && !declared.include_pagination {
        return Err("include_pagination: this answer has no pages".to_owned());
    }
    let mut headers = HeaderMap::new();
    for (name, value) in &row.response_headers {
        let fault = |what| format!("response_headers: `{name}` {what}");
        let key = HeaderName::from_str(name).map_err(|_| fault("is no header's name"))?;
        if OWN_HEADERS.contains(&key.as_str()) || key.as_str().starts_with("access-control-") {
            return Err(fault("is the program's own"));
        }
        let value = HeaderValue::from_str(value).map_err(|_| fault("has no header's value"))?;
        headers.insert(key, value);
    }
    let left_out = [
        ("metadata", row.include_metadata),
        ("pagination", row.include_pagination || !declared.include_pagination),
    ];
    let without = left_out.into_iter().filter(|(_, included)| !included).map(|(name, _)| name);
    Ok(Form { headers, without: without.collect(), example: row.response_example })
}
