//! Consumer groups: who owns which partition, and what has been committed.
//!
//! Partitions are spread over the members in order of joining. When that changes, a partition
//! first has to be released by its old owner (or the old owner has to be gone).

use std::collections::BTreeMap;

use crate::BusError;
use crate::record::{Offsets, TopicPartition};

#[derive(Default)]
struct Member {
    subscribed: Vec<TopicPartition>,
    /// Owned, with the next offset to deliver.
    positions: Vec<(TopicPartition, i64)>,
}

#[derive(Default)]
struct Group {
    members: BTreeMap<u64, Member>,
    expelled: BTreeMap<u64, Vec<TopicPartition>>,
    committed: Offsets,
}

impl Group {
    /// The member that should own `partition`.
    fn target(&self, partition: &TopicPartition) -> Option<u64> {
        let takers: Vec<u64> = self
            .members
            .iter()
            .filter(|(_, member)| member.subscribed.contains(partition))
            .map(|(id, _)| *id)
            .collect();
        (!takers.is_empty()).then(|| takers[partition.partition as usize % takers.len()])
    }

    fn owner(&self, partition: &TopicPartition) -> Option<u64> {
        let owns = |member: &Member| member.positions.iter().any(|(owned, _)| owned == partition);
        self.members.iter().find(|(_, member)| owns(member)).map(|(id, _)| *id)
    }
}

/// Every group.
#[derive(Default)]
pub(super) struct Groups {
    groups: BTreeMap<String, Group>,
    members: u64,
}

impl Groups {
    pub(super) fn join(&mut self, group: &str, subscribed: Vec<TopicPartition>) -> u64 {
        self.members += 1;
        let member = Member { subscribed, positions: Vec::new() };
        self.groups.entry(group.to_owned()).or_default().members.insert(self.members, member);
        self.members
    }

    pub(super) fn leave(&mut self, group: &str, member: u64) {
        if let Some(group) = self.groups.get_mut(group) {
            group.members.remove(&member);
            group.expelled.remove(&member);
        }
    }

    pub(super) fn expel(&mut self, group: &str, member: u64) {
        if let Some(group) = self.groups.get_mut(group)
            && let Some(gone) = group.members.remove(&member)
        {
            let lost = gone.positions.into_iter().map(|(partition, _)| partition).collect();
            group.expelled.insert(member, lost);
        }
    }

    pub(super) fn is_member(&self, group: &str, member: u64) -> bool {
        self.groups.get(group).is_some_and(|group| group.members.contains_key(&member))
    }

    pub(super) fn take_lost(&mut self, group: &str, member: u64) -> Option<Vec<TopicPartition>> {
        self.groups.get_mut(group)?.expelled.remove(&member)
    }

    /// What `member` owns and should give up.
    pub(super) fn to_release(&self, group: &str, member: u64) -> Vec<TopicPartition> {
        let Some(group) = self.groups.get(group) else { return Vec::new() };
        let owned = group.members.get(&member).into_iter().flat_map(|member| &member.positions);
        let owned = owned.map(|(partition, _)| partition);
        owned.filter(|partition| group.target(partition) != Some(member)).cloned().collect()
    }

    /// What `member` should own and nobody owns.
    pub(super) fn to_start(&self, group: &str, member: u64) -> Vec<TopicPartition> {
        let Some(group) = self.groups.get(group) else { return Vec::new() };
        let wanted = group.members.get(&member).into_iter().flat_map(|member| &member.subscribed);
        wanted
            .filter(|partition| group.target(partition) == Some(member))
            .filter(|partition| group.owner(partition).is_none())
            .cloned()
            .collect()
    }

    /// `member` owns `partitions` from now on. They are taken from it no earlier than it has started, so
    /// that what it restores before that is not changed by anybody else.
    pub(super) fn hand_over(&mut self, group: &str, member: u64, partitions: &[TopicPartition]) {
        let Some(group) = self.groups.get_mut(group) else { return };
        if let Some(member) = group.members.get_mut(&member) {
            member.positions.extend(partitions.iter().map(|partition| (partition.clone(), 0)));
        }
    }

    /// `member` reads its `partitions` from `starts`, else the commit, else the earliest.
    pub(super) fn start(
        &mut self,
        group: &str,
        member: u64,
        partitions: &[TopicPartition],
        starts: &Offsets,
    ) {
        let Some(group) = self.groups.get_mut(group) else { return };
        let Some(member) = group.members.get_mut(&member) else { return };
        for (partition, position) in &mut member.positions {
            if partitions.contains(partition) {
                let start = starts.get(partition).or_else(|| group.committed.get(partition));
                *position = start.copied().unwrap_or(0);
            }
        }
    }

    pub(super) fn released(&mut self, group: &str, member: u64, partitions: &[TopicPartition]) {
        if let Some(member) =
            self.groups.get_mut(group).and_then(|group| group.members.get_mut(&member))
        {
            member.positions.retain(|(partition, _)| !partitions.contains(partition));
        }
    }

    pub(super) fn positions(&mut self, group: &str, member: u64) -> &mut [(TopicPartition, i64)] {
        let member = self.groups.get_mut(group).and_then(|group| group.members.get_mut(&member));
        member.map_or(&mut [], |member| &mut member.positions)
    }

    pub(super) fn commit(
        &mut self,
        group_name: &str,
        member: u64,
        offsets: &Offsets,
    ) -> Result<(), BusError> {
        let fenced = || BusError::Fenced(format!("group {group_name}, member {member}"));
        let group = self.groups.get_mut(group_name).ok_or_else(fenced)?;
        // As Kafka does, a member is believed whatever it says of its group's partitions.
        if !group.members.contains_key(&member) {
            return Err(fenced());
        }
        group.committed.extend(offsets.iter().map(|(tp, offset)| (tp.clone(), *offset)));
        Ok(())
    }

    pub(super) fn committed(&self, group: &str, topic: &str) -> Offsets {
        let committed = self.groups.get(group).into_iter().flat_map(|group| &group.committed);
        let committed = committed.filter(|(partition, _)| partition.topic == topic);
        committed.map(|(partition, offset)| (partition.clone(), *offset)).collect()
    }

    /// The offset below which every group that reads `partition` has committed; none when no
    /// group reads it.
    pub(super) fn consumed_by_all(&self, partition: &TopicPartition) -> Option<i64> {
        let readers = self.groups.values().filter(|group| group.target(partition).is_some());
        readers.map(|group| group.committed.get(partition).copied().unwrap_or(0)).min()
    }
}
