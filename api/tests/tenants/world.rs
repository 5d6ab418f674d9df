//! Twenty tenants whose cameras and lines have the same names, and what each caller may see of them.
//!
//! Whatever is in a row says whose it is: texts hold a [`Mark`], ids are made of one. So an answer can be judged by what
//! is written in it, without knowing what its endpoint does.

use std::collections::BTreeSet;

use axum::http::HeaderValue;
use chrono::{DateTime, TimeDelta, Utc};
use headcount_api::access::{Grant, Role};
use headcount_api::auth::secrets::{self, Named};
use headcount_schemas::camera::{Line, Point, Site, Zone};
use headcount_schemas::{CameraConfig, CameraKey};
use sqlx::types::Json;
use sqlx::{PgPool, QueryBuilder};
use uuid::Uuid;

use crate::support::database::{Rows, noon_and};

pub const TENANTS: u8 = 20;
/// Ids of cameras are drawn from these; no tenant has the last.
pub const CAMERAS: u8 = 5;
/// How long something happened.
pub const HOURS: i64 = 3;
const CROSSINGS: u32 = 40;

/// What a marked thing is, and who may see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A camera's own: seen by whoever sees anything of it.
    Camera = 1,
    /// Of the line that the camera's site has.
    SiteLine = 2,
    /// Of its other line.
    OtherLine = 3,
    /// Of its zone.
    Zone = 4,
    /// Of its site.
    Site = 5,
    /// Of single pictures.
    Picture = 6,
    /// The tenant's: users and keys.
    Tenant = 7,
}

const KINDS: [Kind; 7] = [
    Kind::Camera,
    Kind::SiteLine,
    Kind::OtherLine,
    Kind::Zone,
    Kind::Site,
    Kind::Picture,
    Kind::Tenant,
];

/// Says whose a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    pub tenant: u8,
    pub camera: u8,
    pub kind: Kind,
}

impl Mark {
    pub fn text(self) -> String {
        format!("tok{:02}{}{}", self.tenant, self.camera, self.kind as u8)
    }

    pub fn uuid(self, number: u32) -> Uuid {
        let mark = u128::from(self.tenant) << 16 | u128::from(self.camera) << 8 | self.kind as u128;
        Uuid::from_u128(0xfeed_4711 << 96 | mark << 64 | 0x8000 << 48 | u128::from(number))
    }

    /// Every mark in `text`.
    pub fn all_in(text: &str) -> BTreeSet<Mark> {
        let digits = |text: &str, from: usize, to: usize, radix: u32| {
            text.get(from..to).and_then(|digits| u8::from_str_radix(digits, radix).ok())
        };
        let of = |tenant: Option<u8>, camera: Option<u8>, kind: Option<u8>| {
            let kind = KINDS.into_iter().find(|known| Some(*known as u8) == kind)?;
            Some(Mark { tenant: tenant?, camera: camera?, kind })
        };
        let texts = text.match_indices("tok").filter_map(|(at, _)| {
            let rest = &text[at + 3..];
            of(digits(rest, 0, 2, 10), digits(rest, 2, 3, 10), digits(rest, 3, 4, 10))
        });
        // feed4711-00TT-CCKK-8000-…
        let ids = text.match_indices("feed4711-").filter_map(|(at, _)| {
            let rest = &text[at + 9..];
            of(digits(rest, 2, 4, 16), digits(rest, 5, 7, 16), digits(rest, 7, 9, 16))
        });
        texts.chain(ids).collect()
    }
}

#[derive(Debug, Clone)]
pub struct Crossing {
    pub at: DateTime<Utc>,
    pub id: Uuid,
    pub line: String,
    pub direction: &'static str,
}

/// Somebody with an API key.
#[derive(Debug)]
pub struct User {
    pub tenant: u8,
    pub role: Role,
    pub grants: Option<Vec<Grant>>,
    pub authorization: HeaderValue,
}

impl User {
    /// Whether the caller is granted all of a camera of its tenant, and whether its site.
    fn granted(&self, camera: u8) -> (bool, bool) {
        let Some(grants) = &self.grants else { return (true, true) };
        let id = camera_id(camera);
        let of = |whole: bool| {
            grants.iter().any(|grant| grant.camera_id == id && grant.site.is_none() == whole)
        };
        (of(true), of(true) || of(false))
    }

    pub fn sees(&self, mark: Mark) -> bool {
        let (whole, site) = self.granted(mark.camera);
        mark.tenant == self.tenant
            && match mark.kind {
                Kind::Tenant => true,
                Kind::Camera | Kind::SiteLine | Kind::Site => site,
                Kind::OtherLine | Kind::Zone | Kind::Picture => whole,
            }
    }

    pub fn sees_camera(&self, camera: u8) -> bool {
        self.granted(camera).1
    }

    /// Whether the line of this name of a camera is seen.
    pub fn sees_line(&self, camera: u8, line: &str) -> bool {
        let (whole, site) = self.granted(camera);
        whole || (site && line != OTHER_LINE)
    }
}

/// The line outside of the site has the same name everywhere.
pub const OTHER_LINE: &str = "gate";

pub fn camera_id(camera: u8) -> String {
    format!("c{camera}")
}

/// The name of the line that a camera's site has.
pub fn site_line(tenant: u8, camera: u8) -> String {
    Mark { tenant, camera, kind: Kind::SiteLine }.text()
}

pub struct World {
    pub rows: Rows,
    pub users: Vec<User>,
    /// Crossings of a tenant's camera, newest first; none where it has no such camera.
    crossings: Vec<Vec<Option<Vec<Crossing>>>>,
    tenants: Vec<String>,
}

impl World {
    pub async fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let rows = Rows::new().await;
        let tenants: Vec<String> =
            (0..TENANTS).map(|tenant| format!("{}-{tenant}", rows.tenant)).collect();
        let mut world = Self { rows, users: Vec::new(), crossings: Vec::new(), tenants };
        for tenant in 0..TENANTS {
            let cameras: Vec<bool> =
                (0..CAMERAS).map(|camera| camera + 1 < CAMERAS && rng.u8(0..5) > 0).collect();
            let mut crossings = Vec::new();
            for (camera, there) in (0..).zip(cameras) {
                crossings.push(match there {
                    true => Some(world.add_camera(&mut rng, tenant, camera).await),
                    false => None,
                });
            }
            world.crossings.push(crossings);
            for (number, role) in (0..).zip(Role::ALL.into_iter().chain(Role::ALL)) {
                let grants = (number >= Role::ALL.len()).then(|| random_grants(&mut rng, tenant));
                world.add_user(tenant, number as u32, role, grants).await;
            }
        }
        world
    }

    pub fn tenant(&self, tenant: u8) -> &str {
        &self.tenants[usize::from(tenant)]
    }

    /// What was counted by a camera, newest first; none where the tenant has no such camera.
    pub fn crossings(&self, tenant: u8, camera: u8) -> Option<&[Crossing]> {
        self.crossings[usize::from(tenant)].get(usize::from(camera))?.as_deref()
    }

    /// Whether the caller may know of the camera.
    pub fn is_seen(&self, user: &User, camera: u8) -> bool {
        self.crossings(user.tenant, camera).is_some() && user.sees_camera(camera)
    }

    async fn add_camera(&self, rng: &mut fastrand::Rng, tenant: u8, camera: u8) -> Vec<Crossing> {
        let mark = |kind| Mark { tenant, camera, kind };
        let (tenant_id, id) = (self.tenant(tenant), camera_id(camera));
        let pool = &self.rows.writer;
        self.configure(tenant, camera).await;

        let lines =
            [(Kind::SiteLine, site_line(tenant, camera)), (Kind::OtherLine, OTHER_LINE.to_owned())];
        let mut crossings: Vec<Crossing> = (0..rng.u32(1..CROSSINGS))
            .map(|number| {
                let (kind, line) = &lines[rng.usize(0..2)];
                Crossing {
                    at: noon_and(rng.i64(0..HOURS * 3_600_000_000)),
                    id: mark(*kind).uuid(number),
                    line: line.clone(),
                    direction: ["in", "out"][rng.usize(0..2)],
                }
            })
            .collect();
        crossings.sort_by_key(|crossing| std::cmp::Reverse((crossing.at, crossing.id)));
        let mut sql = QueryBuilder::new("INSERT INTO counting_events ");
        sql.push_values(&crossings, |mut row, crossing| {
            row.push_bind(tenant_id).push_bind(&id).push_bind(crossing.at).push_bind(crossing.id);
            row.push("1772366400000, 7").push_bind(&crossing.line).push_bind(crossing.direction);
            row.push("3, 0.5, 0.5, 0.9, 1, 0, 1, 'yolox@1', 'tracker@1'");
        });
        sql.build().execute(pool).await.expect("crossings");

        let mut sql = QueryBuilder::new("INSERT INTO coverage_spans ");
        sql.push_values(0..HOURS * 60, |mut row, minute| {
            let from = noon_and(minute * 60_000_000);
            row.push_bind(tenant_id).push_bind(&id).push_bind(from);
            row.push_bind(mark(Kind::Camera).uuid(minute as u32));
            row.push_bind(from + TimeDelta::seconds(60));
            row.push("1772366400000, 7, 10, 1, 'yolox@1', 'tracker@1'");
        });
        sql.build().execute(pool).await.expect("spans");

        for number in 0..4 {
            let at = noon_and(rng.i64(0..HOURS * 3_600_000_000));
            self.add_rows(tenant, camera, at, number).await;
        }
        crossings
    }

    async fn configure(&self, tenant: u8, camera: u8) {
        let mark = |kind| Mark { tenant, camera, kind }.text();
        let (tenant_id, id) = (self.tenant(tenant), camera_id(camera));
        let pool = &self.rows.writer;
        let key = CameraKey::new(tenant_id, id.as_str()).expect("a key");
        let mut configuration =
            CameraConfig::new(key, format!("rtsp://10.0.0.7/{}", mark(Kind::Camera)));
        let point = |x, y| Point { x, y };
        let (site_line, zone, site) =
            (site_line(tenant, camera), mark(Kind::Zone), mark(Kind::Site));
        configuration.lines = vec![
            Line::new(&site_line, point(0.1, 0.5), point(0.9, 0.5)),
            Line::new(OTHER_LINE, point(0.1, 0.7), point(0.9, 0.7)),
        ];
        configuration.zones =
            vec![Zone::new(&zone, vec![point(0.0, 0.0), point(1.0, 0.0), point(1.0, 1.0)])];
        configuration.sites = vec![Site {
            name: site.clone(),
            lines: vec![site_line.clone()],
            reversed_lines: Vec::new(),
            reset_at: Vec::new(),
        }];
        sqlx::query(
            "INSERT INTO camera_configurations (tenant_id, camera_id, camera_name, camera_type, stream_url, \
             is_active, version, configuration, managed_by) VALUES ($1, $2, $3, 'RTSP', $4, true, 1, $5, 'api')",
        )
        .bind(tenant_id)
        .bind(&id)
        .bind(mark(Kind::Camera))
        .bind(&configuration.source.url)
        .bind(Json(&configuration))
        .execute(pool)
        .await
        .expect("a camera");
        for line in [site_line.as_str(), OTHER_LINE] {
            sqlx::query("INSERT INTO camera_lines VALUES ($1, $2, 1, $3, 0.1, 0.5, 0.9, 0.5)")
                .bind(tenant_id)
                .bind(&id)
                .bind(line)
                .execute(pool)
                .await
                .expect("a line");
        }
        let zones = [
            ("zone", zone, serde_json::to_value(&configuration.zones[0])),
            ("site", site, serde_json::to_value(&configuration.sites[0])),
        ];
        for (scope, name, definition) in zones {
            sqlx::query("INSERT INTO camera_zones VALUES ($1, $2, 1, $3, $4, $5)")
                .bind(tenant_id)
                .bind(&id)
                .bind(scope)
                .bind(name)
                .bind(Json(definition.expect("a definition")))
                .execute(pool)
                .await
                .expect("a zone");
        }
    }

    /// One row in every other kind of table.
    async fn add_rows(&self, tenant: u8, camera: u8, at: DateTime<Utc>, number: u32) {
        let mark = |kind| Mark { tenant, camera, kind };
        let (tenant_id, id) = (self.tenant(tenant), camera_id(camera));
        let of_camera = [
            "INSERT INTO camera_health VALUES ($1, $2, $3, $4, NULL, 'running', $5, 0, 0, 0, 0, 0, 0)",
            "INSERT INTO video_streams VALUES ($1, $2, $4::text, 1, 'running', $5, $3, $3, NULL, 0, 0, 25, 10, 0)",
        ];
        let of_zone = "INSERT INTO zone_occupancy VALUES \
                       ($1, $2, $3, $4, 1, 0, 'zone', $5, 'change', 2, 0, 0, 1, 'm', 't')";
        let of_visit = "INSERT INTO zone_visits VALUES \
                        ($1, $2, $3, $4, 1, 0, $5, 'left', 3, $3, 2.5, 0.9, 1, 'm', 't')";
        let of_site = "INSERT INTO zone_occupancy VALUES \
                       ($1, $2, $3, $4, 1, 0, 'site', $5, 'change', 2, 0, 0, 1, 'm', 't')";
        let of_picture = "INSERT INTO frame_detections VALUES ($1, $2, $3, 1772366400000, \
                          ('x' || right($4::text, 4))::bit(16)::int, 768, 576, 1, $5, 9000, \
                          '{10}', '{10}', '{30}', '{30}', '{0.5}', '{0}')";
        let all = of_camera.map(|sql| (Kind::Camera, sql)).into_iter().chain([
            (Kind::Zone, of_zone),
            (Kind::Zone, of_visit),
            (Kind::Site, of_site),
            (Kind::Picture, of_picture),
        ]);
        for (kind, sql) in all {
            sqlx::query(sql)
                .bind(tenant_id)
                .bind(&id)
                .bind(at)
                .bind(mark(kind).uuid(1000 + number))
                .bind(mark(kind).text())
                .execute(&self.rows.writer)
                .await
                .expect(sql);
        }
    }

    /// The id of a user's key.
    pub fn key_id(&self, tenant: u8, number: u32) -> String {
        // Unique among the worlds of a database.
        let world = self.rows.tenant.rsplit('-').next().unwrap_or_default();
        format!("{tenant:02x}{number:02x}{world}")
    }

    async fn add_user(&mut self, tenant: u8, number: u32, role: Role, grants: Option<Vec<Grant>>) {
        let tenant_id = self.tenant(tenant).to_owned();
        let mark = Mark { tenant, camera: 0, kind: Kind::Tenant };
        let pool: &PgPool = &self.rows.writer;
        sqlx::query(
            "INSERT INTO users (tenant_id, user_id, username, display_name, role, grants) \
             VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(&tenant_id)
        .bind(mark.uuid(number))
        .bind(format!("user-{number}"))
        .bind(mark.text())
        .bind(role.name())
        .bind(grants.as_ref().map(Json))
        .execute(pool)
        .await
        .expect("a user");
        let id = self.key_id(tenant, number);
        let key = Named::new(secrets::API_KEY, &id);
        sqlx::query(
            "INSERT INTO api_keys (tenant_id, key_id, name, role, permissions, grants, secret_hash, created_by) \
             VALUES ($1, $2, $3, $4, '{}', $5, $6, 'test')",
        )
        .bind(&tenant_id)
        .bind(&id)
        .bind(mark.text())
        .bind(role.name())
        .bind(grants.as_ref().map(Json))
        .bind(&secrets::digest(key.secret.as_bytes())[..])
        .execute(pool)
        .await
        .expect("a key");
        let authorization = format!("Bearer {}", key.secret).parse().expect("a header");
        self.users.push(User { tenant, role, grants, authorization });
    }
}

/// Some cameras as a whole, of some the site alone, of some nothing.
fn random_grants(rng: &mut fastrand::Rng, tenant: u8) -> Vec<Grant> {
    let mut grants = Vec::new();
    for camera in 0..CAMERAS {
        let site = Mark { tenant, camera, kind: Kind::Site }.text();
        let site = match rng.u8(0..3) {
            0 => continue,
            1 => None,
            _ => Some(site),
        };
        grants.push(Grant { camera_id: camera_id(camera), site });
    }
    grants
}
