//! Bodies of requests: JSON, checked by the endpoint's schema, then read into what the handler works with.

use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, header};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::endpoints::Endpoint;
use crate::problem::{Code, Fault, Place, Problem};
use crate::state::ApiState;
use crate::validation::addresses;

/// Up to here floating point tells whole numbers apart.
const MAX_WHOLE: f64 = 9_007_199_254_740_991.0;

/// A body that was read into a `T`.
#[derive(Debug, Clone)]
pub struct Body<T>(pub T);

impl<T: DeserializeOwned> FromRequest<ApiState> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &ApiState) -> Result<Self, Problem> {
        require_json(request.headers())?;
        let endpoint = request.extensions().get::<&'static Endpoint>().copied();
        let bytes = read(request, state).await?;
        let mut value = parse(&bytes)?;
        if let Some(endpoint) = endpoint {
            check(endpoint, &mut value, state).await?;
        }
        integers(&mut value);
        typed(value).map(Self)
    }
}

/// Makes integers of the numbers that are: to JSON Schema `858.0` is one (2020-12, core, 4.2.3), to serde it is
/// not.
fn integers(value: &mut Value) {
    match value {
        Value::Number(number) if number.is_f64() => {
            let whole = number.as_f64().filter(|n| n.fract() == 0.0 && n.abs() <= MAX_WHOLE);
            if let Some(whole) = whole {
                *value = Value::from(whole as i64);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(integers),
        Value::Object(members) => members.values_mut().for_each(integers),
        _ => {}
    }
}

/// The one place where a body meets its endpoint's schema, before anything else looks at it.
///
/// What is wrong with it is told all at once; what the rules may mend is mended.
async fn check(endpoint: &Endpoint, value: &mut Value, state: &ApiState) -> Result<(), Problem> {
    let in_force = state.gateway.in_force();
    let Some(schema) = in_force.of(endpoint).and_then(|settings| settings.body.as_ref()) else {
        return Ok(());
    };
    let mut faults = schema.check(&in_force.rules, value);
    for field in schema.addresses() {
        let pointer = format!("/{field}");
        let told = faults.iter().any(|(at, _)| *at == pointer);
        let Some(url) = value.get(field).and_then(Value::as_str).filter(|_| !told) else {
            continue;
        };
        if let Some(message) = addresses::problem(url, &state.config.gateway.addresses).await {
            faults.push((pointer, message));
        }
    }
    if faults.is_empty() {
        return Ok(());
    }
    let fault = |(pointer, message)| Fault { place: Place::Pointer(pointer), message };
    Err(Problem::invalid(faults.into_iter().map(fault).collect()))
}

/// All bytes of a body.
pub(crate) async fn read(request: Request, state: &ApiState) -> Result<Bytes, Problem> {
    Bytes::from_request(request, state).await.map_err(|rejection| {
        let code = Code::of_status(rejection.status());
        Problem::new(code, code.title())
    })
}

fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = content_type.and_then(|text| text.split(';').next()).map(str::trim);
    if kind.is_some_and(|kind| kind.eq_ignore_ascii_case("application/json")) {
        return Ok(());
    }
    Err(Problem::new(Code::UnsupportedMediaType, "send the body as `application/json`"))
}

fn parse(bytes: &[u8]) -> Result<Value, Problem> {
    serde_json::from_slice(bytes).map_err(|error| fault(String::new(), error.to_string()))
}

/// Reads `value`; what does not fit is named by its place.
pub(crate) fn typed<T: DeserializeOwned>(value: Value) -> Result<T, Problem> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let pointer = pointer(error.path());
        fault(pointer, error.into_inner().to_string())
    })
}

fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let mut pointer = String::new();
    for segment in path.iter() {
        match segment {
            Segment::Seq { index } => pointer.push_str(&format!("/{index}")),
            Segment::Map { key } => {
                pointer.push('/');
                pointer.push_str(&key.replace('~', "~0").replace('/', "~1"));
            }
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    pointer
}

fn fault(pointer: String, message: String) -> Problem {
    Problem::invalid(vec![Fault { place: Place::Pointer(pointer), message }])
}

/// Tells null from what is left out: for a member with a default.
pub(crate) fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// Collects what is wrong with a body beyond what its schema says.
#[derive(Debug, Default)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// Something is wrong at `pointer`.
    pub fn add(&mut self, pointer: impl Into<String>, message: impl Into<String>) {
        let place = Place::Pointer(pointer.into());
        self.0.push(Fault { place, message: message.into() });
    }

    /// Notes `message` unless `ok`.
    pub fn need(&mut self, ok: bool, pointer: &str, message: &str) {
        if !ok {
            self.add(pointer, message);
        }
    }

    /// All that was found, as a problem; none if nothing was.
    pub fn into_result(self) -> Result<(), Problem> {
        if self.0.is_empty() { Ok(()) } else { Err(Problem::invalid(self.0)) }
    }

    /// As [`Faults::into_result`], under another code than `VALIDATION_ERROR`.
    pub fn into_result_as(self, code: Code) -> Result<(), Problem> {
        self.into_result().map_err(|problem| Problem { code, ..problem })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Thing {
        #[allow(dead_code, reason = "only to be read into")]
        points: Vec<(f64, f64)>,
    }

    #[rstest]
    #[case("858.0", "858")]
    #[case("-0.0", "0")]
    #[case("8.58e2", "858")]
    #[case("858.5", "858.5")]
    #[case("1e300", "1e300")]
    #[case(r#"{"a": [1.0, "1.0"]}"#, r#"{"a": [1, "1.0"]}"#)]
    fn whole_numbers_are_integers(#[case] text: &str, #[case] expected: &str) {
        let mut value = parse(text.as_bytes()).expect("JSON");
        integers(&mut value);
        assert_eq!(value, parse(expected.as_bytes()).expect("JSON"));
    }

    #[rstest]
    #[case("{", "")]
    #[case("[]", "")]
    #[case(r#"{"points": 1}"#, "/points")]
    #[case(r#"{"points": [[0, 1], [0, "x"]]}"#, "/points/1/1")]
    #[case(r#"{"points": [], "more/of": 1}"#, "/more~1of")]
    fn a_fault_is_named_by_its_place(#[case] text: &str, #[case] expected: &str) {
        let problem = parse(text.as_bytes()).and_then(typed::<Thing>).expect_err("a fault");
        assert_eq!(problem.code, Code::ValidationError);
        assert_eq!(problem.errors[0].place, Place::Pointer(expected.to_owned()));
    }
}
