//! The pictures of a source that are kept, numbered from 0 without gaps.

use crate::motion::MotionGate;
use crate::pacing::RateLimit;
use crate::picture::Picture;
use crate::source::{Advance, End, Position, Source, SourceError, SourceInfo};

/// What came next.
#[derive(Debug)]
pub enum Read {
    /// A picture that is kept.
    Picture {
        /// Number among the pictures that are kept.
        sequence: i64,
        /// The picture.
        picture: Picture,
    },
    /// Nothing more comes.
    End(End),
}

/// What [`Reader::step`] came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A picture that is kept, not decoded yet.
    At {
        /// Number among the pictures that are kept.
        sequence: i64,
        /// Time since the first picture, in microseconds.
        position_us: i64,
    },
    /// Nothing more comes.
    End(End),
}

/// What [`Reader::skip_past`] came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Skipped {
    /// The last picture that was passed over; the next one follows it.
    Past(Position),
    /// The source ended before.
    End(End),
}

/// Reads a source, leaving out pictures beyond `max_fps` and, if that is asked for, those in which little moves.
///
/// Which pictures are kept, and so their numbers, depends only on the source's positions and pictures: reading
/// again gives the same. For live sources the number counts what was captured; the number
/// on the bus is given later, as the queue may drop.
pub struct Reader {
    source: Box<dyn Source>,
    limit: RateLimit,
    gate: Option<MotionGate>,
    /// What the gate has looked at.
    picture: Option<Picture>,
    next_sequence: i64,
}

impl Reader {
    /// Reads `source` from where it stands, which must be its beginning for the numbers to hold.
    pub fn new(source: Box<dyn Source>, max_fps: Option<f64>) -> Self {
        let limit = RateLimit::new(max_fps);
        Self { source, limit, gate: None, picture: None, next_sequence: 0 }
    }

    /// Leaves out pictures in which nothing has moved by so many percent of the longer side since the last one that
    /// was kept; none leaves out none. Then every picture is decoded.
    pub fn with_min_motion(self, percent: Option<f64>) -> Self {
        Self { gate: percent.map(MotionGate::new), ..self }
    }

    /// What is known about the source.
    pub fn info(&self) -> SourceInfo {
        self.source.info()
    }

    /// The next picture that is kept.
    #[allow(clippy::should_implement_trait)] // an iterator has no way to say how it ended
    pub fn next(&mut self) -> Result<Read, SourceError> {
        match self.step()? {
            Step::End(end) => Ok(Read::End(end)),
            Step::At { sequence, .. } => Ok(Read::Picture { sequence, picture: self.picture()? }),
        }
    }

    /// Steps onto the next picture that is kept, without decoding more than it must.
    pub fn step(&mut self) -> Result<Step, SourceError> {
        match self.advance()? {
            Advance::End(end) => Ok(Step::End(end)),
            Advance::At(Position { position_us, .. }) => {
                let sequence = self.next_sequence;
                self.next_sequence += 1;
                Ok(Step::At { sequence, position_us })
            }
        }
    }

    /// The picture that the last step led to. To be asked for at most once.
    pub fn picture(&mut self) -> Result<Picture, SourceError> {
        self.picture.take().map_or_else(|| self.source.retrieve(), Ok)
    }

    /// Passes over the pictures up to and including number `sequence`, without decoding
    /// more than it must. The position that it returns lets the caller check that the source is
    /// still the one it was: see [`crate::resume::Plan::Continue`].
    pub fn skip_past(&mut self, sequence: i64) -> Result<Skipped, SourceError> {
        loop {
            match self.advance()? {
                Advance::End(end) => return Ok(Skipped::End(end)),
                Advance::At(position) => {
                    self.next_sequence += 1;
                    if self.next_sequence > sequence {
                        return Ok(Skipped::Past(position));
                    }
                }
            }
        }
    }

    /// Steps onto the next picture that is kept.
    fn advance(&mut self) -> Result<Advance, SourceError> {
        loop {
            match self.source.advance()? {
                Advance::At(position) if !self.limit.keep(position.position_us) => {}
                Advance::At(_) if self.is_still()? => {}
                found => return Ok(found),
            }
        }
    }

    /// Whether too little moves in the picture that the source stands on for it to be kept.
    fn is_still(&mut self) -> Result<bool, SourceError> {
        let Some(gate) = &mut self.gate else { return Ok(false) };
        let picture = self.source.retrieve()?;
        let keeps = gate.keeps(&picture.bgr, picture.position_us);
        self.picture = keeps.then_some(picture);
        Ok(!keeps)
    }
}
