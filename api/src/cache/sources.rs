//! What an answer is made of: the tables beneath the views that an endpoint reads.

use crate::endpoints::{Endpoint, Method};

/// Tables beneath each view.
const VIEWS: [(&str, &[&str]); 4] = [
    ("counting_results", &["counting_events", "coverage_spans"]),
    ("person_detections", &["frame_detections"]),
    ("realtime_analytics", ANALYTICS),
    ("historical_analytics", ANALYTICS),
];
const ANALYTICS: &[&str] = &["counting_events", "coverage_spans", "zone_occupancy", "zone_visits"];
/// Tables whose changes are told: those that the sink writes, and those of cameras.
const TOLD: [&str; 9] = [
    "camera_configurations",
    "camera_health",
    "counting_events",
    "coverage_spans",
    "frame_detections",
    "person_tracks",
    "video_streams",
    "zone_occupancy",
    "zone_visits",
];

/// The tables whose change ends an answer of `endpoint`, in order.
pub fn of(endpoint: &Endpoint) -> Vec<&'static str> {
    let mut tables: Vec<&str> = endpoint
        .tables
        .iter()
        .flat_map(|name| match VIEWS.iter().find(|(view, _)| view == name) {
            Some((_, beneath)) => beneath.to_vec(),
            None => vec![*name],
        })
        .collect();
    tables.sort_unstable();
    tables.dedup();
    tables
}

/// Whether the service may keep answers of `endpoint`: reads whose every change is told.
pub fn are_told(endpoint: &Endpoint) -> bool {
    let tables = of(endpoint);
    endpoint.method == Method::Get
        && !tables.is_empty()
        && tables.iter().all(|table| TOLD.contains(table))
}

#[cfg(test)]
mod tests {
    use crate::endpoints::ENDPOINTS;

    #[test]
    fn counts_and_cameras_are_kept_and_tokens_are_not() {
        let kept: Vec<_> = ENDPOINTS.iter().filter(|one| one.is_kept()).collect();
        assert!(kept.iter().any(|one| one.path == "/api/v1/cameras/{id}/counting"));
        assert!(kept.iter().any(|one| one.path == "/api/v1/cameras"));
        for one in kept {
            assert!(one.is_api() && one.needs_caller() && one.cache_lifetime_s > 0, "{one:?}");
        }
    }
}
