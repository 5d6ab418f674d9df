//! Sightings that go back to whoever they belong to, found once people have walked on.
//!
//! When one passes behind the other, the picture in which only one of them comes up again often
//! cannot tell which; the way that this one goes on can. So before a sighting is decided, everything
//! that was seen since, in the look-ahead, is held against what was known before: of the track that
//! has it, and of everyone near who was out of sight all the while. If it fits one of those better,
//! the sightings are handed over, and the track that had them is the one who is out of sight. It
//! is the decision over several scans of multiple hypothesis tracking (Reid, IEEE Transactions on
//! Automatic Control 24 (1979)), kept to the one mistake that matters for counts. Nothing is
//! undone by it: lines and zones know only what is decided.

use super::motion::{Motion, measurement_noise};
use super::track::{Stage, Track};
use crate::settings::TrackerSettings;
use crate::smoothing::{Past, Sample, foresee};

/// Whoever was seen last further away than this, in heights, is not asked for.
const NEAR: f32 = 4.0;

/// How far a track may be from where its sightings lead, in heights. On fixed cameras small jerks are
/// seen where there are none; further, and the camera has moved.
const SAME: f32 = 0.01;

/// Finds sightings to hand over; keeps its memory between frames.
#[derive(Debug, Default)]
pub struct Handover {
    sightings: Vec<Sample>,
}

impl Handover {
    /// Looks at every track with a sighting that is due at `now_us`; how many were handed over.
    pub fn mend(&mut self, tracks: &mut [Track], now_us: i64, settings: &TrackerSettings) -> usize {
        let mut handed_over = 0;
        for index in 0..tracks.len() {
            if !tracks[index].smoother.is_due(now_us, settings) {
                continue;
            }
            let Some((other, own, theirs)) = owner(tracks, index, settings) else {
                continue;
            };
            if let Ok([from, to]) = tracks.get_disjoint_mut([index, other]) {
                self.hand_over((from, &own), (to, &theirs), settings);
                handed_over += 1;
            }
        }
        handed_over
    }

    fn hand_over(
        &mut self,
        (from, own): (&mut Track, &Standing),
        (to, theirs): (&mut Track, &Standing),
        settings: &TrackerSettings,
    ) {
        self.sightings.clear();
        from.smoother.take_after(&own.past, &mut self.sightings);
        let frames = self.sightings.len() as i32;
        let score_sum: f32 = self.sightings.iter().map(|sample| sample.score).sum();
        (from.frames, to.frames) = (from.frames - frames, to.frames + frames);
        // Added up in another order, scores of 1 may come to a little more than the sightings.
        from.score_sum = (from.score_sum - score_sum).clamp(0.0, from.frames as f32);
        to.score_sum = (to.score_sum + score_sum).min(to.frames as f32);
        (from.motion, from.seen_us) = (own.past.motion, own.past.seen_us);
        (to.motion, to.seen_us) = to.smoother.go_on(&theirs.past, &self.sightings, settings);
        // Sizes follow what was seen last; whoever lost it has the height that he had before.
        (to.log_height, to.log_width, to.seen) = (from.log_height, from.log_width, from.seen);
        from.log_width += own.height.ln() - from.log_height;
        from.log_height = own.height.ln();
    }
}

/// What was known of somebody before some sightings.
struct Standing {
    past: Past,
    /// Expected height, in pixels.
    height: f32,
}

impl Standing {
    /// Of a track before `at_us`, if it was seen by then.
    fn before(track: &Track, at_us: i64, settings: &TrackerSettings) -> Option<Self> {
        let past = track.smoother.before(at_us, settings)?;
        let height = past.height.or(track.last_point.map(|point| point.height))?;
        Some(Self { past, height })
    }

    /// Follows sightings as if they were this person's.
    fn follow<'a>(
        &self,
        sightings: impl Iterator<Item = &'a Sample>,
        settings: &TrackerSettings,
    ) -> Followed {
        let mut followed =
            Followed { state: (self.past.motion, self.past.seen_us), squares: 0.0, misfit: 0.0 };
        let mut logarithms = 0.0;
        for sample in sightings {
            let (predicted, filtered) = foresee(Some(followed.state), sample, settings);
            let noise = measurement_noise(sample.score, settings);
            let (x, y) = (predicted.x, predicted.y);
            for (seen, axis, noise) in [(sample.x, x, noise.x), (sample.y, y, noise.foot)] {
                let variance = axis.variance + noise;
                let off = (seen - axis.at) / self.height;
                followed.squares += off * off / variance;
                logarithms += variance.ln();
            }
            followed.state = (filtered, sample.at_us);
        }
        followed.misfit = followed.squares + logarithms;
        followed
    }
}

/// Sightings held against what was known of somebody before them.
struct Followed {
    /// State at the last of them, and its time.
    state: (Motion, i64),
    /// Squared distances from what was expected, in standard deviations.
    squares: f32,
    /// These with the logarithms of the variances: minus twice the logarithm of the likelihood, as far as
    /// it differs between people.
    misfit: f32,
}

impl Followed {
    /// Whether somebody of this height is about where they lead.
    fn leads_to(&self, motion: &Motion, height: f32) -> bool {
        let (to, _) = self.state;
        let off = (to.x.at - motion.x.at).abs().max((to.y.at - motion.y.at).abs());
        off <= SAME * height
    }
}

/// Who out of sight better explains the sightings of a track that wait, if anybody does: where
/// that track is, and what was known of both before.
fn owner(
    tracks: &[Track],
    index: usize,
    settings: &TrackerSettings,
) -> Option<(usize, Standing, Standing)> {
    let track = &tracks[index];
    let first = track.smoother.first()?;
    let own = Standing::before(track, first.at_us, settings)?;
    let sightings = || track.smoother.after(&own.past);
    let followed = own.follow(sightings(), settings);
    let mut most = settings.handover_gain;
    if followed.squares <= most {
        // Who goes on as expected is not asked about; nearly everybody does.
        return None;
    }
    if !followed.leads_to(&track.motion, own.height) {
        // The tracker has followed a jerk of the camera, which sightings that wait know nothing of.
        return None;
    }
    let reach = NEAR * first.height;
    let mut best = None;
    for (at, other) in tracks.iter().enumerate() {
        let (x, y) = (other.motion.x.at - first.x, other.motion.y.at - first.y);
        let unseen = other.seen_us < first.at_us && other.stage == Stage::Confirmed;
        let near = x.abs() <= reach && y.abs() <= reach;
        if !unseen || !near || other.class != track.class {
            continue;
        }
        let Some(theirs) = Standing::before(other, first.at_us, settings) else {
            continue;
        };
        let longer_us = own.past.seen_us - theirs.past.seen_us;
        let gain = followed.misfit
            - theirs.follow(sightings(), settings).misfit
            - settings.unseen_weight * longer_us as f32 / 1e6;
        if gain > most {
            most = gain;
            best = Some((at, theirs));
        }
    }
    best.map(|(at, theirs)| (at, own, theirs))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::smoothing::SmootherScratch;
    use crate::tracker::observation::Observation;

    const FRAME_US: i64 = 100_000;

    /// Someone at 1.2 heights a second along one line, seen ten times a second.
    fn walker(id: i64, start: f32, speed: f32, frames: std::ops::Range<i64>) -> Track {
        let settings = TrackerSettings::default();
        let mut track = Track::default();
        for frame in frames.clone() {
            let seen = sighting(start + speed * frame as f32 / 10.0);
            if frame == frames.start {
                track.begin(id, frame * FRAME_US, frame, &seen, &settings);
            } else {
                track.see(frame * FRAME_US, frame, &seen, &settings);
            }
        }
        track
    }

    fn sighting(x: f32) -> Observation {
        Observation { x, y: 300.0, width: 40.0, height: 100.0, score: 0.9, class: 0 }
    }

    /// A walks to the right until frame 20, at x = 640. B comes towards him and is hidden by him from frame 18 on.
    /// Whoever is seen next, from frame 22 to 28 and `speed` pixels a second on, is taken for A. All that
    /// is older is decided.
    fn meeting(speed: f32) -> Vec<Track> {
        let settings = TrackerSettings::default();
        let mut a = walker(1, 400.0, 120.0, 0..21);
        let mut b = walker(2, 880.0, -120.0, 0..18);
        for frame in 22..29 {
            let x = 640.0 + speed * (frame - 20) as f32 / 10.0;
            a.see(frame * FRAME_US, frame, &sighting(x), &settings);
        }
        let mut scratch = SmootherScratch::default();
        for track in [&mut a, &mut b] {
            while track.smoother.first().is_some_and(|sample| sample.at_us < 22 * FRAME_US) {
                track.last_point = track.smoother.pop(&settings, &mut scratch);
            }
        }
        vec![a, b]
    }

    fn mend(tracks: &mut [Track]) -> usize {
        Handover::default().mend(tracks, 28 * FRAME_US, &TrackerSettings::default())
    }

    #[test]
    fn who_comes_up_again_is_told_by_the_way_he_goes_on() {
        let mut tracks = meeting(-120.0);
        let (before, sum) = (tracks.clone(), |tracks: &[Track]| {
            let sum = |value: fn(&Track) -> f32| tracks.iter().map(value).sum::<f32>();
            (sum(|t| t.frames as f32), (100.0 * sum(|t| t.score_sum)).round())
        });
        assert_eq!(mend(&mut tracks), 1);
        let [a, b] = &tracks[..] else { unreachable!("two people") };
        assert_eq!(a.seen_us, 20 * FRAME_US, "A was seen last where they met");
        assert_eq!(b.seen_us, 28 * FRAME_US);
        assert!(a.motion.x.speed > 80.0 && b.motion.x.speed < -80.0, "{a:?} {b:?}");
        assert_eq!((a.smoother.waiting().count(), b.smoother.waiting().count()), (0, 7));
        assert_eq!(sum(&tracks), sum(&before), "nothing is seen twice, or lost");
        let settings = TrackerSettings::default();
        for track in &tracks {
            let told = track.smoother.state(&settings);
            assert_eq!(told, Some((track.motion, track.seen_us)), "as if seen so from the start");
        }
        assert_eq!(mend(&mut tracks), 0, "it stays so");
    }

    /// Else the state could be written, and not be read again.
    #[test]
    fn what_is_left_is_sound_whatever_the_scores() {
        for (first, then) in (0..=100).flat_map(|first| (0..=100).map(move |then| (first, then))) {
            let settings = TrackerSettings::default();
            let [first, then] = [first, then].map(|hundredths| hundredths as f32 / 100.0);
            let mut tracks = meeting(-120.0);
            let a = &mut tracks[0];
            // As if all but one of what was decided had never been.
            a.frames = 1 + a.smoother.waiting().count() as i32;
            a.score_sum = first;
            let mut handover = Handover::default();
            a.smoother.score_all(then);
            for _ in 1..a.frames {
                a.score_sum += then;
            }
            let [own, theirs] = [0, 1].map(|at| {
                Standing::before(&tracks[at], 22 * FRAME_US, &settings).expect("seen before")
            });
            let [a, b] = &mut tracks[..] else { unreachable!("two people") };
            handover.hand_over((a, &own), (b, &theirs), &settings);
            assert!(
                a.is_sound() && b.is_sound(),
                "{first} {then}: {} {}",
                a.score_sum,
                b.score_sum
            );
        }
    }

    #[test]
    fn who_goes_on_as_before_keeps_his_sightings() {
        assert_eq!(mend(&mut meeting(120.0)), 0);
    }

    #[rstest]
    #[case::seen_meanwhile(|tracks: &mut [Track]| {
        let seen = sighting(900.0);
        tracks[1].see(25 * FRAME_US, 25, &seen, &TrackerSettings::default());
    })]
    #[case::seen_only_once(|tracks: &mut [Track]| tracks[1].stage = Stage::Tentative)]
    #[case::of_another_class(|tracks: &mut [Track]| tracks[1].class = 1)]
    #[case::far_away(|tracks: &mut [Track]| tracks[1].motion.x.at += 500.0)]
    #[case::after_a_jerk_of_the_camera(|tracks: &mut [Track]| tracks[0].motion.x.at += 3.0)]
    fn nothing_is_handed_to_who_is(#[case] change: fn(&mut [Track])) {
        let mut tracks = meeting(-120.0);
        change(&mut tracks);
        assert_eq!(mend(&mut tracks), 0);
    }
}
