//! Choosing a language: `Accept-Language` with its q-values (RFC 9110, 12.5.4), by lookup (RFC 4647, 3.4).

/// The language that every text has.
pub const DEFAULT: &str = "en";

/// Most entries of the header that are looked at.
const MAX_ENTRIES: usize = 32;

/// The best of `available` (lower case) for a header; [`DEFAULT`] when it names none of them.
pub fn negotiate<'a>(header: &str, available: impl Fn(&str) -> Option<&'a str>) -> &'a str {
    let mut wanted: Vec<(u16, &str)> =
        header.split(',').take(MAX_ENTRIES).filter_map(entry).filter(|(q, _)| *q > 0).collect();
    // Stable: of two that are wanted as much, the first.
    wanted.sort_by_key(|(q, _)| std::cmp::Reverse(*q));
    for (_, range) in wanted {
        let range = range.to_ascii_lowercase();
        if range == "*" {
            return DEFAULT;
        }
        let mut tag = range.as_str();
        loop {
            if let Some(found) = available(tag) {
                return found;
            }
            let Some((shorter, _)) = tag.rsplit_once('-') else { break };
            // A single letter introduces what follows it and goes with it.
            tag = match shorter.rsplit_once('-') {
                Some((before, single)) if single.len() == 1 => before,
                _ => shorter,
            };
        }
    }
    DEFAULT
}

/// A range and its weight in thousandths; none if it is not one.
fn entry(text: &str) -> Option<(u16, &str)> {
    let mut parts = text.split(';').map(str::trim);
    let range = parts.next().filter(|range| !range.is_empty() && range.len() <= 35)?;
    let weight = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
    let q = match weight {
        None => 1000,
        Some(text) => {
            let q: f32 = text.parse().ok().filter(|q| (0.0..=1.0).contains(q))?;
            (q * 1000.0).round() as u16
        }
    };
    Some((q, range))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("", "en")]
    #[case("vi", "vi")]
    #[case("vi-VN,vi;q=0.9,en;q=0.5", "vi")]
    #[case("VI-vn", "vi")]
    #[case("fr, vi;q=0.2", "vi")]
    #[case("en;q=0.4, vi;q=0.6", "vi")]
    #[case("en, vi", "en")]
    #[case("vi;q=0, fr", "en")]
    #[case("vi;q=2, en", "en")]
    #[case("*, vi;q=0.5", "en")]
    #[case("zh-hant-x-tw", "zh-hant")]
    #[case(";;q=,,,=", "en")]
    fn the_most_wanted_that_is_there(#[case] header: &str, #[case] expected: &str) {
        let available = |tag: &str| ["en", "vi", "zh-hant"].into_iter().find(|one| *one == tag);
        assert_eq!(negotiate(header, available), expected);
    }
}
