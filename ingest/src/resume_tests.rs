use super::*;
use crate::picture::Picture;
use crate::reader::{Read, Reader, Skipped};
use crate::source::{Advance, End, Position, Source, SourceError, SourceInfo};
use opencv::core::Mat;
use proptest::prelude::*;

const NOW_US: i64 = 1_700_000_000_123_456;
const NOW_MS: i64 = 1_700_000_000_123;
const INTERVAL_US: i64 = 100_000;

fn source(start_us: Option<i64>, repeat: bool) -> camera::Source {
    camera::Source { start_us, repeat, ..camera::Source::new("clip.mp4") }
}

fn last(epoch: i64, sequence: i64, kind: FrameKind) -> LastFrame {
    LastFrame { epoch, sequence, kind, capture_us: epoch * 1000 + sequence * INTERVAL_US }
}

fn picture(epoch: i64, sequence: i64) -> Option<LastFrame> {
    Some(last(epoch, sequence, FrameKind::Picture))
}

fn end(epoch: i64, sequence: i64) -> Option<LastFrame> {
    Some(last(epoch, sequence, FrameKind::End))
}

fn fresh(epoch: i64, first_us: i64, close: Option<EndMark>) -> Plan {
    Plan::Fresh { start: Start { epoch, first_us }, close }
}

fn close(epoch: i64, sequence: i64) -> Option<EndMark> {
    Some(EndMark { epoch, sequence, capture_us: epoch * 1000 + (sequence - 1) * INTERVAL_US })
}

fn go_on(epoch: i64, first_us: i64, after: i64) -> Plan {
    let capture_us = epoch * 1000 + after * INTERVAL_US;
    Plan::Continue { start: Start { epoch, first_us }, after, capture_us }
}

#[rstest::rstest]
#[case::nothing_yet(None, source(None, false), fresh(NOW_MS, NOW_MS * 1000, None))]
#[case::nothing_yet_with_a_start(
    None,
    source(Some(5_000_999), false),
    fresh(5000, 5_000_999, None)
)]
#[case::in_the_middle(picture(4000, 7), source(None, false), go_on(4000, 4_000_000, 7))]
#[case::in_the_middle_with_a_start(
    picture(5000, 7),
    source(Some(5_000_999), false),
    go_on(5000, 5_000_999, 7)
)]
#[case::at_the_end(end(4000, 8), source(None, false), Plan::Ended { epoch: 4000 })]
#[case::at_the_end_with_a_start(end(5000, 8), source(Some(5_000_999), false), Plan::Ended { epoch: 5000 })]
#[case::another_start(
    picture(4000, 7),
    source(Some(5_000_000), false),
    fresh(5000, 5_000_000, close(4000, 8))
)]
#[case::another_start_after_an_end(
    end(4000, 8),
    source(Some(3_000_000), false),
    fresh(3000, 3_000_000, None)
)]
#[case::loop_in_the_middle(picture(4000, 7), source(None, true), go_on(4000, 4_000_000, 7))]
#[case::loop_at_its_end(end(4000, 8), source(None, true), fresh(4900, 4_900_000, None))]
#[case::later_loop_of_a_start(
    picture(6000, 7),
    source(Some(5_000_999), true),
    go_on(6000, 6_000_000, 7)
)]
#[case::loop_with_a_later_start(
    picture(4000, 7),
    source(Some(5_000_000), true),
    fresh(5000, 5_000_000, close(4000, 8))
)]
fn files(#[case] last: Option<LastFrame>, #[case] source: camera::Source, #[case] expected: Plan) {
    assert_eq!(plan(last, &source, false, INTERVAL_US, NOW_US), expected);
}

#[rstest::rstest]
#[case::nothing_yet(None, fresh(NOW_MS, NOW_MS * 1000, None))]
#[case::in_the_middle(picture(4000, 7), fresh(NOW_MS, NOW_MS * 1000, close(4000, 8)))]
#[case::after_an_end(end(4000, 7), fresh(NOW_MS, NOW_MS * 1000, None))]
#[case::clock_set_back(end(NOW_MS + 50, 7), fresh(NOW_MS + 51, NOW_MS * 1000 + 51_000, None))]
fn live_sources(#[case] last: Option<LastFrame>, #[case] expected: Plan) {
    let with_start = source(Some(1), false);
    assert_eq!(plan(last, &with_start, true, INTERVAL_US, NOW_US), expected);
}

#[test]
fn loops_start_on_a_full_millisecond_after_the_last() {
    let end = LastFrame { epoch: 10, sequence: 3, kind: FrameKind::End, capture_us: 99_667 };
    assert_eq!(next_loop(end, 33_333), Start { epoch: 133, first_us: 133_000 });
    assert_eq!(next_loop(end, 33_334), Start { epoch: 134, first_us: 134_000 });
    let tiny = LastFrame { epoch: 10, sequence: 1, kind: FrameKind::End, capture_us: 10_000 };
    assert_eq!(next_loop(tiny, 1), Start { epoch: 11, first_us: 11_000 });
}

/// A source that has times and no pictures worth looking at.
struct Times {
    positions_us: Vec<i64>,
    next: usize,
}

impl Source for Times {
    fn info(&self) -> SourceInfo {
        SourceInfo { width: 1, height: 1, fps: 10.0, frame_count: None, live: false }
    }

    fn advance(&mut self) -> Result<Advance, SourceError> {
        let index = self.next as i64;
        let Some(position_us) = self.positions_us.get(self.next) else {
            return Ok(Advance::End(End { frames_read: index, problem: None }));
        };
        self.next += 1;
        Ok(Advance::At(Position { index, position_us: *position_us }))
    }

    fn retrieve(&mut self) -> Result<Picture, SourceError> {
        let index = self.next - 1;
        let position_us = self.positions_us[index];
        Ok(Picture { bgr: Mat::default(), index: index as i64, position_us })
    }
}

/// What one run of ingest writes to the topic before it is killed: at most `limit` records.
fn run(
    topic: &mut Vec<LastFrame>,
    positions_us: &[i64],
    source: &camera::Source,
    now_us: i64,
    limit: usize,
) {
    let times = Times { positions_us: positions_us.to_vec(), next: 0 };
    let mut reader = Reader::new(Box::new(times), source.max_fps);
    let plan = plan(topic.last().copied(), source, false, INTERVAL_US, now_us);
    let (start, mut last) = match plan {
        Plan::Ended { .. } => return,
        Plan::Fresh { start, .. } => (start, (-1, start.first_us)),
        Plan::Continue { start, after, capture_us } => {
            let Ok(Skipped::Past(position)) = reader.skip_past(after) else { panic!("too short") };
            assert_eq!(start.capture_us(position.position_us), capture_us, "the same picture");
            (start, (after, capture_us))
        }
    };
    for _ in 0..limit {
        let (kind, sequence, capture_us) = match reader.next().expect("readable") {
            Read::Picture { sequence, picture } => {
                (FrameKind::Picture, sequence, start.capture_us(picture.position_us))
            }
            Read::End(_) => (FrameKind::End, last.0 + 1, last.1),
        };
        topic.push(LastFrame { epoch: start.epoch, sequence, kind, capture_us });
        last = (sequence, capture_us);
        if kind == FrameKind::End {
            return;
        }
    }
}

proptest! {
    #[test]
    fn a_run_that_is_killed_again_and_again_writes_what_an_undisturbed_one_does(
        gaps in proptest::collection::vec(1i64..120_000, 1..120),
        max_fps in proptest::option::of(2.0f64..40.0),
        configured in any::<bool>(),
        cuts in proptest::collection::vec(1usize..30, 1..20),
    ) {
        let positions: Vec<i64> = std::iter::once(0)
            .chain(gaps.iter().scan(0, |at, gap| { *at += gap; Some(*at) }))
            .collect();
        let start_us = configured.then_some(NOW_US);
        let source = camera::Source { start_us, max_fps, ..camera::Source::new("clip.mp4") };

        let mut undisturbed = Vec::new();
        run(&mut undisturbed, &positions, &source, NOW_US, usize::MAX);
        let mut disturbed = Vec::new();
        for (restart, cut) in (0..).zip(cuts) {
            run(&mut disturbed, &positions, &source, NOW_US + restart * 5_000_000, cut);
        }
        run(&mut disturbed, &positions, &source, NOW_US + 500_000_000, usize::MAX);
        // Once more: an ended file stays ended.
        run(&mut disturbed, &positions, &source, NOW_US + 900_000_000, usize::MAX);

        prop_assert_eq!(&disturbed, &undisturbed);
        prop_assert!((0..).zip(&undisturbed).all(|(number, frame)| frame.sequence == number));
    }
}
