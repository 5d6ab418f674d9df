//! Where a client is in the count topics: the next offset of each partition. Values in, values out.

use std::fmt;

/// Longest id that is looked at, in bytes.
const MAX_BYTES: usize = 8 << 10;
/// Before the topics, so that another form can follow one day.
const FORM: &str = "1";
/// Most partitions of one topic.
const MAX_PARTITIONS: usize = 512;

/// The next offset of each partition, topic by topic, in the order of [`super::event::TOPICS`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position(pub Vec<Vec<i64>>);

/// Why a client cannot go on from a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misfit {
    /// It names a partition or an offset that there has never been: it is of other topics.
    Foreign,
}

impl Position {
    /// Reads an id, which [`fmt::Display`] wrote, for `topics` topics.
    pub fn parse(id: &str, topics: usize) -> Option<Self> {
        if id.len() > MAX_BYTES {
            return None;
        }
        let (form, rest) = id.split_once(';')?;
        let offsets: Option<Vec<Vec<i64>>> = rest.split(';').map(partitions).collect();
        let offsets = offsets.filter(|offsets| form == FORM && offsets.len() == topics)?;
        Some(Self(offsets))
    }

    /// The record `offset` of a partition has been seen.
    pub fn seen(&mut self, topic: usize, partition: usize, offset: i64) {
        let place = self.0.get_mut(topic).and_then(|partitions| partitions.get_mut(partition));
        if let Some(next) = place {
            *next = (*next).max(offset + 1);
        }
    }

    /// Fits the position to what is there: `ends` are the first and the next offsets of every partition. New
    /// partitions are read from their beginning, and what has been deleted is passed over. Says whether anything was.
    pub fn fit(&mut self, ends: &[Vec<(i64, i64)>]) -> Result<bool, Misfit> {
        let mut lost = false;
        for (topic, ends) in self.0.iter_mut().zip(ends) {
            if topic.len() > ends.len() {
                return Err(Misfit::Foreign);
            }
            topic.resize(ends.len(), 0);
            for (next, (low, high)) in topic.iter_mut().zip(ends) {
                if *next > *high {
                    return Err(Misfit::Foreign);
                }
                lost |= *next < *low;
                *next = (*next).max(*low);
            }
        }
        Ok(lost)
    }

    /// A partition of which this position has not seen all that `other` has: topic, partition, next offset and end.
    pub fn behind(&self, other: &Self) -> Option<(usize, usize, i64, i64)> {
        let topics = self.0.iter().zip(&other.0).enumerate();
        topics.into_iter().find_map(|(topic, (mine, theirs))| {
            let mut partitions = mine.iter().zip(theirs).enumerate();
            let (partition, (from, until)) = partitions.find(|(_, (from, until))| from < until)?;
            Some((topic, partition, *from, *until))
        })
    }
}

fn partitions(text: &str) -> Option<Vec<i64>> {
    let digits = |offset: &str| {
        let all = !offset.is_empty() && offset.bytes().all(|byte| byte.is_ascii_digit());
        // One beyond it must be a number, too.
        offset.parse().ok().filter(|offset| all && *offset < i64::MAX)
    };
    let offsets: Option<Vec<i64>> = text.split(',').map(digits).collect();
    offsets.filter(|offsets| offsets.len() <= MAX_PARTITIONS)
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(FORM)?;
        for topic in &self.0 {
            for (i, offset) in topic.iter().enumerate() {
                write!(f, "{}{offset}", if i == 0 { ';' } else { ',' })?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    #[rstest]
    #[case("")]
    #[case("1")]
    #[case("1;1,2")]
    #[case("1;1,2;3;4")]
    #[case("2;1,2;3")]
    #[case("1;1,;3")]
    #[case("1;;3")]
    #[case("1;-1;3")]
    #[case("1;+1;3")]
    #[case("1;1.5;3")]
    #[case("1;9223372036854775807;3")]
    #[case("1;99999999999999999999;3")]
    #[case("b2a1937a-0258-5252-abf1-f14b5f259296")]
    fn what_is_no_position_is_refused(#[case] id: &str) {
        assert_eq!(Position::parse(id, 2), None);
    }

    #[test]
    fn an_id_has_a_bound() {
        let id = format!("1;{};3", vec!["1"; MAX_PARTITIONS + 1].join(","));
        assert_eq!(Position::parse(&id, 2), None);
        assert_eq!(Position::parse(&format!("1;{};3", "1".repeat(MAX_BYTES)), 2), None);
    }

    #[test]
    fn what_was_seen_moves_one_partition_and_never_back() {
        let mut position = Position(vec![vec![5, 7], vec![0]]);
        position.seen(0, 1, 9);
        position.seen(0, 1, 8);
        position.seen(3, 0, 1);
        position.seen(0, 2, 1);
        assert_eq!(position.to_string(), "1;5,10;0");
    }

    #[rstest]
    // All there.
    #[case(&[(0, 9), (2, 9)], Ok(false), "1;5,7")]
    // A partition is new.
    #[case(&[(0, 9), (2, 9), (0, 4)], Ok(false), "1;5,7,0")]
    // Deleted meanwhile.
    #[case(&[(6, 9), (2, 9)], Ok(true), "1;6,7")]
    // Of other topics.
    #[case(&[(0, 9)], Err(Misfit::Foreign), "")]
    #[case(&[(0, 4), (0, 9)], Err(Misfit::Foreign), "")]
    fn a_position_fits_what_is_there(
        #[case] ends: &[(i64, i64)],
        #[case] lost: Result<bool, Misfit>,
        #[case] fitted: &str,
    ) {
        let mut position = Position(vec![vec![5, 7]]);
        assert_eq!(position.fit(&[ends.to_vec()]), lost);
        if lost.is_ok() {
            assert_eq!(position.to_string(), fitted);
        }
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_back(
            offsets in prop::collection::vec(prop::collection::vec(0..i64::MAX - 1, 1..20), 1..6)
        ) {
            let position = Position(offsets.clone());
            prop_assert_eq!(Position::parse(&position.to_string(), offsets.len()), Some(position));
        }

        #[test]
        fn nonsense_never_panics(text in ".{0,60}") {
            Position::parse(&text, 2);
        }

        /// Taking whatever is behind, piece by piece, ends where the other is.
        #[test]
        fn who_is_behind_catches_up(
            pairs in prop::collection::vec(prop::collection::vec((0..50_i64, 0..50_i64), 1..4), 1..4),
            piece in 1..20_i64,
        ) {
            let of = |pick: fn(&(i64, i64)) -> i64| {
                Position(pairs.iter().map(|topic| topic.iter().map(pick).collect()).collect())
            };
            let (mut mine, theirs) = (of(|pair| pair.0), of(|pair| pair.1));
            while let Some((topic, partition, from, until)) = mine.behind(&theirs) {
                prop_assert!(from < until);
                mine.seen(topic, partition, (from + piece).min(until) - 1);
            }
            for (mine, (theirs, pairs)) in mine.0.iter().zip(theirs.0.iter().zip(&pairs)) {
                for (mine, (theirs, pair)) in mine.iter().zip(theirs.iter().zip(pairs)) {
                    prop_assert_eq!(*mine, (*theirs).max(pair.0));
                }
            }
        }
    }
}
