//! Reports as comma-separated values: a line for each camera, followed by its places.

use axum::response::Response;

use super::{CameraReport, PlaceReport};
use crate::csv_answer::CsvAnswer;
use crate::report::{Change, Figures};

/// Names of the columns of figures, in order.
const FIGURES: [&str; 14] = [
    "coverage",
    "in_count",
    "out_count",
    "net_count",
    "entries",
    "abandoned",
    "dwell_mean_s",
    "occupancy_mean",
    "occupancy_max",
    "occupancy_max_hour",
    "busiest_hour",
    "busiest_hour_count",
    "busiest_hour_of_day",
    "busiest_hour_of_day_mean_count",
];
const CHANGES: [&str; 6] =
    ["in_count", "out_count", "entries", "abandoned", "dwell_mean_s", "occupancy_mean"];

fn figures_cells(figures: &Figures) -> [String; 14] {
    let hour = figures.busiest_hour.as_ref();
    let of_day = figures.busiest_hour_of_day.as_ref();
    [
        cell(figures.coverage),
        cell(figures.in_count),
        cell(figures.out_count),
        cell(figures.net_count),
        cell(figures.entries),
        cell(figures.abandoned),
        cell(figures.dwell_mean_s),
        cell(figures.occupancy_mean),
        cell(figures.occupancy_max),
        cell(figures.occupancy_max_hour),
        cell(hour.map(|hour| hour.from)),
        cell(hour.map(|hour| hour.count)),
        cell(of_day.map(|of_day| of_day.hour)),
        cell(of_day.map(|of_day| of_day.mean_count)),
    ]
}

fn change_cells(change: &Change) -> [String; 6] {
    [
        cell(change.in_count),
        cell(change.out_count),
        cell(change.entries),
        cell(change.abandoned),
        cell(change.dwell_mean_s),
        cell(change.occupancy_mean),
    ]
}

fn cell(value: Option<impl ToString>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

/// One line for each camera and each of its places.
pub fn of(reports: &[CameraReport], next: Option<&str>) -> Response {
    let names = ["camera_id", "scope", "name"].into_iter().map(str::to_owned);
    let before = FIGURES.iter().map(|name| format!("before_{name}"));
    let change = CHANGES.iter().map(|name| format!("change_{name}"));
    let names = names.chain(FIGURES.map(str::to_owned)).chain(before).chain(change);
    let mut answer = CsvAnswer::new(names);
    let mut line = |camera: &str, scope: &str, name: &str, told: (&Figures, &Figures, &Change)| {
        let place = [camera, scope, name].map(str::to_owned).into_iter();
        let (figures, before, change) = told;
        let cells = place.chain(figures_cells(figures)).chain(figures_cells(before));
        answer.line(cells.chain(change_cells(change)));
    };
    for report in reports {
        let CameraReport { camera_id, figures, before, change, places } = report;
        line(camera_id, "camera", camera_id, (figures, before, change));
        for PlaceReport { scope, name, figures, before, change } in places {
            line(camera_id, scope, name, (figures, before, change));
        }
    }
    answer.respond(next)
}
