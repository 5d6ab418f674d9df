//! Which offsets may be committed: pure bookkeeping, no bus.
//!
//! Per owned partition the ledger knows the next offset that is wanted and the next that may be
//! committed. Work is finished in the order in which it was taken, so what may be
//! committed is always a contiguous prefix.

use std::collections::BTreeMap;

use crate::record::{Offsets, TopicPartition};

/// What to do with a record that has arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// New: work on it, under this ticket.
    New(Ticket),
    /// Of a partition that is not ours, or already seen: pass it over.
    Stale,
}

/// A record's place in one assignment of its partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    assignment: u64,
    offset: i64,
}

#[derive(Debug)]
struct Position {
    assignment: u64,
    next_taken: i64,
    next_commit: Option<i64>,
}

/// Positions of the partitions that are owned now.
#[derive(Debug, Default)]
pub struct Ledger {
    assignments: u64,
    owned: BTreeMap<TopicPartition, Position>,
    in_flight: usize,
}

impl Ledger {
    /// Takes ownership; offsets begin wherever the first record says.
    pub fn assign(&mut self, partition: TopicPartition) {
        self.assignments += 1;
        let position =
            Position { assignment: self.assignments, next_taken: i64::MIN, next_commit: None };
        self.owned.insert(partition, position);
    }

    /// Gives up ownership: whatever is in flight there will be refused by [`Ledger::finish`].
    pub fn revoke(&mut self, partition: &TopicPartition) {
        self.owned.remove(partition);
    }

    /// Number of partitions owned.
    pub fn owned(&self) -> usize {
        self.owned.len()
    }

    /// Records taken and not yet finished.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// A record has arrived.
    pub fn take(&mut self, partition: &TopicPartition, offset: i64) -> Taken {
        match self.owned.get_mut(partition) {
            Some(position) if offset >= position.next_taken => {
                position.next_taken = offset + 1;
                self.in_flight += 1;
                Taken::New(Ticket { assignment: position.assignment, offset })
            }
            _ => Taken::Stale,
        }
    }

    /// The record's work is done. False when its partition has been taken away since (even if it
    /// has come back): the result must be discarded.
    #[must_use]
    pub fn finish(&mut self, partition: &TopicPartition, ticket: Ticket) -> bool {
        self.in_flight -= 1;
        match self.owned.get_mut(partition) {
            Some(position) if position.assignment == ticket.assignment => {
                debug_assert!(position.next_commit.is_none_or(|next| next <= ticket.offset));
                position.next_commit = Some(ticket.offset + 1);
                true
            }
            _ => false,
        }
    }

    /// The offsets that may be committed once the finished work has taken effect.
    pub fn committable(&self) -> Offsets {
        let ready = self.owned.iter();
        ready.filter_map(|(tp, position)| Some((tp.clone(), position.next_commit?))).collect()
    }

    /// These offsets have been committed.
    pub fn committed(&mut self, offsets: &Offsets) {
        for (partition, offset) in offsets {
            if let Some(position) = self.owned.get_mut(partition)
                && position.next_commit == Some(*offset)
            {
                position.next_commit = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket(taken: Taken) -> Ticket {
        match taken {
            Taken::New(ticket) => ticket,
            Taken::Stale => panic!("stale"),
        }
    }

    #[test]
    fn only_finished_work_may_be_committed() {
        let (mut ledger, tp) = (Ledger::default(), TopicPartition::new("t", 0));
        ledger.assign(tp.clone());
        let first = ticket(ledger.take(&tp, 5));
        let second = ticket(ledger.take(&tp, 7));
        assert_eq!((ledger.committable(), ledger.in_flight()), (Offsets::new(), 2));
        assert!(ledger.finish(&tp, first));
        assert_eq!(ledger.committable(), Offsets::from([(tp.clone(), 6)]));
        assert!(ledger.finish(&tp, second));
        let ready = ledger.committable();
        assert_eq!(ready, Offsets::from([(tp.clone(), 8)]));
        ledger.committed(&ready);
        assert_eq!((ledger.committable(), ledger.in_flight()), (Offsets::new(), 0));
    }

    #[test]
    fn repeated_and_foreign_records_are_stale() {
        let (mut ledger, tp) = (Ledger::default(), TopicPartition::new("t", 0));
        assert_eq!(ledger.take(&tp, 0), Taken::Stale);
        ledger.assign(tp.clone());
        ticket(ledger.take(&tp, 3));
        assert_eq!(ledger.take(&tp, 3), Taken::Stale);
        assert_eq!(ledger.take(&tp, 2), Taken::Stale);
        assert_eq!(ledger.take(&TopicPartition::new("t", 1), 9), Taken::Stale);
    }

    #[test]
    fn work_of_an_earlier_assignment_is_refused() {
        let (mut ledger, tp) = (Ledger::default(), TopicPartition::new("t", 0));
        ledger.assign(tp.clone());
        let old = ticket(ledger.take(&tp, 3));
        ledger.revoke(&tp);
        ledger.assign(tp.clone());
        assert!(!ledger.finish(&tp, old));
        assert_eq!(ledger.committable(), Offsets::new());
        let again = ticket(ledger.take(&tp, 3));
        assert!(ledger.finish(&tp, again));
    }
}
