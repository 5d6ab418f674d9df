//! Query parameters: what each is called, what it may hold, how it is documented.
//!
//! An endpoint declares which of them it takes; reading and documentation both follow that
//! declaration. Everything that is wrong is found at once, and what is not declared is refused:
//! a misspelt filter must not answer with everything.

use serde::Serialize;
use url::form_urlencoded;
use utoipa::ToSchema;
use utoipa::openapi::path::{ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::{self, Required};

use headcount_schemas::events::Direction;

use crate::cursor::Cursor;
use crate::feed::event::Kind;
use crate::problem::{Fault, Place};
use crate::timestamp::Timestamp;

/// Rows of a page unless the client asks for another number.
pub const DEFAULT_LIMIT: u32 = 100;
/// Most rows of a page.
pub const MAX_LIMIT: u32 = 1000;
/// Longest name of a line or zone that a filter takes, in characters.
const MAX_NAME_CHARS: usize = 200;
/// What such a name is made of: no control characters, and not what stands for bytes that were no text.
const PRINTABLE: &str = r"^[^\x00-\x1f\x7f-\x9f\ufffd]*$";
/// The years that a time may name, as its text begins; the times of [`Timestamp::parse`], but for a day.
const YEARS: &str = "^(19[7-9][0-9]|[2-9][0-9]{3})-";
/// The largest whole number that every reader of JSON has exactly (RFC 7493, 2.2).
const MAX_WHOLE: isize = 9_007_199_254_740_991;

/// What is said about a cursor that nobody gave.
pub(crate) const NOT_A_CURSOR: &str = "is not a cursor that this collection gave";

/// Width of the buckets in an aggregate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Granularity {
    /// One minute.
    Minute,
    /// One hour.
    Hour,
    /// One day, from midnight to midnight UTC.
    Day,
}

impl Granularity {
    /// Its name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Granularity::Minute => "minute",
            Granularity::Hour => "hour",
            Granularity::Day => "day",
        }
    }
}

/// A query parameter that an endpoint may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parameter {
    /// Rows of a page.
    Limit,
    /// Where the page before ended.
    Cursor,
    /// Start of the time range, inclusive.
    From,
    /// End of the time range, exclusive.
    To,
    /// Only this line.
    Line,
    /// Only this zone.
    Zone,
    /// Only this direction.
    Direction,
    /// Width of the buckets; the first one listed is the default.
    Granularity(&'static [Granularity]),
    /// Version of a camera's configuration.
    Version,
    /// Only this camera.
    Camera,
    /// Only this site.
    Site,
    /// Only events of this kind.
    Type,
}

impl Parameter {
    /// Its name in the query.
    pub fn name(self) -> &'static str {
        match self {
            Parameter::Limit => "limit",
            Parameter::Cursor => "cursor",
            Parameter::From => "from",
            Parameter::To => "to",
            Parameter::Line => "line",
            Parameter::Zone => "zone",
            Parameter::Direction => "direction",
            Parameter::Granularity(_) => "granularity",
            Parameter::Version => "version",
            Parameter::Camera => "camera_id",
            Parameter::Site => "site",
            Parameter::Type => "type",
        }
    }

    /// Its documentation.
    pub fn document(self) -> openapi::path::Parameter {
        let text = || ObjectBuilder::new().schema_type(Type::String);
        let format = SchemaFormat::KnownFormat(KnownFormat::DateTime);
        let time = || text().format(Some(format.clone())).pattern(Some(YEARS));
        let printable = Some(PRINTABLE);
        let name =
            || text().min_length(Some(1)).max_length(Some(MAX_NAME_CHARS)).pattern(printable);
        let (description, schema, example) = match self {
            Parameter::Limit => (
                "Most rows in the answer.",
                ObjectBuilder::new()
                    .schema_type(Type::Integer)
                    .minimum(Some(1))
                    .maximum(Some(MAX_LIMIT))
                    .default(Some(DEFAULT_LIMIT.into())),
                None,
            ),
            Parameter::Cursor => (
                "The `next_cursor` of the page before, with the other parameters unchanged.",
                text(),
                None,
            ),
            Parameter::From => (
                "Start of the time range, inclusive (RFC 3339; a `+` is written `%2B`).",
                time(),
                Some("2026-03-01T00:00:00Z"),
            ),
            Parameter::To => (
                "End of the time range, exclusive (RFC 3339; a `+` is written `%2B`).",
                time(),
                Some("2026-03-02T00:00:00Z"),
            ),
            Parameter::Line => ("Only the line of this name.", name(), None),
            Parameter::Zone => ("Only the zone or site of this name.", name(), None),
            Parameter::Direction => {
                ("Only crossings of this direction.", text().enum_values(Some(["in", "out"])), None)
            }
            Parameter::Version => (
                "Version of the configuration; the one in force without.",
                ObjectBuilder::new()
                    .schema_type(Type::Integer)
                    .minimum(Some(1))
                    .maximum(Some(MAX_WHOLE)),
                None,
            ),
            Parameter::Camera => ("Only this camera.", name(), None),
            Parameter::Site => ("Only the site of this name.", name(), None),
            Parameter::Type => (
                "Only events of this kind.",
                text().enum_values(Some(Kind::ALL.map(Kind::name))),
                None,
            ),
            Parameter::Granularity(allowed) => (
                "Width of the buckets; days are those of UTC.",
                text()
                    .enum_values(Some(allowed.iter().map(|granularity| granularity.as_str())))
                    .default(allowed.first().map(|granularity| granularity.as_str().into())),
                None,
            ),
        };
        ParameterBuilder::new()
            .name(self.name())
            .parameter_in(ParameterIn::Query)
            .required(Required::False)
            .description(Some(description))
            .schema(Some(schema.build()))
            .example(example.map(serde_json::Value::from))
            .build()
    }
}

/// What a request asks for. Parameters that the endpoint does not take stay at their defaults.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    /// Most rows in the answer.
    pub limit: u32,
    /// Where the page before ended.
    pub cursor: Option<Cursor>,
    /// Start of the time range, inclusive.
    pub from: Option<Timestamp>,
    /// End of the time range, exclusive.
    pub to: Option<Timestamp>,
    /// Only this line.
    pub line: Option<String>,
    /// Only this zone or site.
    pub zone: Option<String>,
    /// Only this direction.
    pub direction: Option<Direction>,
    /// Width of the buckets.
    pub granularity: Granularity,
    /// Version of a camera's configuration.
    pub version: Option<i64>,
    /// Only this camera.
    pub camera_id: Option<String>,
    /// Only this site.
    pub site: Option<String>,
    /// Only events of this kind.
    pub kind: Option<Kind>,
}

impl Query {
    /// Reads `raw`, the part of the address after the question mark, by the declaration of
    /// `operation`, which takes `declared`. All faults are found at once.
    pub fn parse(raw: &str, operation: &str, declared: &[Parameter]) -> Result<Self, Vec<Fault>> {
        let mut query = Self {
            limit: DEFAULT_LIMIT,
            cursor: None,
            from: None,
            to: None,
            line: None,
            zone: None,
            direction: None,
            granularity: Granularity::Minute,
            version: None,
            camera_id: None,
            site: None,
            kind: None,
        };
        for parameter in declared {
            if let Parameter::Granularity([default, ..]) = parameter {
                query.granularity = *default;
            }
        }

        let mut faults = Vec::new();
        let mut seen: Vec<&'static str> = Vec::new();
        for (name, value) in form_urlencoded::parse(raw.as_bytes()) {
            let outcome = match declared.iter().find(|parameter| parameter.name() == name) {
                None => Err(unknown(&name, declared)),
                Some(parameter) if seen.contains(&parameter.name()) => {
                    Err("is given more than once".to_owned())
                }
                Some(parameter) => {
                    seen.push(parameter.name());
                    query.take(*parameter, &value, operation)
                }
            };
            if let Err(message) = outcome {
                faults.push(Fault { place: Place::Parameter(shown(&name)), message });
            }
        }
        if let (Some(from), Some(to)) = (query.from, query.to)
            && from >= to
        {
            let message = format!("{to} is not after `from`, which is {from}");
            faults.push(Fault { place: Place::Parameter("to".to_owned()), message });
        }
        if faults.is_empty() { Ok(query) } else { Err(faults) }
    }

    fn take(&mut self, parameter: Parameter, value: &str, operation: &str) -> Result<(), String> {
        match parameter {
            Parameter::Limit => self.limit = limit(value)?,
            Parameter::Cursor => {
                let cursor = Cursor::decode(operation, value);
                self.cursor = Some(cursor.ok_or(NOT_A_CURSOR)?);
            }
            Parameter::From => self.from = Some(time(value)?),
            Parameter::To => self.to = Some(time(value)?),
            Parameter::Line => self.line = Some(name(value)?),
            Parameter::Zone => self.zone = Some(name(value)?),
            Parameter::Direction => {
                self.direction = Some(match value {
                    "in" => Direction::In,
                    "out" => Direction::Out,
                    _ => return Err(format!("`{}` is neither `in` nor `out`", shown(value))),
                });
            }
            Parameter::Version => self.version = Some(version(value)?),
            Parameter::Camera => self.camera_id = Some(name(value)?),
            Parameter::Site => self.site = Some(name(value)?),
            Parameter::Type => {
                let kind = Kind::ALL.into_iter().find(|kind| kind.name() == value);
                self.kind = Some(kind.ok_or_else(|| {
                    let names = Kind::ALL.map(Kind::name).join(", ");
                    format!("`{}` is not one of {names}", shown(value))
                })?);
            }
            Parameter::Granularity(allowed) => {
                let found = allowed.iter().find(|granularity| granularity.as_str() == value);
                self.granularity = *found.ok_or_else(|| {
                    let names: Vec<_> = allowed.iter().map(|one| one.as_str()).collect();
                    format!("`{}` is not one of {}", shown(value), names.join(", "))
                })?;
            }
        }
        Ok(())
    }
}

fn limit(value: &str) -> Result<u32, String> {
    let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    let number = value.parse().ok().filter(|n| digits && (1..=MAX_LIMIT).contains(n));
    number.ok_or_else(|| format!("`{}` is not a number from 1 to {MAX_LIMIT}", shown(value)))
}

fn version(value: &str) -> Result<i64, String> {
    let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    let within = |number: &i64| (1..=MAX_WHOLE as i64).contains(number);
    let number = value.parse().ok().filter(|number| digits && within(number));
    number.ok_or_else(|| format!("`{}` is not a version, which is a number from 1", shown(value)))
}

fn time(value: &str) -> Result<Timestamp, String> {
    Timestamp::parse(value).ok_or_else(|| {
        let hint = if value.contains(' ') { " (a `+` must be written `%2B`)" } else { "" };
        format!("`{}` is not an RFC 3339 time such as 2026-03-01T08:15:00Z{hint}", shown(value))
    })
}

/// Names may be in any script, but what is no text at all can name nothing.
fn name(value: &str) -> Result<String, String> {
    // The replacement character stands for bytes that were not UTF-8.
    let garbled = value.chars().any(|c| c.is_control() || c == char::REPLACEMENT_CHARACTER);
    if value.is_empty() || garbled || value.chars().count() > MAX_NAME_CHARS {
        return Err(format!("is not a name of 1 to {MAX_NAME_CHARS} printable characters"));
    }
    Ok(value.to_owned())
}

fn unknown(name: &str, declared: &[Parameter]) -> String {
    if declared.is_empty() {
        return "is not a parameter: this endpoint takes none".to_owned();
    }
    let nearest = declared
        .iter()
        .map(|parameter| parameter.name())
        .max_by(|a, b| strsim::jaro_winkler(a, name).total_cmp(&strsim::jaro_winkler(b, name)));
    match nearest.filter(|nearest| strsim::jaro_winkler(nearest, name) > 0.7) {
        Some(nearest) => format!("is not a parameter of this endpoint; did you mean `{nearest}`?"),
        None => "is not a parameter of this endpoint".to_owned(),
    }
}

/// What a client sent, cut to what may be sent back.
fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    const ALL: &[Parameter] = &[
        Parameter::Limit,
        Parameter::Cursor,
        Parameter::From,
        Parameter::To,
        Parameter::Line,
        Parameter::Zone,
        Parameter::Direction,
        Parameter::Granularity(&[Granularity::Hour, Granularity::Day]),
        Parameter::Version,
        Parameter::Camera,
        Parameter::Site,
        Parameter::Type,
    ];

    fn parse(raw: &str) -> Result<Query, Vec<Fault>> {
        Query::parse(raw, "listThings", ALL)
    }

    #[rstest]
    #[case("limit=0", &["limit"])]
    #[case("limit=1001", &["limit"])]
    #[case("limit=%2B5", &["limit"])]
    #[case("limit=-1", &["limit"])]
    #[case("limit=", &["limit"])]
    #[case("limit=99999999999999999999", &["limit"])]
    #[case("limit=5&limit=6", &["limit"])]
    #[case("cursor=abc", &["cursor"])]
    #[case("from=yesterday", &["from"])]
    #[case("from=2026-03-01T00:00:00+01:00", &["from"])]
    #[case("from=2026-03-01T00:00:00Z&to=2026-03-01T00:00:00Z", &["to"])]
    #[case("from=2026-03-02T00:00:00Z&to=2026-03-01T00:00:00Z", &["to"])]
    #[case("line=", &["line"])]
    #[case("line=a%00b", &["line"])]
    #[case("line=%FF", &["line"])]
    #[case("zone=%0A", &["zone"])]
    #[case("direction=IN", &["direction"])]
    #[case("granularity=minute", &["granularity"])]
    #[case("granularity=", &["granularity"])]
    #[case("version=0", &["version"])]
    #[case("version=%2B1", &["version"])]
    #[case("version=9007199254740992", &["version"])]
    #[case("version=99999999999999999999", &["version"])]
    #[case("camera_id=", &["camera_id"])]
    #[case("site=a%00b", &["site"])]
    #[case("type=crossings", &["type"])]
    #[case("lime=5", &["lime"])]
    #[case("=5", &[""])]
    #[case("limit=0&to=x&colour=red", &["limit", "to", "colour"])]
    fn every_fault_is_named(#[case] raw: &str, #[case] parameters: &[&str]) {
        let faults = parse(raw).expect_err("faults");
        let named: Vec<_> = faults.iter().map(|fault| fault.place.clone()).collect();
        let expected: Vec<_> =
            parameters.iter().map(|name| Place::Parameter((*name).to_owned())).collect();
        assert_eq!(named, expected, "{faults:?}");
    }

    #[test]
    fn what_is_right_is_read() {
        let cursor = Cursor::new("listThings", 5, vec!["a".to_owned()]);
        let query = parse(&format!(
            "limit=7&cursor={}&from=2026-03-01T00:00:00Z&to=2026-03-01T00:00:00%2B00:30&line=C%E1%BB%ADa+ch%C3%ADnh\
             &zone=hall&direction=out&granularity=day",
            cursor.encode()
        ));
        // Half an hour east of Greenwich is before midnight UTC.
        assert!(query.is_err());
        let query = parse(&format!(
            "limit=7&cursor={}&from=2026-03-01T00:00:00Z&to=2026-03-01T02:00:00%2B01:00&line=C%E1%BB%ADa+ch%C3%ADnh\
             &zone=hall&direction=out&granularity=day",
            cursor.encode()
        ))
        .expect("a query");
        assert_eq!(query.limit, 7);
        assert_eq!(query.cursor, Some(cursor));
        assert_eq!(query.line.as_deref(), Some("Cửa chính"));
        assert_eq!(query.to, Timestamp::parse("2026-03-01T01:00:00Z"));
        assert_eq!(query.direction, Some(Direction::Out));
        assert_eq!(query.granularity, Granularity::Day);
    }

    #[test]
    fn nothing_asked_means_the_defaults() {
        let query = parse("").expect("a query");
        assert_eq!((query.limit, query.granularity), (DEFAULT_LIMIT, Granularity::Hour));
        assert_eq!(query.from, None);
    }

    #[test]
    fn a_near_miss_gets_a_suggestion() {
        let faults = parse("granularty=day").expect_err("a fault");
        assert!(faults[0].message.contains("did you mean `granularity`"), "{faults:?}");
        let faults = Query::parse("x=1", "listThings", &[]).expect_err("a fault");
        assert!(faults[0].message.contains("takes none"), "{faults:?}");
    }
}
