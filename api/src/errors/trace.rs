//! The trace that a request belongs to: W3C Trace Context, level 1, header `traceparent`.

use axum::http::{HeaderMap, HeaderName};

/// The header that carries it.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// A trace's id: 32 lower-case hexadecimal digits, not all zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceId(String);

impl TraceId {
    /// The caller's, or a new one where the caller names none that is valid.
    pub fn of(headers: &HeaderMap) -> Self {
        let mut given = headers.get_all(TRACEPARENT).iter();
        let only = match (given.next(), given.next()) {
            (Some(value), None) => value.to_str().ok(),
            _ => None,
        };
        let fresh = || format!("{:032x}", fastrand::u128(1..));
        Self(only.and_then(trace_id).map_or_else(fresh, str::to_owned))
    }

    /// The id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The trace id in `version-traceid-parentid-flags`. Later versions may have more behind.
fn trace_id(header: &str) -> Option<&str> {
    let mut fields = header.split('-');
    let version = fields.next().filter(|text| is_hex(text, 2) && *text != "ff")?;
    let trace_id = fields.next().filter(|text| is_hex(text, 32) && !is_zero(text))?;
    fields.next().filter(|text| is_hex(text, 16) && !is_zero(text))?;
    fields.next().filter(|text| is_hex(text, 2))?;
    (version != "00" || fields.next().is_none()).then_some(trace_id)
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_zero(text: &str) -> bool {
    text.bytes().all(|b| b == b'0')
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use rstest::rstest;

    const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    #[rstest]
    #[case(&["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"], true)]
    #[case(&["cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-later"], true)]
    #[case(&["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-later"], false)]
    #[case(&["ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"], false)]
    #[case(&["00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01"], false)]
    #[case(&["00-00000000000000000000000000000000-00f067aa0ba902b7-01"], false)]
    #[case(&["00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01"], false)]
    #[case(&["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7"], false)]
    #[case(&["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"; 2], false)]
    #[case(&[], false)]
    fn only_what_the_standard_allows_is_taken_over(
        #[case] headers: &[&'static str],
        #[case] kept: bool,
    ) {
        let mut map = HeaderMap::new();
        for header in headers {
            map.append(TRACEPARENT, HeaderValue::from_static(header));
        }
        let id = TraceId::of(&map);
        assert_eq!(id.as_str() == ID, kept);
        assert!(is_hex(id.as_str(), 32) && !is_zero(id.as_str()));
    }
}
