//! How often what an answer is made of has changed. The numbers are part of an answer's key, so an answer that a
//! change has overtaken is never found again.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use headcount_schemas::changes::Change;

/// Names that are remembered; beyond that all answers end at once, and counting begins anew.
const MAX_NAMES: usize = 200_000;

/// What an answer is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// Whose rows.
    pub tenant: String,
    /// Of which camera; none: of any.
    pub camera: Option<String>,
    /// Of which tables.
    pub tables: Vec<String>,
}

impl Made {
    /// The names under which changes of it are counted.
    pub fn names(&self) -> Vec<String> {
        let camera = self.camera.as_deref().unwrap_or(ANY);
        let tables = self.tables.iter().map(|table| name(&self.tenant, camera, table));
        std::iter::once(self.tenant.clone()).chain(tables).collect()
    }
}

const ANY: &str = "*";

fn name(tenant: &str, camera: &str, table: &str) -> String {
    format!("{tenant}/{camera}/{table}")
}

/// The names that a change counts under.
pub fn names_of(change: Change<'_>) -> [String; 2] {
    let Change { tenant, camera, table } = change;
    [name(tenant, camera, table), name(tenant, ANY, table)]
}

/// Counts changes within this process.
#[derive(Debug, Default)]
pub struct Generations(Mutex<Counted>);

#[derive(Debug, Default)]
struct Counted {
    of_all: u64,
    by_name: HashMap<String, u64>,
}

impl Counted {
    fn of(&self, names: &[String]) -> impl Iterator<Item = u64> {
        let numbers = names.iter().map(|name| self.by_name.get(name).copied().unwrap_or(0));
        std::iter::once(self.of_all).chain(numbers)
    }
}

impl Generations {
    /// The numbers of what changes under `names`.
    pub fn of(&self, names: &[String]) -> Vec<u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).of(names).collect()
    }

    /// Whether `numbers` are still those of `names`.
    pub fn are(&self, names: &[String], numbers: &[u64]) -> bool {
        let counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counted.of(names).eq(numbers.iter().copied())
    }

    /// Something of this name has changed.
    pub fn rise(&self, names: &[String]) {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for name in names {
            *counted.by_name.entry(name.clone()).or_default() += 1;
        }
        if counted.by_name.len() > MAX_NAMES {
            counted.by_name.clear();
            counted.of_all += 1;
        }
    }

    /// Anything may have changed.
    pub fn rise_all(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).of_all += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(camera: Option<&str>, tables: &[&str]) -> Made {
        Made {
            tenant: "acme".to_owned(),
            camera: camera.map(str::to_owned),
            tables: tables.iter().map(|table| (*table).to_owned()).collect(),
        }
    }

    #[test]
    fn a_change_ends_what_is_made_of_it_and_nothing_else() {
        let generations = Generations::default();
        let made_of_counts = made(Some("door"), &["counting_events"]);
        let counts = made_of_counts.names();
        let others = [
            made(Some("hall"), &["counting_events"]).names(),
            made(Some("door"), &["camera_health"]).names(),
            Made { tenant: "other".to_owned(), ..made_of_counts }.names(),
        ];
        let list = made(None, &["counting_events"]).names();
        let before = (
            generations.of(&counts),
            generations.of(&list),
            others.clone().map(|one| generations.of(&one)),
        );
        generations.rise(&names_of(Change {
            tenant: "acme",
            camera: "door",
            table: "counting_events",
        }));
        assert_ne!(generations.of(&counts), before.0);
        assert!(!generations.are(&counts, &before.0) && generations.are(&others[0], &before.2[0]));
        assert_ne!(generations.of(&list), before.1);
        assert_eq!(others.clone().map(|one| generations.of(&one)), before.2);
        generations.rise(&["acme".to_owned()]);
        assert_ne!(generations.of(&others[0]), before.2[0]);
        assert_eq!(generations.of(&others[2]), before.2[2]);
        generations.rise_all();
        assert_ne!(generations.of(&others[2]), before.2[2]);
    }
}
