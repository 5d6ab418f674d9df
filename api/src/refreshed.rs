//! A value that somebody reads anew from time to time while others use it.

use std::sync::{Arc, PoisonError, RwLock};

/// The newest value, shared by all clones.
#[derive(Debug, Default)]
pub struct Refreshed<T>(Arc<RwLock<Arc<T>>>);

impl<T> Clone for Refreshed<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Refreshed<T> {
    /// Begins with `value`.
    pub fn new(value: T) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(value))))
    }

    /// The value as it is now.
    pub fn now(&self) -> Arc<T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces it for those who ask from now on.
    pub fn set(&self, value: T) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(value);
    }
}
