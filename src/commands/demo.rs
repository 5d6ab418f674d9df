//! The command `demo`: a real clip through the whole pipeline in one process, and what came of it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use headcount_bus::memory::MemoryBus;
use headcount_bus::{Bus, TopicPartition};
use headcount_count::CountEvent;
use headcount_schemas::camera::{Line, Point, Zone};
use headcount_schemas::events::{Coverage, Crossing, Frame, FrameKind, Occupancy, Track, Visit};
use headcount_schemas::{CameraConfig, CameraKey, Event, Topic, TopicNames, decode};
use headcount_services::Postgres;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use super::pipeline::{self, Stages};
use super::stores;
use crate::cli::DemoArgs;
use crate::config::{BusKind, Loaded};
use crate::telemetry;

/// The demo's clip: people crossing a square, by day.
const CLIP_NAME: &str = "vtest.avi";
/// Longest time between two signs of progress.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long ago the clip is said to have been taken.
const START_AGO: chrono::TimeDelta = chrono::TimeDelta::minutes(10);
const LOOK: Duration = Duration::from_millis(100);

pub async fn run(
    args: DemoArgs,
    mut loaded: Loaded,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let clip = match &args.clip {
        Some(clip) => clip.clone(),
        None => find_clip()?,
    };
    let camera = camera(&clip, args.realtime)?;
    let metrics = telemetry::start_metrics()?;
    // Kept until the end: dropping it stops the server.
    let (_postgres, url) = match loaded.config.database.url.take() {
        Some(url) => (None, url),
        None => {
            let (postgres, url) = tokio::task::spawn_blocking(temporary_database).await??;
            (Some(postgres), url)
        }
    };
    loaded.config.database.url = Some(url);
    loaded.config.bus.kind = BusKind::Memory;
    loaded.cameras = vec![camera.clone()];
    let pool = stores::connect(&loaded.config).await?;
    let schema = stores::prepare(&pool).await?;
    let bus: Arc<dyn Bus> = Arc::new(MemoryBus::default());
    stores::ensure_topics(&*bus, &loaded.config).await?;
    say!("clip      {}", clip.display());
    say!("database  {}", schema.flavour);
    say!("API       http://{}/", loaded.config.api.listen);

    let stop = shutdown.child_token();
    let watching = {
        let watch = Watch {
            bus: bus.clone(),
            names: loaded.config.topics.names(),
            camera: camera.clone(),
            pool,
            picture: args.picture.clone(),
            api: format!("http://{}", loaded.config.api.listen),
        };
        let stop = stop.clone();
        let serve = args.serve;
        tokio::spawn(async move {
            let shown = watch.show().await;
            if serve && shown.is_ok() {
                say!("\nThe API goes on until Ctrl-C.");
                stop.cancelled().await;
            }
            stop.cancel();
            shown
        })
    };
    let ran = pipeline::run_on(&loaded, Stages::ALL, Some(bus), metrics, stop.clone()).await;
    stop.cancel();
    if let Err(error) = ran {
        watching.abort();
        return Err(error);
    }
    tokio::select! {
        shown = watching => shown?,
        () = shutdown.cancelled() => Ok(()),
    }
}

fn temporary_database() -> anyhow::Result<(Postgres, String)> {
    let postgres = Postgres::start_temporary().context("the demo's database")?;
    let url = postgres.create_database("headcount")?;
    Ok((postgres, url))
}

/// The clip that Debian's package `opencv-doc` brings, wherever it puts it.
fn find_clip() -> anyhow::Result<PathBuf> {
    let listed = Command::new("dpkg-query").args(["-L", "opencv-doc"]).output();
    let listed = listed.map(|listed| String::from_utf8_lossy(&listed.stdout).into_owned());
    let paths = listed.unwrap_or_default();
    let found =
        paths.lines().map(Path::new).find(|path| path.ends_with(CLIP_NAME) && path.is_file());
    match found {
        Some(found) => Ok(found.to_owned()),
        None => {
            bail!("no {CLIP_NAME}: install Debian's opencv-doc (`make setup` does), or give --clip")
        }
    }
}

/// A line that people cross on the left of the square, and a zone in its middle.
fn camera(clip: &Path, realtime: bool) -> anyhow::Result<CameraConfig> {
    let at = |x, y| Point { x, y };
    let clip = std::path::absolute(clip)?;
    let mut camera =
        CameraConfig::new(CameraKey::new("default", "square")?, clip.to_string_lossy());
    camera.name = "Square".to_owned();
    camera.source.realtime = realtime;
    if !realtime {
        // Read faster than it was recorded, so that it must lie in the past to end before now.
        let start = chrono::Utc::now() - START_AGO;
        camera.source.start_us = Some(start.timestamp() * 1_000_000);
    }
    camera.lines.push(Line::new("west", at(0.198, 0.25), at(0.198, 0.555)));
    let corners = vec![at(0.35, 0.3), at(0.7, 0.3), at(0.7, 0.75), at(0.35, 0.75)];
    camera.zones.push(Zone::new("middle", corners));
    Ok(camera)
}

/// Follows the topics, then asks the database and the API.
struct Watch {
    bus: Arc<dyn Bus>,
    names: TopicNames,
    camera: CameraConfig,
    pool: PgPool,
    picture: PathBuf,
    api: String,
}

impl Watch {
    async fn show(&self) -> anyhow::Result<()> {
        let started = Instant::now();
        let mut quiet_since = Instant::now();
        let (mut crossings_seen, mut frames_seen) = (0, 0);
        say!("");
        let frames = loop {
            let crossings: Vec<Crossing> = self.read().await?;
            for crossing in &crossings[crossings_seen..] {
                let (line, direction) = (&crossing.line, crossing.direction.as_str());
                let at_s = (crossing.crossed_us - crossing.epoch * 1000) as f64 / 1e6;
                let Crossing { track, total_in, total_out, .. } = crossing;
                say!(
                    "{at_s:7.2} s  person {track:<4} crosses `{line}` {direction:<4} now {total_in} in, {total_out} out"
                );
            }
            let (frames, ended) = self.frames_written().await?;
            if crossings.len() > crossings_seen || frames > frames_seen {
                quiet_since = Instant::now();
            }
            (crossings_seen, frames_seen) = (crossings.len(), frames);
            if ended && self.all_stored(crossings.len()).await? {
                break frames;
            }
            if quiet_since.elapsed() > PATIENCE {
                bail!("nothing has happened for {PATIENCE:?}");
            }
            tokio::time::sleep(LOOK).await;
        };
        let seconds = started.elapsed().as_secs_f64();
        say!("\n{frames} frames in {seconds:.1} s, {:.1} a second", frames as f64 / seconds);
        self.ask_api().await?;
        self.draw().await
    }

    async fn read<E: Event>(&self) -> anyhow::Result<Vec<E>> {
        let topic = self.names.full(E::TOPIC);
        let mut events = Vec::new();
        for (number, (low, high)) in (0..).zip(self.bus.watermarks(&topic).await?) {
            let partition = TopicPartition::new(&topic, number);
            for record in self.bus.read_range(&partition, low, high).await? {
                events.extend(record.value.as_deref().map(decode::<E>).transpose()?);
            }
        }
        Ok(events)
    }

    /// Number of pictures that were on the frames topic, and whether their end has been counted.
    async fn frames_written(&self) -> anyhow::Result<(i64, bool)> {
        let topic = self.names.full(Topic::Frames);
        let (mut frames, mut ended) = (0, false);
        for (number, (_, high)) in (0..).zip(self.bus.watermarks(&topic).await?) {
            let partition = TopicPartition::new(&topic, number);
            let newest = self.bus.read_range(&partition, high - 1, high).await?;
            frames += high;
            for record in newest {
                let frame = record.value.as_deref().map(decode::<Frame>).transpose()?;
                ended |= frame.is_some_and(|frame| frame.kind == FrameKind::End);
            }
        }
        let coverage: Vec<Coverage> = self.read().await?;
        let counted: i64 = coverage.iter().map(|span| i64::from(span.frames)).sum();
        // The end is a record of its own.
        Ok((frames - i64::from(ended), ended && counted >= frames - 1))
    }

    /// Whether every crossing, track and watched span is stored.
    async fn all_stored(&self, crossings: usize) -> anyhow::Result<bool> {
        let (tracks, spans): (Vec<Track>, Vec<Coverage>) = (self.read().await?, self.read().await?);
        let stored: (i64, i64, i64) = sqlx::query_as(
            "SELECT (SELECT count(*) FROM counting_events), (SELECT count(*) FROM person_tracks),
                    (SELECT count(*) FROM coverage_spans)",
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(stored == (crossings as i64, tracks.len() as i64, spans.len() as i64))
    }

    async fn ask_api(&self) -> anyhow::Result<()> {
        for path in
            ["/api/v1/cameras/square/counting?limit=3", "/api/v1/cameras/square/analytics?limit=2"]
        {
            let url = format!("{}{path}", self.api);
            let asked = url.clone();
            let ask = move || ureq::get(&asked).call()?.body_mut().read_to_string();
            let answer = tokio::task::spawn_blocking(ask).await?.with_context(|| url.clone())?;
            let answer: serde_json::Value = serde_json::from_str(&answer)?;
            say!("\nGET {url}\n{}", serde_json::to_string_pretty(&answer)?);
        }
        Ok(())
    }

    async fn draw(&self) -> anyhow::Result<()> {
        let tracks: Vec<Track> = self.read().await?;
        let crossings: Vec<Crossing> = self.read().await?;
        let visits: Vec<Visit> = self.read().await?;
        let occupancy: Vec<Occupancy> = self.read().await?;
        let events: Vec<CountEvent> = tracks
            .into_iter()
            .map(CountEvent::Track)
            .chain(crossings.into_iter().map(CountEvent::Crossing))
            .chain(visits.into_iter().map(CountEvent::Visit))
            .chain(occupancy.into_iter().map(CountEvent::Occupancy))
            .collect();
        if let Some(folder) = self.picture.parent() {
            std::fs::create_dir_all(folder)?;
        }
        headcount_analyze::draw_events(&self.camera, &events, &self.picture)?;
        say!("\npicture of what was counted: {}", self.picture.display());
        Ok(())
    }
}
