//! What is asked: the endpoints, with the cameras, ranges and filters that dashboards ask for.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use fastrand::Rng;

use super::fill::{Filled, LINES, ZONE, camera, tenant};

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Path and query.
    pub path: String,
    /// Who asks.
    pub tenant: String,
}

/// An endpoint whose answers are made of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint {
    /// As it is printed, without what stands before each.
    pub name: &'static str,
    granularities: &'static [&'static str],
    filters: &'static [Filter],
    most: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Filter {
    Line,
    Zone,
    Direction,
}

/// Those that are measured.
pub const ENDPOINTS: [Endpoint; 4] = [
    Endpoint {
        name: "/counting",
        granularities: &["minute", "hour", "day"],
        filters: &[Filter::Line],
        most: 100,
    },
    Endpoint {
        name: "/counting/events",
        granularities: &[],
        filters: &[Filter::Line, Filter::Direction],
        most: 100,
    },
    Endpoint {
        name: "/analytics",
        granularities: &["minute", "hour", "day"],
        filters: &[Filter::Line, Filter::Zone],
        most: 100,
    },
    Endpoint {
        name: "/analytics/historical",
        granularities: &["hour", "day"],
        filters: &[Filter::Line, Filter::Zone],
        most: 100,
    },
];

impl Endpoint {
    /// A question of any camera. Half ask for the newest, half for a range somewhere in what there is; half of
    /// all for one line, zone or direction.
    pub fn question(&self, filled: &Filled, dice: &mut Rng) -> Question {
        let mut query = Vec::new();
        let granularity = dice.choice(self.granularities.iter().copied());
        if let Some(granularity) = granularity {
            query.push(format!("granularity={granularity}"));
        }
        if dice.bool() {
            let length = match granularity {
                Some("hour") => TimeDelta::days(7),
                Some("day") => TimeDelta::days(30),
                _ => TimeDelta::hours(2),
            };
            let behind = TimeDelta::minutes(dice.i64(0..filled.minutes.max(1)));
            let from = filled.from + behind;
            query.push(format!("from={}&to={}", text(from), text(from + length)));
        }
        if dice.bool() {
            query.extend(dice.choice(self.filters).map(|filter| match filter {
                Filter::Line => format!("line={}", dice.choice(LINES).unwrap_or(LINES[0])),
                Filter::Zone => format!("zone={ZONE}"),
                Filter::Direction => "direction=in".to_owned(),
            }));
        }
        if dice.bool() {
            query.push(format!("limit={}", self.most));
        }
        let camera = camera(dice.u32(0..filled.cameras));
        Question {
            path: format!("/api/v1/cameras/{camera}{}?{}", self.name, query.join("&")),
            tenant: tenant(dice.u32(0..filled.tenants)),
        }
    }
}

/// What a screen in a shop asks again and again, so that its answer is there already.
pub fn dashboard() -> Question {
    let path = format!("/api/v1/cameras/{}/counting?granularity=hour&limit=48", camera(0));
    Question { path, tenant: tenant(0) }
}

fn text(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_dice_ask_the_same_and_others_something_else() {
        let filled = Filled {
            database: String::new(),
            crossings: 0,
            other_events: 0,
            tenants: 2,
            cameras: 2,
            minutes: 1000,
            chunks: 0,
            compressed_chunks: 0,
            bytes: 0,
            from: DateTime::UNIX_EPOCH,
        };
        for endpoint in ENDPOINTS {
            let asked = |seed| endpoint.question(&filled, &mut Rng::with_seed(seed));
            assert_eq!(asked(1), asked(1));
            let asked: std::collections::HashSet<String> = (0..50).map(|s| asked(s).path).collect();
            assert!(asked.len() > 25, "{asked:?}");
            assert!(asked.iter().all(|path| path.contains(endpoint.name)));
        }
    }
}
