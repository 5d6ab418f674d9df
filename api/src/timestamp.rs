//! Times on the wire: RFC 3339 in UTC, always with six decimals, so that texts sort like times.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Serialize, Serializer};
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// A point in time as clients see it, such as `2026-03-01T08:15:00.250000Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, sqlx::Type)]
#[sqlx(transparent)]
pub struct Timestamp(pub DateTime<Utc>);

/// Earliest and latest time that a request may name, in whole seconds since 1970: the years 1970 to
/// 9999, which both RFC 3339 and the database can hold.
const ACCEPTED_S: std::ops::Range<i64> = 0..253_402_300_800;

impl Timestamp {
    /// Reads an RFC 3339 time. Digits beyond microseconds are dropped.
    pub fn parse(text: &str) -> Option<Self> {
        let time = DateTime::parse_from_rfc3339(text).ok()?.with_timezone(&Utc);
        let micros = DateTime::from_timestamp_micros(time.timestamp_micros())?;
        ACCEPTED_S.contains(&time.timestamp()).then_some(Self(micros))
    }

    /// From Unix microseconds, for what a cursor holds.
    pub fn from_micros(micros: i64) -> Option<Self> {
        let time = DateTime::from_timestamp_micros(micros)?;
        ACCEPTED_S.contains(&time.timestamp()).then_some(Self(time))
    }

    /// Unix microseconds.
    pub fn micros(self) -> i64 {
        self.0.timestamp_micros()
    }
}

impl From<DateTime<Utc>> for Timestamp {
    fn from(time: DateTime<Utc>) -> Self {
        Self(time)
    }
}

impl std::fmt::Display for Timestamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.to_rfc3339_opts(SecondsFormat::Micros, true))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl PartialSchema for Timestamp {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .description(Some("RFC 3339, UTC, microseconds"))
            .examples([serde_json::json!("2026-03-01T08:15:00.250000Z")])
            .into()
    }
}

impl ToSchema for Timestamp {}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("2026-03-01T08:15:00Z", Some("2026-03-01T08:15:00.000000Z"))]
    #[case("2026-03-01T08:15:00.25+07:00", Some("2026-03-01T01:15:00.250000Z"))]
    #[case("2026-03-01T08:15:00.1234567Z", Some("2026-03-01T08:15:00.123456Z"))]
    #[case("2026-03-01", None)]
    #[case("2026-03-01T08:15:00", None)]
    #[case("1969-12-31T23:59:59Z", None)]
    #[case("9999-12-31T23:59:59Z", Some("9999-12-31T23:59:59.000000Z"))]
    #[case("9999-12-31T23:59:59-01:00", None)]
    #[case("", None)]
    fn times_are_read_and_written(#[case] text: &str, #[case] written: Option<&str>) {
        assert_eq!(Timestamp::parse(text).map(|time| time.to_string()).as_deref(), written);
    }
}
