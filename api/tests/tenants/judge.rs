//! What an answer may say.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Debug;

use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use headcount_api::endpoints::Service;
use headcount_api::parameters::DEFAULT_LIMIT;
use serde_json::Value;

use crate::requests::{Asked, Learnt};
use crate::support::Answer;
use crate::support::database::noon_and;
use crate::world::{CAMERAS, Crossing, Mark, User, World, camera_id};

/// Remembers what must stay the same.
#[derive(Debug, Default)]
pub struct Judge {
    /// Whose report each accepted id is: tenant, camera and which.
    accepted: HashMap<String, (u8, u8, String)>,
    /// Answers whose content was compared with what is known.
    pub compared: u64,
}

impl Judge {
    /// What is wrong with `answer`.
    pub fn findings(
        &mut self,
        world: &World,
        asked: &Asked,
        answer: &Answer,
        learnt: &Learnt,
    ) -> Vec<String> {
        let user = &world.users[asked.user];
        let mut findings = strangers(user, asked, answer);
        if answer.status.is_server_error() {
            findings.push("failed".to_owned());
        }
        // Who names another tenant than the caller's is refused, whatever is asked.
        let named = asked.headers.iter().find(|(name, _)| *name == "x-tenant");
        let permitted = asked.endpoint.roles.contains(&user.role)
            && named.is_none_or(|(_, tenant)| tenant == world.tenant(user.tenant));
        let seen = match (asked.camera, asked.other) {
            (Some(camera), _) => world.is_seen(user, camera),
            (_, Some(tenant)) => tenant == user.tenant,
            _ => true,
        };
        let told = answer.status.is_success() || answer.status == StatusCode::NOT_MODIFIED;
        match (permitted, seen) {
            (false, _) if answer.status != StatusCode::FORBIDDEN => {
                findings.push("must get 403".to_owned());
            }
            (true, false) if told || answer.status == StatusCode::FORBIDDEN => {
                findings
                    .push("what is not the caller's must look like what is not there".to_owned());
            }
            (true, true) => findings.extend(self.compare(world, asked, answer, learnt)),
            _ => {}
        }
        findings
    }

    fn compare(
        &mut self,
        world: &World,
        asked: &Asked,
        answer: &Answer,
        learnt: &Learnt,
    ) -> Vec<String> {
        let user = &world.users[asked.user];
        if answer.status == StatusCode::NOT_MODIFIED {
            let held = asked.headers.iter().find(|(name, _)| *name == "if-none-match");
            let tag = learnt.tags.iter().find(|(tag, _)| held.is_some_and(|held| held.1 == *tag));
            let marks = tag.into_iter().flat_map(|(_, marks)| marks);
            let others: Vec<_> = marks.filter(|mark| !user.sees(**mark)).collect();
            return match others.is_empty() {
                true => Vec::new(),
                false => vec![format!("confirms what is in another's answer: {others:?}")],
            };
        }
        if answer.status == StatusCode::ACCEPTED {
            return self.accepted(user, asked, answer).into_iter().collect();
        }
        if answer.status != StatusCode::OK || asked.value("cursor").is_some() {
            return Vec::new();
        }
        let expected = match (asked.endpoint.operation_id, asked.camera) {
            ("listCameras", _) => Some(cameras(world, user, asked)),
            ("listCountingEvents", Some(camera)) => Some(events(world, user, camera, asked)),
            ("listCountingResults", Some(camera)) => {
                return self.totals(world, user, camera, asked, answer);
            }
            ("streamEvents", _) => return self.stream(world, user, asked, answer),
            ("listReports" | "listKpis", _) => return self.report(world, user, asked, answer),
            _ => None,
        };
        let Some((key, expected)) = expected else { return Vec::new() };
        self.compared += 1;
        let body = answer.json();
        let rows = body["data"].as_array().into_iter().flatten();
        let found: Vec<&str> = rows.filter_map(|row| row[key].as_str()).collect();
        differing(key, &found, &expected)
    }

    /// The totals of a range of whole minutes are those of the crossings in it.
    fn totals(
        &mut self,
        world: &World,
        user: &User,
        camera: u8,
        asked: &Asked,
        answer: &Answer,
    ) -> Vec<String> {
        let (Some(from), Some(to)) = (asked.value("from"), asked.value("to")) else {
            return Vec::new();
        };
        // A bucket belongs to a range by its start: a day's lies before all of these ranges.
        if asked.value("granularity") == Some("day") {
            return Vec::new();
        }
        self.compared += 1;
        let totals = &answer.json()["totals"];
        let found = ["in_count", "out_count"].map(|name| totals[name].as_u64().unwrap_or(0));
        let expected = in_and_out(world, user, camera, asked, (from, to));
        differing("in and out", &found, &expected)
    }

    /// A stream tells the crossings that the caller sees and has asked for, each once.
    fn stream(
        &mut self,
        world: &World,
        user: &User,
        asked: &Asked,
        answer: &Answer,
    ) -> Vec<String> {
        self.compared += 1;
        let zones_only = asked.value("zone").is_some() && asked.value("line").is_none();
        let others_only = asked.value("type").is_some_and(|kind| kind != "crossing");
        let one = asked.value("camera_id");
        let cameras = (0..CAMERAS).filter(|_| !zones_only && !others_only);
        let cameras = cameras.filter(|camera| one.is_none_or(|one| camera_id(*camera) == one));
        let crossings = cameras.flat_map(|camera| visible(world, user, camera, asked));
        let mut expected: Vec<String> = crossings.map(|one| one.id.to_string()).collect();
        let data = answer.text.lines().filter_map(|line| line.strip_prefix("data: "));
        let read = data.filter_map(|data| serde_json::from_str::<Value>(data).ok());
        let mut found: Vec<String> =
            read.filter_map(|event| Some(event["event_id"].as_str()?.to_owned())).collect();
        found.sort_unstable();
        expected.sort_unstable();
        differing("events", &found, &expected)
    }

    /// The figures of each camera, or those of all, are those of what the caller sees of them.
    fn report(
        &mut self,
        world: &World,
        user: &User,
        asked: &Asked,
        answer: &Answer,
    ) -> Vec<String> {
        let (Some(from), Some(to)) = (asked.value("from"), asked.value("to")) else {
            return Vec::new();
        };
        if asked.value("site").is_some() || !answer.header("content-type").contains("json") {
            return Vec::new();
        }
        self.compared += 1;
        let one = asked.value("camera_id");
        let cameras = (0..CAMERAS).filter(|camera| world.is_seen(user, *camera));
        let cameras = cameras.filter(|camera| one.is_none_or(|one| camera_id(*camera) == one));
        let each = cameras
            .map(|camera| (camera_id(camera), in_and_out(world, user, camera, asked, (from, to))));
        let each: Vec<(String, [u64; 2])> = each.collect();
        let body = answer.json();
        let rows = || body["data"].as_array().into_iter().flatten();
        let of = |row: &Value, name: &str| row[name].as_u64().unwrap_or(0);
        if asked.endpoint.operation_id == "listReports" {
            let found: Vec<_> = rows()
                .map(|row| {
                    let figures = ["in_count", "out_count"].map(|name| of(&row["figures"], name));
                    (row["camera_id"].as_str().unwrap_or_default().to_owned(), figures)
                })
                .collect();
            return differing("reports", &found, &each[..each.len().min(limit(asked))]);
        }
        let named = |name: &str| rows().find(|row| row["name"] == name);
        let found = ["people_in", "people_out"]
            .map(|name| named(name).and_then(|row| row["value"].as_f64()).unwrap_or(0.0) as u64);
        let sum = |index: usize| each.iter().map(|(_, counts)| counts[index]).sum::<u64>();
        differing("people in and out", &found, &[sum(0), sum(1)])
    }

    /// The same report has the same id, another one another.
    fn accepted(&mut self, user: &User, asked: &Asked, answer: &Answer) -> Option<String> {
        let body = answer.json();
        let Some(id) = body["data"]["event_id"].as_str() else {
            return Some("no id".to_owned());
        };
        self.compared += 1;
        let report = asked.body.as_ref().map(Value::to_string).unwrap_or_default();
        let of = (user.tenant, asked.camera.unwrap_or(0), report);
        let known = self.accepted.entry(id.to_owned()).or_insert_with(|| of.clone());
        (*known != of).then(|| format!("the id of another report: {known:?}"))
    }
}

/// Marks of what the caller does not see.
fn strangers(user: &User, asked: &Asked, answer: &Answer) -> Vec<String> {
    // What the caller sent itself may be said back.
    let query: String = asked.query.iter().map(|(_, value)| value.as_str()).collect();
    let mut own = Mark::all_in(&query);
    own.extend(Mark::all_in(&asked.path));
    let marks = Mark::all_in(&answer.text);
    // Who manages users sees whom else they were granted to.
    let manages = asked.endpoint.service == Service::User;
    let seen = |mark: &Mark| user.sees(*mark) || (manages && mark.tenant == user.tenant);
    let others: BTreeSet<_> = marks.into_iter().filter(|mark| !seen(mark)).collect();
    let refused = !answer.status.is_success();
    others
        .into_iter()
        .filter(|mark| !(refused && own.contains(mark)))
        .map(|mark| format!("shows {mark:?}"))
        .collect()
}

fn differing<F, E>(what: &str, found: &[F], expected: &[E]) -> Vec<String>
where
    F: Debug + PartialEq<E>,
    E: Debug,
{
    match found == expected {
        true => Vec::new(),
        false => vec![format!("{what} {found:?} instead of {expected:?}")],
    }
}

type Listed = (&'static str, Vec<String>);

fn limit(asked: &Asked) -> usize {
    asked.value("limit").map_or(DEFAULT_LIMIT as usize, |limit| limit.parse().expect("a number"))
}

fn cameras(world: &World, user: &User, asked: &Asked) -> Listed {
    let seen = (0..CAMERAS).filter(|camera| world.is_seen(user, *camera));
    ("camera_id", seen.map(camera_id).take(limit(asked)).collect())
}

fn visible<'a>(
    world: &'a World,
    user: &'a User,
    camera: u8,
    asked: &'a Asked,
) -> impl Iterator<Item = &'a Crossing> {
    let all = world.crossings(user.tenant, camera).unwrap_or_default().iter();
    all.filter(move |one| {
        user.sees_line(camera, &one.line) && asked.value("line").is_none_or(|line| one.line == line)
    })
}

/// Visible crossings of a camera from `from` to before `to`, inwards and outwards.
fn in_and_out(
    world: &World,
    user: &User,
    camera: u8,
    asked: &Asked,
    (from, to): (&str, &str),
) -> [u64; 2] {
    let (from, to) = (time(from), time(to));
    ["in", "out"].map(|direction| {
        let crossings = visible(world, user, camera, asked);
        let of = |one: &&Crossing| one.at >= from && one.at < to && one.direction == direction;
        crossings.filter(of).count() as u64
    })
}

fn events(world: &World, user: &User, camera: u8, asked: &Asked) -> Listed {
    let from = asked.value("from").map_or_else(|| noon_and(0), time);
    let to = asked.value("to").map(time);
    let matching = visible(world, user, camera, asked)
        .filter(|one| one.at >= from && to.is_none_or(|to| one.at < to))
        .filter(|one| asked.value("direction").is_none_or(|wanted| one.direction == wanted));
    ("event_id", matching.map(|one| one.id.to_string()).take(limit(asked)).collect())
}

fn time(text: &str) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339(text).expect("a time").to_utc()
}
