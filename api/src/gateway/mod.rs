//! What happens to every request before and after its handler, as the endpoint's rows in the database say.
//!
//! * [`catalogue`] turns declarations into rows; [`store`] writes and reads them.
//! * [`settings`] judges rows: what cannot be obeyed is refused with the reason.
//! * [`watch`] keeps what is in force up to date while the service runs.
//! * `pass` is the layer around every handler: limits, the cache, the answer's form.

pub mod catalogue;
pub mod config;
pub(crate) mod pass;
pub mod settings;
pub mod store;
pub mod watch;

pub use config::{GatewayConfig, TlsFiles, WithoutRedis};
pub use settings::{InForce, Refusal, Settings};
pub use store::publish;

use std::sync::{Arc, PoisonError, RwLock};

use metrics::gauge;
use serde_json::Value;

use crate::cache::Cache;
use crate::document;
use crate::limits::Limiter;
use crate::metrics::GATEWAY_REFUSED_ROWS;
use crate::redis::Redis;
use catalogue::Declared;
use settings::Rows;

/// What the layer around handlers works with.
pub struct Gateway {
    declared: Vec<Declared>,
    in_force: RwLock<Arc<InForce>>,
    document: RwLock<Arc<Value>>,
    requires_auth: bool,
    /// Counts requests.
    pub limiter: Limiter,
    /// Keeps answers.
    pub cache: Cache,
}

impl Gateway {
    /// With the declarations in force. `requires_auth`: callers must say who they are. A Redis whose address is
    /// none is not used, which the log says.
    pub fn new(config: &GatewayConfig, requires_auth: bool) -> Self {
        let redis = config.redis_url.as_deref().and_then(|url| {
            match Redis::new(url, config.redis_timeout) {
                Ok(redis) => Some(Arc::new(redis)),
                Err(error) => {
                    tracing::error!(%error, "Redis is not used");
                    None
                }
            }
        });
        let declared = catalogue::rows();
        let in_force = InForce::declared(&declared);
        let document = document::in_force(&in_force, requires_auth);
        Self {
            declared,
            in_force: RwLock::new(Arc::new(in_force)),
            document: RwLock::new(Arc::new(document)),
            requires_auth,
            limiter: Limiter::new(redis.clone(), config.limits_without_redis),
            cache: Cache::new(config.cache_bytes, config.stale_for, redis),
        }
    }

    /// What is in force.
    pub fn in_force(&self) -> Arc<InForce> {
        self.in_force.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The OpenAPI document, as it is in force.
    pub fn document(&self) -> Arc<Value> {
        self.document.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes over what can be obeyed of `rows`, and says what cannot.
    pub fn obey(&self, rows: &Rows) {
        let before = self.in_force();
        let mut in_force = (*before).clone();
        in_force.obey(&self.declared, rows);
        gauge!(GATEWAY_REFUSED_ROWS).set(in_force.refused.len() as f64);
        for Refusal { table, row, reason } in &in_force.refused {
            if !before.refused.iter().any(|one| one.row == *row && one.reason == *reason) {
                tracing::error!(
                    table,
                    row,
                    reason,
                    "a row cannot be obeyed; what was in force stays"
                );
            }
        }
        let document = document::in_force(&in_force, self.requires_auth);
        *self.document.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(document);
        *self.in_force.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(in_force);
        tracing::info!("the gateway's rows are in force");
    }
}
