//! Optimal assignment on a sparse graph: every row takes one of its candidate columns or stays
//! alone at a price, and the sum of all costs is the least possible.
//!
//! Shortest augmenting paths with dual prices, as in Jonker and Volgenant, Computing 38 (1987). The
//! crates for this solve dense square matrices and allocate them anew for every frame; here only
//! candidates that passed the gate exist, and all memory is kept. The tests hold the result against
//! such a crate.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// A candidate: `column` at `cost`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// The column.
    pub column: u32,
    /// What the match costs; at least 0.
    pub cost: f32,
}

const NONE: u32 = u32::MAX;

/// The solver with its memory.
#[derive(Debug, Default)]
pub struct Assignment {
    /// `starts[i]..starts[i + 1]` are the candidates of row `i`.
    starts: Vec<u32>,
    candidates: Vec<Candidate>,
    column_of_row: Vec<u32>,
    row_of_column: Vec<u32>,
    column_price: Vec<f32>,
    distance: Vec<f32>,
    reached_from: Vec<u32>,
    settled: Vec<bool>,
    touched: Vec<u32>,
    heap: BinaryHeap<Reached>,
}

#[derive(Debug, PartialEq)]
struct Reached {
    distance: f32,
    column: u32,
}

impl Eq for Reached {}

impl Ord for Reached {
    // The heap pops its greatest: the nearest column, the lowest number among equals.
    fn cmp(&self, other: &Self) -> Ordering {
        other.distance.total_cmp(&self.distance).then(other.column.cmp(&self.column))
    }
}

impl PartialOrd for Reached {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Assignment {
    /// Starts a new problem.
    pub fn clear(&mut self) {
        self.starts.clear();
        self.starts.push(0);
        self.candidates.clear();
    }

    /// Adds a candidate to the row that is being written.
    pub fn push(&mut self, candidate: Candidate) {
        self.candidates.push(candidate);
    }

    /// Ends the row that is being written.
    pub fn end_row(&mut self) {
        self.starts.push(self.candidates.len() as u32);
    }

    /// Solves for `columns` columns; a row stays alone at `alone_cost`. Afterwards
    /// [`Assignment::column_of`] tells the result.
    pub fn solve(&mut self, columns: usize, alone_cost: f32) {
        let rows = self.starts.len() - 1;
        reset(&mut self.column_of_row, rows, NONE);
        reset(&mut self.row_of_column, columns, NONE);
        reset(&mut self.column_price, columns, 0.0);
        reset(&mut self.distance, columns, f32::INFINITY);
        reset(&mut self.reached_from, columns, NONE);
        reset(&mut self.settled, columns, false);
        for row in 0..rows {
            self.augment(row as u32, alone_cost);
        }
    }

    /// The column that `row` got.
    pub fn column_of(&self, row: usize) -> Option<usize> {
        let column = self.column_of_row[row];
        (column != NONE).then_some(column as usize)
    }

    /// Finds the cheapest way to give `row` a place, moving others if that pays. Row prices are
    /// implied: a matched row's price is its cost less its column's price.
    fn augment(&mut self, row: u32, alone_cost: f32) {
        self.touched.clear();
        self.heap.clear();
        // The cheapest end so far: `(distance, row that stays alone)` or a free column.
        let mut best_alone = (alone_cost, row);
        self.relax(row, 0.0);
        let mut end_column = NONE;
        while let Some(Reached { distance, column }) = self.heap.pop() {
            if distance >= best_alone.0 {
                break;
            }
            if self.settled[column as usize] {
                continue;
            }
            self.settled[column as usize] = true;
            let owner = self.row_of_column[column as usize];
            if owner == NONE {
                end_column = column;
                best_alone.0 = distance;
                break;
            }
            // Through `owner`: it gives the column up and looks elsewhere, or stays alone.
            let given_up = self.cost(owner, column) - self.column_price[column as usize];
            let base = distance - given_up;
            if base + alone_cost < best_alone.0 {
                best_alone = (base + alone_cost, owner);
            }
            self.relax(owner, base);
        }
        let shortest = best_alone.0;
        for &column in &self.touched {
            let column = column as usize;
            if self.settled[column] && self.distance[column] < shortest {
                self.column_price[column] += self.distance[column] - shortest;
            }
        }
        self.shift_matches(row, end_column, best_alone.1);
        for &column in &self.touched {
            let column = column as usize;
            self.distance[column] = f32::INFINITY;
            self.reached_from[column] = NONE;
            self.settled[column] = false;
        }
    }

    /// Moves every row on the way one column on.
    fn shift_matches(&mut self, row: u32, end_column: u32, alone: u32) {
        let mut column = end_column;
        if column == NONE {
            if alone == row {
                return;
            }
            column = self.column_of_row[alone as usize];
            self.column_of_row[alone as usize] = NONE;
        }
        loop {
            let taker = self.reached_from[column as usize];
            let freed = self.column_of_row[taker as usize];
            self.column_of_row[taker as usize] = column;
            self.row_of_column[column as usize] = taker;
            if taker == row {
                return;
            }
            column = freed;
        }
    }

    fn relax(&mut self, row: u32, base: f32) {
        for i in self.range(row) {
            let Candidate { column, cost } = self.candidates[i];
            let c = column as usize;
            let distance = base + cost - self.column_price[c];
            if !self.settled[c] && distance < self.distance[c] {
                if self.distance[c] == f32::INFINITY {
                    self.touched.push(column);
                }
                self.distance[c] = distance;
                self.reached_from[c] = row;
                self.heap.push(Reached { distance, column });
            }
        }
    }

    fn cost(&self, row: u32, column: u32) -> f32 {
        let own = &self.candidates[self.range(row)];
        own.iter().find(|c| c.column == column).map_or(f32::INFINITY, |c| c.cost)
    }

    fn range(&self, row: u32) -> std::ops::Range<usize> {
        self.starts[row as usize] as usize..self.starts[row as usize + 1] as usize
    }
}

fn reset<T: Clone>(values: &mut Vec<T>, len: usize, value: T) {
    values.clear();
    values.resize(len, value);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn total(costs: &[Vec<Option<f32>>], columns: usize, alone: f32) -> f32 {
        let mut solver = Assignment::default();
        solver.clear();
        for row in costs {
            for (column, cost) in row.iter().enumerate() {
                if let Some(cost) = cost {
                    solver.push(Candidate { column: column as u32, cost: *cost });
                }
            }
            solver.end_row();
        }
        solver.solve(columns, alone);
        let mut taken = vec![false; columns];
        let price = |row: usize| match solver.column_of(row) {
            None => alone,
            Some(column) => {
                assert!(!std::mem::replace(&mut taken[column], true), "column taken twice");
                costs[row][column].expect("a candidate")
            }
        };
        (0..costs.len()).map(price).sum()
    }

    /// The same by a dense solver: every row has a column of its own for staying alone.
    fn total_by_lapjv(costs: &[Vec<Option<f32>>], columns: usize, alone: f32) -> f64 {
        let rows = costs.len();
        let size = rows + columns;
        let matrix = lapjv::Matrix::from_shape_fn((size, size), |(row, column)| {
            if row >= rows {
                0.0
            } else if column < columns {
                costs[row][column].map_or(1e6, f64::from)
            } else {
                f64::from(alone)
            }
        });
        let (assigned, _) = lapjv::lapjv(&matrix).expect("a square matrix");
        (0..rows).map(|row| matrix[(row, assigned[row])]).sum()
    }

    proptest! {
        #[test]
        fn is_as_cheap_as_a_dense_solver(
            costs in (1usize..9, 1usize..9).prop_flat_map(|(rows, columns)| {
                let cell = proptest::option::weighted(0.6, 0.0f32..12.0);
                prop::collection::vec(prop::collection::vec(cell, columns), rows)
            }),
        ) {
            let columns = costs[0].len();
            let ours = f64::from(total(&costs, columns, 9.0));
            let dense = total_by_lapjv(&costs, columns, 9.0);
            prop_assert!((ours - dense).abs() < 1e-3, "{} against {}", ours, dense);
        }
    }

    #[test]
    fn moves_an_earlier_match_when_that_pays() {
        let costs = [vec![Some(1.0), Some(2.0)], vec![Some(1.0), None]];
        assert_eq!(total(&costs, 2, 9.0), 3.0);
    }

    #[test]
    fn leaves_the_dearer_of_two_alone() {
        let costs = [vec![Some(2.0)], vec![Some(1.0)]];
        assert_eq!(total(&costs, 1, 9.0), 10.0);
    }
}
