//! In which format an answer is wanted: `Accept` with its q-values (RFC 9110, 12.5.1).

use axum::http::{HeaderMap, header};
use mediatype::{MediaType, MediaTypeList, ReadParams};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{Content, ContentBuilder};

/// A format that an endpoint may answer in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// JSON, in pages.
    Json,
    /// Comma-separated values (RFC 4180) with a line of names; empty is null.
    Csv,
    /// A stream of Arrow's record batches, as its IPC format has it.
    ArrowStream,
    /// A Parquet file.
    Parquet,
}

impl Format {
    /// Its content type, without parameters.
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Json => "application/json",
            Format::Csv => "text/csv",
            Format::ArrowStream => "application/vnd.apache.arrow.stream",
            Format::Parquet => "application/vnd.apache.parquet",
        }
    }

    /// How the document says what it is, for those that JSON Schema does not describe.
    pub fn schema(self) -> Content {
        match self {
            Format::Json | Format::Csv => {
                let text = ObjectBuilder::new().schema_type(Type::String);
                ContentBuilder::new().schema(Some(text)).build()
            }
            // OpenAPI 3.1 describes bytes by their content type alone.
            Format::ArrowStream | Format::Parquet => Content::default(),
        }
    }
}

/// What endpoints have whose rows are a history.
pub const TABLES: &[Format] = &[Format::Json, Format::Csv, Format::ArrowStream, Format::Parquet];
/// What endpoints have that have no other.
pub const JSON_ONLY: &[Format] = &[Format::Json];

/// The one of `offered` that `headers` want most, the first of several; none if they want none. Who does
/// not say takes the first, and where there is only one everybody gets it, which RFC 9110 allows.
pub fn negotiate(headers: &HeaderMap, offered: &[Format]) -> Option<Format> {
    let values: Vec<&str> = headers
        .get_all(header::ACCEPT)
        .iter()
        .map(|value| value.to_str().unwrap_or_default())
        .filter(|text| !text.trim().is_empty())
        .collect();
    if values.is_empty() || offered.len() == 1 {
        return offered.first().copied();
    }
    let ranges: Vec<MediaType> =
        values.iter().flat_map(|text| MediaTypeList::new(text)).flatten().collect();
    let mut best: Option<(u16, Format)> = None;
    for format in offered {
        let weight = weight(*format, &ranges);
        if weight > 0 && best.is_none_or(|(most, _)| weight > most) {
            best = Some((weight, *format));
        }
    }
    best.map(|(_, format)| format)
}

/// How much `format` is wanted, in thousandths: by the range that names it most exactly.
fn weight(format: Format, ranges: &[MediaType]) -> u16 {
    let Ok(wanted) = MediaType::parse(format.content_type()) else { return 0 };
    let exactness = |range: &MediaType| match (range.ty.as_str(), range.subty.as_str()) {
        ("*", "*") => Some(0),
        (_, "*") if range.ty == wanted.ty => Some(1),
        _ if range.essence() == wanted.essence() => Some(2),
        _ => None,
    };
    let q = |range: &MediaType| {
        let q = range.get_param(mediatype::names::Q).map(|q| q.unquoted_str().parse::<f32>());
        match q {
            None => 1000,
            Some(q) => {
                q.ok().filter(|q| (0.0..=1.0).contains(q)).map_or(0, |q| (q * 1000.0) as u16)
            }
        }
    };
    let named = ranges.iter().filter_map(|range| Some((exactness(range)?, q(range))));
    named.max().map_or(0, |(_, q)| q)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use rstest::rstest;

    const BOTH: &[Format] = &[Format::Json, Format::Csv];

    #[rstest]
    #[case(&[], Some(Format::Json))]
    #[case(&[""], Some(Format::Json))]
    #[case(&["*/*"], Some(Format::Json))]
    #[case(&["text/csv"], Some(Format::Csv))]
    #[case(&["TEXT/CSV; charset=utf-8"], Some(Format::Csv))]
    #[case(&["text/*"], Some(Format::Csv))]
    #[case(&["text/csv, application/json"], Some(Format::Json))]
    #[case(&["application/json;q=0.5, text/csv;q=0.9"], Some(Format::Csv))]
    #[case(&["application/json;q=0.5", "text/csv;q=0.9"], Some(Format::Csv))]
    #[case(&["*/*;q=0.1, text/csv"], Some(Format::Csv))]
    // What is named exactly counts, whatever the others allow.
    #[case(&["*/*, application/json;q=0"], Some(Format::Csv))]
    #[case(&["text/csv;q=0, */*;q=0"], None)]
    #[case(&["text/html"], None)]
    #[case(&["application/xml, image/*;q=0.5"], None)]
    #[case(&["text/csv;q=2"], None)]
    #[case(&[";;;,,"], None)]
    #[case(&["application/vnd.apache.parquet"], None)]
    #[case(&["text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"], Some(Format::Json))]
    fn the_most_wanted_that_is_offered(
        #[case] accept: &[&'static str],
        #[case] expected: Option<Format>,
    ) {
        let mut headers = HeaderMap::new();
        for value in accept {
            headers.append(header::ACCEPT, HeaderValue::from_static(value));
        }
        assert_eq!(negotiate(&headers, BOTH), expected);
        assert_eq!(negotiate(&headers, JSON_ONLY), Some(Format::Json));
    }
}
