//! A progress bar on standard error.

use indicatif::{ProgressBar, ProgressStyle};

use crate::run::Progress;

/// A bar for one clip; shows nothing where standard error is no terminal.
pub struct Bar {
    bar: ProgressBar,
}

impl Bar {
    /// A bar that knows the clip's length, or a spinner that does not.
    pub fn new(frames: Option<i64>) -> Self {
        let length = frames.and_then(|frames| u64::try_from(frames).ok());
        let (bar, template) = match length {
            Some(length) => (
                ProgressBar::new(length),
                "{bar:32} {pos}/{len} frames  {per_sec}  {eta} left  {msg}",
            ),
            None => (ProgressBar::no_length(), "{spinner} {pos} frames  {per_sec}  {msg}"),
        };
        // The templates are constant; a wrong one would merely show the default style.
        let style = ProgressStyle::with_template(template);
        Self { bar: bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())) }
    }

    /// Shows how far it is and the totals so far.
    pub fn show(&self, progress: &Progress<'_>) {
        self.bar.set_position(u64::try_from(progress.frames).unwrap_or(0));
        if !progress.events.is_empty() {
            let totals = progress
                .lines
                .iter()
                .map(|line| format!("{}: {} in, {} out", line.name, line.inwards, line.outwards));
            self.bar.set_message(totals.collect::<Vec<_>>().join("  "));
        }
    }

    /// Takes the bar away.
    pub fn finish(self) {
        self.bar.finish_and_clear();
    }
}
