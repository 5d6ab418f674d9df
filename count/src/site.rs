//! Sites: several lines around one place, and how many people are in it.
//!
//! A site's count is what went in less what came out. Missed crossings make it drift; what would
//! make it negative is corrected at once, and what is left at a scheduled reset is taken away. Both
//! corrections are added up as the site's drift, so that an operator sees how far to trust it.
//! A new stream epoch does not empty a building, so sites outlive epochs.

use headcount_schemas::camera::{Site, parse_time_of_day_us};
use headcount_schemas::events::Direction;
use serde::{Deserialize, Serialize};

const DAY_US: i64 = 24 * 3600 * 1_000_000;

/// One site with its count.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SiteCounter {
    /// The site as configured.
    pub site: Site,
    /// People inside; never negative.
    pub count: i32,
    /// Corrections since the last reset: above zero, entries were missed; below, exits.
    pub drift: i32,
    /// When an occupancy was last written.
    pub written_us: Option<i64>,
    /// Newest time up to which resets were done.
    clock_us: Option<i64>,
}

impl SiteCounter {
    /// An empty site.
    pub fn new(site: Site) -> Self {
        Self { site, count: 0, drift: 0, written_us: None, clock_us: None }
    }

    /// Whether this can be a site's state.
    pub(crate) fn is_sound(&self) -> bool {
        let small = |v: i32| (0..1 << 30).contains(&v);
        let times = self.written_us.iter().chain(&self.clock_us);
        small(self.count)
            && small(self.drift.saturating_abs())
            && times.into_iter().all(|at_us| (0..1 << 60).contains(at_us))
    }

    /// Takes a crossing of one of the camera's lines; true if it belongs to this site.
    pub fn cross(&mut self, line: &str, direction: Direction) -> bool {
        let sign = match direction {
            Direction::In => 1,
            Direction::Out => -1,
        };
        let named = |names: &[String]| names.iter().any(|name| name == line);
        let change = if named(&self.site.lines) {
            sign
        } else if named(&self.site.reversed_lines) {
            -sign
        } else {
            return false;
        };
        self.count += change;
        if self.count < 0 {
            self.drift -= self.count;
            self.count = 0;
        }
        true
    }

    /// Moves the site's clock to `now_us`; the newest scheduled reset since the last call, if any.
    pub fn reset_due(&mut self, now_us: i64) -> Option<i64> {
        let before_us = self.clock_us.replace(now_us.max(self.clock_us.unwrap_or(now_us)))?;
        let resets = self.site.reset_at.iter().filter_map(|text| parse_time_of_day_us(text));
        let newest = |time_of_day: i64| {
            let midnight = now_us.div_euclid(DAY_US) * DAY_US;
            let today = midnight + time_of_day;
            if today <= now_us { today } else { today - DAY_US }
        };
        resets.map(newest).filter(|&at_us| at_us > before_us).max()
    }

    /// Empties the site at a scheduled reset; returns the drift up to and with it.
    pub fn reset(&mut self) -> i32 {
        let drift = self.drift - self.count;
        self.count = 0;
        self.drift = 0;
        drift
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site() -> SiteCounter {
        SiteCounter::new(Site {
            name: "shop".to_owned(),
            lines: vec!["front".to_owned()],
            reversed_lines: vec!["back".to_owned()],
            reset_at: vec!["04:00".to_owned(), "16:00".to_owned()],
        })
    }

    #[test]
    fn lines_add_and_reversed_lines_take_away() {
        let mut site = site();
        assert!(site.cross("front", Direction::In));
        assert!(site.cross("back", Direction::Out));
        assert_eq!((site.count, site.drift), (2, 0));
        assert!(site.cross("front", Direction::Out));
        assert!(site.cross("back", Direction::In));
        assert_eq!((site.count, site.drift), (0, 0));
        assert!(!site.cross("elsewhere", Direction::In));
    }

    #[test]
    fn never_negative_and_the_correction_is_reported() {
        let mut site = site();
        site.cross("front", Direction::Out);
        assert_eq!((site.count, site.drift), (0, 1));
        site.cross("front", Direction::In);
        site.cross("front", Direction::In);
        assert_eq!(site.reset(), -1);
        assert_eq!((site.count, site.drift), (0, 0));
    }

    #[test]
    fn resets_happen_once_at_their_time_of_day() {
        let hour = 3_600_000_000;
        let day = 20 * DAY_US;
        let mut site = site();
        assert_eq!(site.reset_due(day + hour), None);
        assert_eq!(site.reset_due(day + 3 * hour), None);
        assert_eq!(site.reset_due(day + 5 * hour), Some(day + 4 * hour));
        assert_eq!(site.reset_due(day + 6 * hour), None);
        // A long gap: only the newest reset matters.
        assert_eq!(site.reset_due(day + 41 * hour), Some(day + 40 * hour));
        // A clock that goes back repeats nothing.
        assert_eq!(site.reset_due(day + 39 * hour), None);
        assert_eq!(site.reset_due(day + 41 * hour), None);
    }
}
