//! Who may do what: roles, permissions and what of a tenant a caller sees. Values in, values out.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A caller's part in the system, least first.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Sees cameras and counts.
    Viewer,
    /// Sees detections and history, too.
    Analyst,
    /// Sets up cameras.
    Operator,
    /// Manages users and the service.
    Admin,
}

impl Role {
    /// Every role, least first.
    pub const ALL: [Role; 4] = [Role::Viewer, Role::Analyst, Role::Operator, Role::Admin];

    /// Its name on the wire and in the database.
    pub fn name(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Analyst => "analyst",
            Role::Operator => "operator",
            Role::Admin => "admin",
        }
    }

    /// The role called `name`.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }
}

/// Something that a caller may be allowed beyond what the role allows.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
pub enum Permission {
    /// See cameras, their lines and how they are.
    #[serde(rename = "cameras:read")]
    CamerasRead,
    /// Set up cameras.
    #[serde(rename = "cameras:write")]
    CamerasWrite,
    /// See crossings, totals and analytics.
    #[serde(rename = "counts:read")]
    CountsRead,
    /// See the boxes of single pictures, and history.
    #[serde(rename = "detections:read")]
    DetectionsRead,
    /// Post detections, counting events and health: for machines.
    #[serde(rename = "events:write")]
    EventsWrite,
    /// Manage users and API keys, read the audit log.
    #[serde(rename = "users:manage")]
    UsersManage,
    /// See and acknowledge alerts.
    #[serde(rename = "alerts:manage")]
    AlertsManage,
    /// See how the service itself is.
    #[serde(rename = "service:read")]
    ServiceRead,
}

impl Permission {
    /// Every permission.
    pub const ALL: [Permission; 8] = [
        Permission::CamerasRead,
        Permission::CamerasWrite,
        Permission::CountsRead,
        Permission::DetectionsRead,
        Permission::EventsWrite,
        Permission::UsersManage,
        Permission::AlertsManage,
        Permission::ServiceRead,
    ];

    /// Its name on the wire and in the database.
    pub fn name(self) -> &'static str {
        match self {
            Permission::CamerasRead => "cameras:read",
            Permission::CamerasWrite => "cameras:write",
            Permission::CountsRead => "counts:read",
            Permission::DetectionsRead => "detections:read",
            Permission::EventsWrite => "events:write",
            Permission::UsersManage => "users:manage",
            Permission::AlertsManage => "alerts:manage",
            Permission::ServiceRead => "service:read",
        }
    }

    /// The permission called `name`.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|permission| permission.name() == name)
    }
}

/// Whether a caller of `role`, who was given `permissions` beyond it, may use an endpoint that is for
/// `roles` or for those who were given all of `required`.
pub fn permits(
    roles: &[Role],
    required: &[Permission],
    role: Role,
    permissions: &[Permission],
) -> bool {
    let given = |one: &Permission| permissions.contains(one);
    roles.contains(&role) || (!required.is_empty() && required.iter().all(given))
}

/// One thing that a caller with grants may see: a camera, or one site of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// The camera.
    #[schema(
        min_length = 1,
        max_length = 64,
        pattern = "^[A-Za-z0-9._-]+$",
        example = "front-door"
    )]
    pub camera_id: String,
    /// Only this site of it, with the lines that enclose it; all of the camera without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 100, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]*$")]
    pub site: Option<String>,
}

/// What of a tenant's rows a caller sees. The database applies it to every query, by the views of
/// `schemas/migrations/storage/access.sql`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grants {
    /// Everything of the tenant.
    Everything,
    /// What these entries name, in the form that the views compare: `camera`, `camera/`,
    /// `camera/line/name`, `camera/zone/name`, `camera/site/name`.
    Only(Vec<String>),
}

impl Grants {
    /// What `granted` comes to. `lines_of` names the lines that enclose a site.
    pub fn resolve(
        granted: Option<&[Grant]>,
        mut lines_of: impl FnMut(&str, &str) -> Vec<String>,
    ) -> Self {
        let Some(granted) = granted else { return Grants::Everything };
        let mut entries = Vec::new();
        for Grant { camera_id, site } in granted {
            entries.push(format!("{camera_id}/"));
            match site {
                None => entries.push(camera_id.clone()),
                Some(site) => {
                    entries.push(format!("{camera_id}/site/{site}"));
                    let lines = lines_of(camera_id, site).into_iter();
                    entries.extend(lines.map(|line| format!("{camera_id}/line/{line}")));
                }
            }
        }
        entries.sort_unstable();
        entries.dedup();
        Grants::Only(entries)
    }

    /// Whether the camera may be seen as a whole.
    pub fn allow_camera(&self, camera: &str) -> bool {
        self.has(camera)
    }

    /// Whether anything of the camera may be seen.
    pub fn allow_part_of(&self, camera: &str) -> bool {
        self.has(&format!("{camera}/"))
    }

    /// Whether the line, zone or site `name` of a camera may be seen; `scope` says which it is.
    pub fn allow_place(&self, camera: &str, scope: &str, name: &str) -> bool {
        self.has(camera) || self.has(&format!("{camera}/{scope}/{name}"))
    }

    fn has(&self, entry: &str) -> bool {
        match self {
            Grants::Everything => true,
            Grants::Only(entries) => {
                entries.binary_search_by(|held| held.as_str().cmp(entry)).is_ok()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[test]
    fn names_are_those_on_the_wire() {
        for role in Role::ALL {
            assert_eq!(serde_json::to_value(role).expect("a string"), role.name());
            assert_eq!(Role::parse(role.name()), Some(role));
        }
        for permission in Permission::ALL {
            assert_eq!(serde_json::to_value(permission).expect("a string"), permission.name());
            assert_eq!(Permission::parse(permission.name()), Some(permission));
        }
        assert_eq!(Role::parse("root"), None);
    }

    #[rstest]
    #[case(Role::Operator, &[], true)]
    #[case(Role::Viewer, &[], false)]
    #[case(Role::Viewer, &[Permission::CamerasWrite], true)]
    #[case(Role::Viewer, &[Permission::CamerasRead], false)]
    fn a_role_or_a_permission_opens(
        #[case] role: Role,
        #[case] given: &[Permission],
        #[case] expected: bool,
    ) {
        let roles = [Role::Operator, Role::Admin];
        assert_eq!(permits(&roles, &[Permission::CamerasWrite], role, given), expected);
    }

    #[test]
    fn no_permission_stands_in_for_the_role_where_none_is_named() {
        assert!(!permits(&[Role::Admin], &[], Role::Operator, &Permission::ALL));
    }

    #[test]
    fn a_site_is_seen_with_its_lines_and_nothing_else() {
        let granted = [
            Grant { camera_id: "hall".to_owned(), site: None },
            Grant { camera_id: "door".to_owned(), site: Some("shop".to_owned()) },
        ];
        let grants = Grants::resolve(Some(&granted), |camera, site| {
            assert_eq!((camera, site), ("door", "shop"));
            vec!["west".to_owned()]
        });
        assert!(grants.allow_camera("hall") && !grants.allow_camera("door"));
        assert!(grants.allow_part_of("door") && !grants.allow_part_of("yard"));
        assert!(grants.allow_place("door", "site", "shop"));
        assert!(grants.allow_place("door", "line", "west"));
        assert!(!grants.allow_place("door", "line", "east"));
        assert!(grants.allow_place("hall", "zone", "any"));
        assert!(Grants::resolve(None, |_, _| Vec::new()).allow_camera("any"));
        assert!(!Grants::resolve(Some(&[]), |_, _| Vec::new()).allow_part_of("any"));
    }
}
