//! Cycles of a graph: its strongly connected components of two nodes or more.

use std::collections::{BTreeMap, BTreeSet};

/// Returns the cycles among the nodes that the arrows name.
pub fn cycles<Node: Ord + Clone>(arrows: &BTreeSet<(Node, Node)>) -> Vec<BTreeSet<Node>> {
    let mut reached: BTreeMap<&Node, BTreeSet<&Node>> = BTreeMap::new();
    let mut next: BTreeMap<&Node, Vec<&Node>> = BTreeMap::new();
    for (from, to) in arrows {
        next.entry(from).or_default().push(to);
    }
    for node in next.keys() {
        let mut open: Vec<&Node> = next[node].clone();
        let from = reached.entry(node).or_default();
        while let Some(at) = open.pop() {
            if from.insert(at) {
                open.extend(next.get(at).into_iter().flatten());
            }
        }
    }
    let mut found: Vec<BTreeSet<Node>> = Vec::new();
    for (node, from) in &reached {
        if found.iter().any(|cycle| cycle.contains(*node)) {
            continue;
        }
        let back = |other: &&&Node| reached.get(*other).is_some_and(|reached| reached.contains(node));
        let mut cycle: BTreeSet<Node> = from.iter().filter(back).map(|other| (*other).clone()).collect();
        cycle.insert((*node).clone());
        if cycle.len() > 1 {
            found.push(cycle);
        }
    }
    found
}
