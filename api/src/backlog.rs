//! What waits to be written, off the path of requests: never more than so many, never waited for.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use metrics::counter;
use tokio::sync::Notify;

/// A bounded queue, shared by all clones. When it is full, what comes is dropped and counted.
#[derive(Debug)]
pub struct Backlog<T>(Arc<Inner<T>>);

#[derive(Debug)]
struct Inner<T> {
    waiting: Mutex<VecDeque<T>>,
    capacity: usize,
    dropped_total: &'static str,
    arrived: Notify,
}

impl<T> Clone for Backlog<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Backlog<T> {
    /// Empty. `dropped_total` names the counter of what finds it full.
    pub fn new(capacity: usize, dropped_total: &'static str) -> Self {
        let waiting = Mutex::new(VecDeque::new());
        Self(Arc::new(Inner { waiting, capacity, dropped_total, arrived: Notify::new() }))
    }

    /// Adds one, or drops it.
    pub fn push(&self, one: T) {
        let mut waiting = self.lock();
        if waiting.len() < self.0.capacity {
            waiting.push_back(one);
            drop(waiting);
            self.0.arrived.notify_one();
        } else {
            drop(waiting);
            counter!(self.0.dropped_total).increment(1);
        }
    }

    /// Waits until there is one, and takes up to `most`, the oldest first.
    pub async fn take(&self, most: usize) -> Vec<T> {
        loop {
            let arrived = self.0.arrived.notified();
            {
                let mut waiting = self.lock();
                if !waiting.is_empty() {
                    let count = waiting.len().min(most);
                    return waiting.drain(..count).collect();
                }
            }
            arrived.await;
        }
    }

    /// Puts back what could not be written, in front; what finds no room is dropped and counted.
    pub fn put_back(&self, taken: Vec<T>) {
        let mut waiting = self.lock();
        let room = self.0.capacity - waiting.len();
        // The newest of what comes back tell most of how things are now.
        let too_many = taken.len().saturating_sub(room);
        for one in taken.into_iter().skip(too_many).rev() {
            waiting.push_front(one);
        }
        drop(waiting);
        if too_many > 0 {
            counter!(self.0.dropped_total).increment(too_many as u64);
        }
        self.0.arrived.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<T>> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_never_holds_more_than_it_may() {
        let backlog = Backlog::new(3, "dropped_total");
        for n in 0..5 {
            backlog.push(n);
        }
        let taken = backlog.take(2).await;
        assert_eq!(taken, [0, 1]);
        backlog.push(5);
        backlog.put_back(taken);
        assert_eq!(backlog.take(10).await, [1, 2, 5]);
    }
}
