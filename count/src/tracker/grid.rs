//! Who is near: observations in square cells, so that nobody is compared with everybody.

use super::observation::Observation;

/// Most cells along one side.
const MOST_CELLS: usize = 64;

/// The observations of one frame by the place of their feet; keeps its memory between frames.
#[derive(Debug, Default)]
pub struct Grid {
    left: f32,
    top: f32,
    cells_per_px: (f32, f32),
    side: usize,
    /// `members[starts[c]..starts[c + 1]]` stand in cell `c`.
    starts: Vec<u32>,
    members: Vec<u32>,
    /// Largest width and height of a box, in pixels.
    largest: (f32, f32),
}

/// A part of the picture, in pixels: left, top, right, bottom.
pub type Area = (f32, f32, f32, f32);

impl Grid {
    /// Sorts observations into about as many cells.
    pub fn fill(&mut self, observations: &[Observation]) {
        let fold = |of: fn(&Observation) -> f32, pick: fn(f32, f32) -> f32| {
            observations.iter().map(of).reduce(pick).unwrap_or(0.0)
        };
        (self.left, self.top) = (fold(|o| o.x, f32::min), fold(|o| o.y, f32::min));
        let (right, bottom) = (fold(|o| o.x, f32::max), fold(|o| o.y, f32::max));
        self.largest = (fold(|o| o.width, f32::max), fold(|o| o.height, f32::max));
        self.side = ((observations.len() as f32).sqrt() as usize).clamp(1, MOST_CELLS);
        let per_px = |span: f32| self.side as f32 / span.max(1.0);
        self.cells_per_px = (per_px(right - self.left), per_px(bottom - self.top));

        // A counting sort: how many stand in each cell, where the cells end, and from behind their members.
        self.starts.clear();
        self.starts.resize(self.side * self.side + 1, 0);
        for seen in observations {
            let cell = self.cell(seen.x, seen.y);
            self.starts[cell] += 1;
        }
        for cell in 1..self.starts.len() {
            self.starts[cell] += self.starts[cell - 1];
        }
        self.members.clear();
        self.members.resize(observations.len(), 0);
        for (index, seen) in observations.iter().enumerate().rev() {
            let cell = self.cell(seen.x, seen.y);
            self.starts[cell] -= 1;
            self.members[self.starts[cell] as usize] = index as u32;
        }
    }

    /// Observations whose feet may be within `area`; some may be just outside of it.
    pub fn near(&self, (left, top, right, bottom): Area) -> impl Iterator<Item = usize> + '_ {
        let (first, last) = (self.column(left), self.column(right));
        let rows = self.row(top)..=self.row(bottom);
        rows.flat_map(move |row| {
            let cells = row * self.side + first..row * self.side + last + 1;
            let members = self.starts[cells.start] as usize..self.starts[cells.end] as usize;
            self.members[members].iter().map(|&index| index as usize)
        })
    }

    /// Observations whose boxes may overlap the one of `seen`.
    pub fn beside(&self, seen: &Observation) -> impl Iterator<Item = usize> + '_ {
        let (width, height) = self.largest;
        let reach = (seen.width + width) / 2.0;
        self.near((seen.x - reach, seen.y - seen.height, seen.x + reach, seen.y + height))
    }

    fn cell(&self, x: f32, y: f32) -> usize {
        self.row(y) * self.side + self.column(x)
    }

    fn column(&self, x: f32) -> usize {
        (((x - self.left) * self.cells_per_px.0) as usize).min(self.side - 1)
    }

    fn row(&self, y: f32) -> usize {
        (((y - self.top) * self.cells_per_px.1) as usize).min(self.side - 1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn somebody() -> impl Strategy<Value = Observation> {
        let place = (-50.0f32..2000.0, 0.0f32..1100.0);
        (place, 1.0f32..300.0, 1.0f32..600.0).prop_map(|((x, y), width, height)| Observation {
            x,
            y,
            width,
            height,
            score: 0.9,
            class: 0,
        })
    }

    proptest! {
        #[test]
        fn nobody_who_is_near_is_left_out(
            crowd in prop::collection::vec(somebody(), 0..80),
            who in somebody(),
        ) {
            let mut grid = Grid::default();
            grid.fill(&crowd);
            let area = (who.x - who.width, who.y - who.height, who.x + who.width, who.y + who.height);
            let near: Vec<usize> = grid.near(area).collect();
            let beside: Vec<usize> = grid.beside(&who).collect();
            for (index, other) in crowd.iter().enumerate() {
                let within = (area.0..=area.2).contains(&other.x) && (area.1..=area.3).contains(&other.y);
                prop_assert!(!within || near.contains(&index));
                prop_assert!(other.overlap(&who) == 0.0 || beside.contains(&index));
            }
            let mut everybody: Vec<usize> = grid.near((-1e9, -1e9, 1e9, 1e9)).collect();
            everybody.sort_unstable();
            prop_assert_eq!(everybody, (0..crowd.len()).collect::<Vec<_>>());
        }
    }
}
