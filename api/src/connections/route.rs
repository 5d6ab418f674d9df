//! Which server is asked. Values in, values out.

use std::time::Duration;

use super::lag::Lsn;

/// What a server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeRole {
    /// Takes writes.
    Primary,
    /// Follows a primary.
    Replica,
}

impl NodeRole {
    /// Its name in tables and metrics.
    pub fn name(role: Option<Self>) -> &'static str {
        match role {
            Some(NodeRole::Primary) => "primary",
            Some(NodeRole::Replica) => "replica",
            None => "unknown",
        }
    }
}

/// A server as it was last seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NodeView {
    /// What it is; none until it has answered.
    pub role: Option<NodeRole>,
    /// Its history: each promotion begins a higher one.
    pub timeline: i32,
    /// Whether it answered when it was last looked after.
    pub is_reachable: bool,
    /// Replicas: how far they are behind; none while no primary was seen.
    pub lag: Option<Duration>,
    /// Replicas: up to where they have what the primary wrote.
    pub replayed: Option<Lsn>,
}

/// How reads are shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sharing {
    /// Percentage of the reads that go to replicas.
    pub read_distribution_percent: u8,
    /// A replica that is further behind is left.
    pub max_replica_lag: Duration,
    /// Whether another server than the first may become the primary, and replicas are read from.
    pub failover_enabled: bool,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// The primary.
    Write,
    /// Any server that has everything up to this position.
    Read {
        /// Where the caller's own last write is.
        after: Option<Lsn>,
    },
}

/// The server that takes writes: of those that say they do, the one with the newest history. While none
/// says so, the first one, which is configured as such.
pub fn primary(nodes: &[NodeView], sharing: Sharing) -> usize {
    if !sharing.failover_enabled {
        return 0;
    }
    let primaries =
        nodes.iter().enumerate().filter(|(_, node)| node.role == Some(NodeRole::Primary));
    // One that no longer answers still is the primary until another one says so.
    primaries
        .rev()
        .max_by_key(|(_, node)| (node.timeline, node.is_reachable))
        .map_or(0, |(index, _)| index)
}

/// The servers to ask, the best first. `draw` is from 0 to 99 and shares the reads; `turn` shares them
/// among replicas.
pub fn order(
    nodes: &[NodeView],
    need: Need,
    sharing: Sharing,
    draw: u8,
    turn: usize,
) -> Vec<usize> {
    let primary = primary(nodes, sharing);
    let Need::Read { after } = need else { return vec![primary] };
    let can_be_read = |node: &NodeView| {
        node.role == Some(NodeRole::Replica)
            && node.is_reachable
            // Without a primary nobody is behind: nothing new is written.
            && node.lag.is_none_or(|lag| lag <= sharing.max_replica_lag)
            && after.is_none_or(|after| node.replayed.is_some_and(|replayed| replayed >= after))
    };
    let mut replicas: Vec<usize> = Vec::new();
    if sharing.failover_enabled {
        let readable =
            nodes.iter().enumerate().filter(|(i, node)| *i != primary && can_be_read(node));
        replicas.extend(readable.map(|(index, _)| index));
    }
    if !replicas.is_empty() {
        let first = turn % replicas.len();
        replicas.rotate_left(first);
    }
    let replica_first = draw < sharing.read_distribution_percent || !nodes[primary].is_reachable;
    let position = if replica_first { replicas.len() } else { 0 };
    replicas.insert(position, primary);
    replicas
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    const SHARING: Sharing = Sharing {
        read_distribution_percent: 80,
        max_replica_lag: Duration::from_secs(5),
        failover_enabled: true,
    };

    fn primary_node(timeline: i32, is_reachable: bool) -> NodeView {
        NodeView {
            role: Some(NodeRole::Primary),
            timeline,
            is_reachable,
            lag: None,
            replayed: None,
        }
    }

    fn replica(lag_s: u64, replayed: Lsn, is_reachable: bool) -> NodeView {
        NodeView {
            role: Some(NodeRole::Replica),
            timeline: 1,
            is_reachable,
            lag: Some(Duration::from_secs(lag_s)),
            replayed: Some(replayed),
        }
    }

    #[rstest]
    #[case(79, None, replica(0, 10, true), &[1, 0])]
    #[case(80, None, replica(0, 10, true), &[0, 1])]
    // Too far behind, gone, or without the caller's own write.
    #[case(0, None, replica(6, 10, true), &[0])]
    #[case(0, None, replica(0, 10, false), &[0])]
    #[case(0, Some(11), replica(0, 10, true), &[0])]
    #[case(0, Some(10), replica(0, 10, true), &[1, 0])]
    fn reads_are_shared(
        #[case] draw: u8,
        #[case] after: Option<Lsn>,
        #[case] replica: NodeView,
        #[case] expected: &[usize],
    ) {
        let nodes = [primary_node(1, true), replica];
        assert_eq!(order(&nodes, Need::Read { after }, SHARING, draw, 0), expected);
        assert_eq!(order(&nodes, Need::Write, SHARING, draw, 0), [0]);
    }

    #[test]
    fn a_promoted_replica_is_the_primary() {
        let nodes = [primary_node(1, true), primary_node(2, true)];
        assert_eq!(primary(&nodes, SHARING), 1, "the old one does not know yet");
        let nodes = [replica(0, 1, true), primary_node(2, true)];
        assert_eq!(primary(&nodes, SHARING), 1);
        assert_eq!(primary(&nodes, Sharing { failover_enabled: false, ..SHARING }), 0);
        assert_eq!(primary(&[NodeView::default(); 2], SHARING), 0, "nobody was seen yet");
    }

    #[test]
    fn while_the_primary_is_away_replicas_are_read() {
        let nodes = [primary_node(1, false), replica(0, 1, true), replica(0, 1, true)];
        assert_eq!(order(&nodes, Need::Read { after: None }, SHARING, 99, 0), [1, 2, 0]);
        assert_eq!(order(&nodes, Need::Read { after: None }, SHARING, 0, 1), [2, 1, 0]);
        assert_eq!(order(&nodes, Need::Write, SHARING, 0, 0), [0]);
    }
}
