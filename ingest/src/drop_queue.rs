//! The bounded queue between the thread that captures and the task that sends.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// What happens when a picture comes and the queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenFull {
    /// The oldest makes room: for live sources, which do not wait.
    DropOldest,
    /// The newest waits: for files, of which nothing may be lost.
    Wait,
}

/// How many items went which way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Handed in.
    pub pushed: u64,
    /// Taken out.
    pub delivered: u64,
    /// Made room for newer ones.
    pub dropped: u64,
}

/// The queue is closed; the item is given back.
#[derive(Debug, PartialEq, Eq)]
pub struct Closed<T>(pub T);

/// A bounded queue in order of arrival. Any number of threads push; one task pops.
#[derive(Debug)]
pub struct DropQueue<T> {
    capacity: usize,
    when_full: WhenFull,
    state: Mutex<State<T>>,
    room: Condvar,
    arrival: Notify,
}

#[derive(Debug)]
struct State<T> {
    items: VecDeque<T>,
    closed: bool,
    totals: Totals,
}

impl<T> DropQueue<T> {
    /// Holds at most `capacity` items (at least 1).
    pub fn new(capacity: usize, when_full: WhenFull) -> Self {
        let capacity = capacity.max(1);
        let items = VecDeque::with_capacity(capacity);
        let state = Mutex::new(State { items, closed: false, totals: Totals::default() });
        Self { capacity, when_full, state, room: Condvar::new(), arrival: Notify::new() }
    }

    /// Hands an item in; waits for room if that is the policy, so call it from a thread that may
    /// block. Returns what had to make room.
    pub fn push(&self, item: T) -> Result<Option<T>, Closed<T>> {
        let mut state = self.lock();
        if self.when_full == WhenFull::Wait {
            let full = |state: &mut State<T>| state.items.len() >= self.capacity && !state.closed;
            state = self.room.wait_while(state, full).unwrap_or_else(PoisonError::into_inner);
        }
        if state.closed {
            return Err(Closed(item));
        }
        let full = state.items.len() >= self.capacity;
        let oldest = if full { state.items.pop_front() } else { None };
        state.totals.dropped += u64::from(oldest.is_some());
        state.totals.pushed += 1;
        state.items.push_back(item);
        drop(state);
        self.arrival.notify_one();
        Ok(oldest)
    }

    /// Takes the oldest item; waits until there is one. None once the queue is closed and
    /// empty. Cancel-safe; for one task at a time.
    pub async fn pop(&self) -> Option<T> {
        loop {
            {
                let mut state = self.lock();
                if let Some(item) = self.take(&mut state) {
                    return Some(item);
                }
                if state.closed {
                    return None;
                }
            }
            // A push between the look and here has left a permit behind.
            self.arrival.notified().await;
        }
    }

    /// Takes the oldest item if there is one.
    pub fn try_pop(&self) -> Option<T> {
        self.take(&mut self.lock())
    }

    /// Takes no more items; what is inside can still be popped. Whoever waits in
    /// [`push`](Self::push) gets the item back.
    pub fn close(&self) {
        self.lock().closed = true;
        self.room.notify_all();
        self.arrival.notify_one();
    }

    /// How many items went which way so far. `pushed = delivered + dropped + what is inside`.
    pub fn totals(&self) -> Totals {
        self.lock().totals
    }

    /// How many items are inside.
    pub fn len(&self) -> usize {
        self.lock().items.len()
    }

    /// Whether nothing is inside.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn take(&self, state: &mut State<T>) -> Option<T> {
        let item = state.items.pop_front()?;
        state.totals.delivered += 1;
        self.room.notify_one();
        Some(item)
    }

    /// No code panics while it holds the lock, so a poisoned state is still whole.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::Arc;

    #[test]
    fn the_oldest_makes_room() {
        let queue = DropQueue::new(2, WhenFull::DropOldest);
        assert_eq!(queue.push(1), Ok(None));
        assert_eq!(queue.push(2), Ok(None));
        assert_eq!(queue.push(3), Ok(Some(1)));
        assert_eq!((queue.try_pop(), queue.try_pop(), queue.try_pop()), (Some(2), Some(3), None));
        assert_eq!(queue.totals(), Totals { pushed: 3, delivered: 2, dropped: 1 });
    }

    proptest! {
        #[test]
        fn what_comes_out_is_in_order_and_ends_with_the_newest(
            capacity in 1usize..6,
            steps in proptest::collection::vec(any::<bool>(), 1..200),
        ) {
            let queue = DropQueue::new(capacity, WhenFull::DropOldest);
            let (mut pushed, mut out, mut dropped) = (0, Vec::new(), Vec::new());
            for push in steps {
                if push {
                    dropped.extend(queue.push(pushed).expect("open"));
                    pushed += 1;
                } else {
                    out.extend(queue.try_pop());
                }
                prop_assert!(queue.len() <= capacity);
            }
            out.extend(std::iter::from_fn(|| queue.try_pop()));
            prop_assert!(out.windows(2).all(|pair| pair[0] < pair[1]));
            prop_assert_eq!(out.last().copied(), (pushed > 0).then(|| pushed - 1));
            let totals = queue.totals();
            prop_assert_eq!(totals.delivered + totals.dropped, totals.pushed);
            prop_assert_eq!(totals.dropped as usize, dropped.len());
            let mut all = [out, dropped].concat();
            all.sort_unstable();
            prop_assert_eq!(all, (0..pushed).collect::<Vec<_>>());
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn files_wait_and_lose_nothing() {
        let queue = Arc::new(DropQueue::new(3, WhenFull::Wait));
        let pushing = Arc::clone(&queue);
        let thread = std::thread::spawn(move || {
            (0..5000).for_each(|i| assert_eq!(pushing.push(i), Ok(None)));
            pushing.close();
        });
        let mut out = Vec::new();
        while let Some(item) = queue.pop().await {
            out.push(item);
        }
        thread.join().expect("the thread");
        assert_eq!(out, (0..5000).collect::<Vec<_>>());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn live_sources_drop_and_end_with_the_newest() {
        let queue = Arc::new(DropQueue::new(3, WhenFull::DropOldest));
        let pushing = Arc::clone(&queue);
        let thread = std::thread::spawn(move || {
            (0..5000).for_each(|i| assert!(pushing.push(i).is_ok()));
            pushing.close();
        });
        let mut out = Vec::new();
        while let Some(item) = queue.pop().await {
            out.push(item);
        }
        thread.join().expect("the thread");
        assert!(out.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(out.last(), Some(&4999));
        let totals = queue.totals();
        assert_eq!((totals.pushed, totals.delivered), (5000, out.len() as u64));
        assert_eq!(totals.delivered + totals.dropped, 5000);
    }

    #[tokio::test]
    async fn closing_lets_go_of_whoever_waits() {
        let queue = Arc::new(DropQueue::new(1, WhenFull::Wait));
        assert_eq!(queue.push(1), Ok(None));
        let pushing = Arc::clone(&queue);
        let thread = std::thread::spawn(move || pushing.push(2));
        queue.close();
        assert_eq!(thread.join().expect("the thread"), Err(Closed(2)));
        assert_eq!((queue.pop().await, queue.pop().await), (Some(1), None));
    }
}
