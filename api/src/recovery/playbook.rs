//! The patterns of `database_error_patterns` with their `error_recovery_strategies`, as values.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use sqlx::{FromRow, PgPool};

use super::breaker::BreakerSettings;
use super::strategy::{FallbackPolicy, RetryPolicy, Strategies};

/// One kind of error.
#[derive(Debug, Clone, PartialEq)]
pub struct Pattern {
    /// Its name: `error_pattern`.
    pub name: String,
    /// SQLSTATEs of five characters, or classes of two.
    pub sqlstates: Vec<String>,
    /// What is done about it.
    pub strategies: Strategies,
}

/// Every kind of error that is known.
#[derive(Debug, Clone, PartialEq)]
pub struct Playbook {
    patterns: Vec<Pattern>,
}

impl Playbook {
    /// The pattern of an error. A code is preferred to its class.
    pub fn find(&self, sqlstate: &str) -> Option<&Pattern> {
        let matching = self.patterns.iter().filter_map(|pattern| {
            let lengths = pattern.sqlstates.iter().filter(|one| sqlstate.starts_with(one.as_str()));
            Some((lengths.map(String::len).max()?, pattern))
        });
        // The first of the best, as the database decides it.
        matching.rev().max_by_key(|(length, _)| *length).map(|(_, pattern)| pattern)
    }

    /// When a connection's breaker opens: what the pattern of a failed connection says.
    pub fn breaker(&self) -> BreakerSettings {
        self.find("08006").and_then(|pattern| pattern.strategies.breaker).unwrap_or_default()
    }

    /// Reads the rows. A row that makes no sense is left out, and the reason logged.
    pub async fn load(pool: &PgPool) -> Result<Self, sqlx::Error> {
        let rows: Vec<Row> = sqlx::query_as(SELECT).fetch_all(pool).await?;
        let mut patterns: BTreeMap<i32, Pattern> = BTreeMap::new();
        for row in rows {
            let pattern = patterns.entry(row.id).or_insert_with(|| Pattern {
                name: row.error_pattern.clone(),
                sqlstates: row.sqlstates.clone(),
                strategies: Strategies::default(),
            });
            row.apply(&mut pattern.strategies);
        }
        Ok(Self { patterns: patterns.into_values().collect() })
    }
}

/// What holds until the rows have been read: that which matters while they cannot be.
impl Default for Playbook {
    fn default() -> Self {
        let away = Strategies {
            retry: Some(RetryPolicy {
                max_attempts: 2,
                delay: Duration::from_millis(100),
                multiplier: 2.0,
                max_delay: Duration::from_secs(1),
            }),
            breaker: Some(BreakerSettings::default()),
            fallback: Some(FallbackPolicy { max_age: Duration::from_secs(3600), endpoint: None }),
            manual_intervention: false,
        };
        let sqlstates = ["08", "57P01", "57P02", "57P03", "28", "3D"].map(str::to_owned).to_vec();
        let name = "connection to server at .* failed".to_owned();
        Self { patterns: vec![Pattern { name, sqlstates, strategies: away }] }
    }
}

const SELECT: &str = "\
SELECT p.id, p.error_pattern, p.sqlstates, s.recovery_action, s.recovery_config, s.retry_delay_ms,
       least(s.max_retry_attempts, p.max_retries) AS max_retry_attempts, s.circuit_breaker_threshold,
       s.fallback_endpoint, p.retry_strategy
FROM database_error_patterns p
LEFT JOIN error_recovery_strategies s ON s.error_pattern_id = p.id AND s.is_enabled
ORDER BY p.id, s.priority, s.id";

#[derive(FromRow)]
struct Row {
    id: i32,
    error_pattern: String,
    sqlstates: Vec<String>,
    retry_strategy: String,
    recovery_action: Option<String>,
    recovery_config: Option<Value>,
    retry_delay_ms: Option<i32>,
    max_retry_attempts: Option<i32>,
    circuit_breaker_threshold: Option<i32>,
    fallback_endpoint: Option<String>,
}

impl Row {
    /// Adds this row's strategy. Of two for the same action, the one of lower priority is first and stays.
    fn apply(&self, strategies: &mut Strategies) {
        let config = |name: &str| self.recovery_config.as_ref().and_then(|all| all[name].as_f64());
        let millis = |value: f64| Duration::from_millis(value.clamp(0.0, 3_600_000.0) as u64);
        let whole = |value: Option<i32>| value.and_then(|value| u32::try_from(value).ok());
        match self.recovery_action.as_deref() {
            Some("retry") if self.retry_strategy != "none" => {
                let growing = self.retry_strategy == "exponential_backoff";
                let multiplier = config("multiplier").filter(|_| growing).unwrap_or(1.0);
                let delay = millis(self.retry_delay_ms.unwrap_or(0).into());
                strategies.retry.get_or_insert(RetryPolicy {
                    max_attempts: whole(self.max_retry_attempts).unwrap_or(0),
                    delay,
                    multiplier,
                    max_delay: config("max_delay_ms").map_or(Duration::from_secs(5), millis),
                });
            }
            Some("circuit_breaker") => {
                let default = BreakerSettings::default();
                strategies.breaker.get_or_insert(BreakerSettings {
                    threshold: whole(self.circuit_breaker_threshold).unwrap_or(default.threshold),
                    open_for: config("open_ms").map_or(default.open_for, millis),
                });
            }
            Some("fallback") => {
                let max_age_s = config("max_age_s").unwrap_or(3600.0).clamp(0.0, 604_800.0);
                strategies.fallback.get_or_insert(FallbackPolicy {
                    max_age: Duration::from_secs(max_age_s as u64),
                    endpoint: self.fallback_endpoint.clone(),
                });
            }
            Some("manual_intervention") => strategies.manual_intervention = true,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(name: &str, sqlstates: &[&str]) -> Pattern {
        let sqlstates = sqlstates.iter().map(|&one| one.to_owned()).collect();
        Pattern { name: name.to_owned(), sqlstates, strategies: Strategies::default() }
    }

    #[test]
    fn a_code_is_preferred_to_its_class() {
        let patterns = vec![
            pattern("class", &["57"]),
            pattern("again", &["57"]),
            pattern("code", &["57014"]),
            pattern("none", &[]),
        ];
        let playbook = Playbook { patterns };
        let name = |sqlstate| playbook.find(sqlstate).map(|pattern| pattern.name.as_str());
        assert_eq!(name("57014"), Some("code"));
        assert_eq!(name("57P01"), Some("class"));
        assert_eq!(name("23505"), None);
    }
}
