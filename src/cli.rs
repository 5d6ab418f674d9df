//! Arguments.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use headcount_chaos::fault::Kind;

/// Counts people in video: Kafka in the middle, TimescaleDB behind, REST in front.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100)]
pub struct Cli {
    /// Configuration file; `headcount.toml` in the current folder when there is one.
    #[arg(long, short, global = true, env = "HEADCOUNT_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// One setting, such as `kafka.brokers=localhost:9092`; wins over file and environment.
    #[arg(long = "set", global = true, value_name = "KEY=VALUE")]
    pub settings: Vec<String>,

    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Read cameras and files, write frames.
    Ingest,
    /// Read frames, write what each shows.
    Detect,
    /// Read detections, write crossings, occupancy, visits, tracks and coverage.
    Count,
    /// Write events to the database.
    Sink,
    /// Serve the REST API.
    Api,
    /// Run all stages in this process.
    Up,
    /// Count a real clip through the whole pipeline and show the result.
    Demo(DemoArgs),
    /// Count one clip, without bus and database.
    Analyze(AnalyzeArgs),
    /// Draw how lines and zones count: the pictures of docs/COUNTING.md.
    Draw {
        /// Folder for the pictures.
        #[arg(value_name = "DIR", default_value = "docs/counting")]
        folder: PathBuf,
    },
    /// Measure accuracy against ground truth.
    #[command(subcommand)]
    Eval(EvalCommand),
    /// Measure speed, latency and memory.
    #[command(subcommand)]
    Bench(BenchCommand),
    /// Kill, freeze, cut off and confuse the stages, and check that no count changes.
    Chaos(ChaosArgs),
    /// Bring the database to the schema this program needs.
    Migrate {
        /// Only say what would be done.
        #[arg(long)]
        check: bool,
    },
    /// Create the topics that are missing.
    Topics,
    /// Add and look after the API's users.
    #[command(subcommand)]
    User(UserCommand),
    /// Say what is found on this machine and what to do about what is missing.
    Doctor,
    /// Get and look after detection models.
    #[command(subcommand)]
    Model(ModelCommand),
}

#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Another clip than the one of Debian's package `opencv-doc`.
    #[arg(long, value_name = "VIDEO")]
    pub clip: Option<PathBuf>,
    /// Where to write the picture of what was counted.
    #[arg(long, default_value = "out/demo.png", value_name = "FILE")]
    pub picture: PathBuf,
    /// At the speed of the recording.
    #[arg(long)]
    pub realtime: bool,
    /// Go on serving the API when the clip has been counted, until Ctrl-C.
    #[arg(long)]
    pub serve: bool,
}

#[derive(Debug, Args)]
pub struct AnalyzeArgs {
    /// Video file or folder of pictures.
    pub video: String,
    /// Model file, or its name in the models folder.
    #[arg(long, value_name = "FILE")]
    pub model: Option<PathBuf>,
    /// A line to count at, from its first point to its second.
    #[arg(long = "line", value_name = "NAME=X1,Y1,X2,Y2", allow_hyphen_values = true)]
    pub lines: Vec<String>,
    /// A zone to watch.
    #[arg(long = "zone", value_name = "NAME=X1,Y1,X2,Y2,X3,Y3...", allow_hyphen_values = true)]
    pub zones: Vec<String>,
    /// Whether coordinates are pixels of the video or 0 to 1.
    #[arg(long, value_enum, default_value_t = CoordsArg::Relative)]
    pub coords: CoordsArg,
    /// Look at pictures as the pipeline does, scaled and encoded as JPEG: slower, and the same to the row.
    #[arg(long)]
    pub as_pipeline: bool,
    #[command(flatten)]
    pub looks: LooksArgs,
    /// Write the result as JSON; `-` is standard output.
    #[arg(long, value_name = "FILE")]
    pub json: Option<String>,
    /// Write the clip with everything drawn in.
    #[arg(long, value_name = "OUT.mp4")]
    pub annotate: Option<PathBuf>,
    /// Write one picture of everything that was counted.
    #[arg(long, value_name = "OUT.png")]
    pub picture: Option<PathBuf>,
    /// No progress bar and no summary.
    #[arg(long)]
    pub quiet: bool,
}

#[derive(Debug, Args)]
pub struct LooksArgs {
    /// Look at every picture. Otherwise some are passed over while everybody is in sight and cannot have walked far.
    #[arg(long)]
    pub every_picture: bool,
    /// Look only at pictures in which something has moved by this share of the longer side since the last one
    /// that was looked at, and twice a second anyway: faster, less exact.
    #[arg(long, value_name = "PERCENT", value_parser = percent, conflicts_with = "every_picture")]
    pub min_motion: Option<f64>,
}

fn percent(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|percent| (0.0..=100.0).contains(percent));
    number.ok_or_else(|| "not a number from 0 to 100".to_owned())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CoordsArg {
    /// Pixels of the video.
    Px,
    /// 0 to 1 of width and height.
    Relative,
}

#[derive(Debug, Subcommand)]
pub enum EvalCommand {
    /// Tracker and lines on a MOTChallenge sequence.
    Mot(MotArgs),
    /// The same with every number of the tracker changed at random: how much rests on them?
    Draws(DrawsArgs),
    /// From pixels to counts on labelled clips.
    Clips(ClipsArgs),
}

#[derive(Debug, Args)]
pub struct MotArgs {
    /// Folder with `seqinfo.ini` and `gt/gt.txt`.
    #[arg(long, value_name = "DIR")]
    pub sequence: PathBuf,
    /// Detections in MOTChallenge format.
    #[arg(long, value_name = "FILE")]
    pub detections: PathBuf,
    /// Lines to count at, by sequence.
    #[arg(long, value_name = "FILE")]
    pub lines: Option<PathBuf>,
    /// Also count every line shifted by so many pixels to both sides.
    #[arg(long, value_name = "N")]
    pub jitter_px: Option<f64>,
    /// Keep every N-th frame, with its true time.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub every: u32,
    /// The first frame that is kept, from 0.
    #[arg(long, value_name = "K", default_value_t = 0)]
    pub phase: u32,
    /// Leave out the frames that `analyze` would pass over on a clip.
    #[arg(long)]
    pub pass_over: bool,
    /// Write the result as JSON; `-` is standard output.
    #[arg(long, value_name = "FILE")]
    pub json: Option<String>,
    /// Write the tracks in MOTChallenge format.
    #[arg(long, value_name = "FILE")]
    pub tracks_out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct DrawsArgs {
    /// Folder of MOTChallenge sequences, with `lines.json`.
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// Detections file inside each sequence's folder.
    #[arg(long, value_name = "FILE")]
    pub detections: PathBuf,
    /// Keep every N-th frame; the error is the mean over the phases.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub every: u32,
    /// How many times the numbers are drawn.
    #[arg(long, value_name = "N", default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..))]
    pub draws: u32,
    /// Write the result as JSON; `-` is standard output.
    #[arg(long, value_name = "FILE")]
    pub json: Option<String>,
}

#[derive(Debug, Args)]
pub struct ClipsArgs {
    /// Lines and true counts by clip.
    #[arg(long, value_name = "FILE")]
    pub truth: PathBuf,
    /// Folder of the clips.
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// Model file, or its name in the models folder.
    #[arg(long, value_name = "FILE")]
    pub model: PathBuf,
    /// Keep every N-th picture, with its true time.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub every: u32,
    #[command(flatten)]
    pub looks: LooksArgs,
    /// Write the result as JSON; `-` is standard output.
    #[arg(long, value_name = "FILE")]
    pub json: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// One clip in one process beside the same clip through Kafka and PostgreSQL.
    Pipeline(BenchPipelineArgs),
    /// Counting beside a pipeline in Python, and the tracker alone.
    Core(BenchCoreArgs),
    /// What exactness costs: counting and writing with transactions and without.
    ExactlyOnce(BenchExactlyOnceArgs),
    /// What reading costs: cached answers beside a bare handler, and answers from millions of events.
    Api(BenchApiArgs),
}

#[derive(Debug, Args)]
pub struct BenchApiArgs {
    /// Crossings in the database; other events come with them.
    #[arg(long, value_name = "N", default_value_t = 10_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub events: u64,
    /// Connections that ask at the same time.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    pub connections: u32,
    /// Questions a second, of all connections together, at which latency is measured.
    #[arg(long, value_name = "N", default_value_t = 100.0)]
    pub rate: f64,
    /// For how long each load goes on, in seconds.
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    pub seconds: u64,
    /// Times that cached answers and the bare handler are measured, in turn; the median is taken.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    pub runs: u64,
    /// Write the result as JSON; `-` is standard output.
    #[arg(long, value_name = "FILE")]
    pub json: Option<String>,
}

#[derive(Debug, Args)]
pub struct BenchExactlyOnceArgs {
    /// Times that each side is measured, in turn; the median is taken.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    pub runs: u64,
    /// Cameras whose detections are counted as fast as it goes.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub cameras: u32,
    /// Pictures of each of them.
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(i64).range(1..))]
    pub pictures: i64,
    /// For how long events are timed in each run, in seconds.
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    pub latency_s: u64,
    /// Cameras that one process counts in real time.
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..))]
    pub core_cameras: u32,
    /// For how long, in seconds.
    #[arg(long, value_name = "S", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    pub core_s: u64,
    /// Write the result as JSON; `-` is standard output.
    #[arg(long, value_name = "FILE")]
    pub json: Option<String>,
}

#[derive(Debug, Args)]
pub struct BenchPipelineArgs {
    /// Video file.
    pub video: PathBuf,
    /// Model file, or its name in the models folder.
    #[arg(long, value_name = "FILE")]
    pub model: Option<PathBuf>,
    /// Cameras at the same time when latency is measured.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    pub cameras: u32,
    /// Pictures a second of each of them.
    #[arg(long, value_name = "F", default_value_t = 10.0)]
    pub fps: f64,
    /// For how long latency is measured, in seconds.
    #[arg(long, value_name = "S", default_value_t = 30)]
    pub latency_s: u64,
    /// Write the result as JSON; `-` is standard output.
    #[arg(long, value_name = "FILE")]
    pub json: Option<String>,
}

#[derive(Debug, Args)]
pub struct BenchCoreArgs {
    /// Folder of the clips.
    #[arg(long, value_name = "DIR")]
    pub clips: PathBuf,
    /// Lines and true counts by clip.
    #[arg(long, value_name = "FILE")]
    pub truth: PathBuf,
    /// Model file, for both sides.
    #[arg(long, value_name = "FILE")]
    pub model: PathBuf,
    /// Python with what the script needs.
    #[arg(long, value_name = "PYTHON", requires = "script")]
    pub python: Option<PathBuf>,
    /// Script that takes VIDEO MODEL X1,Y1,X2,Y2 and prints its figures as JSON.
    #[arg(long, value_name = "FILE", requires = "python")]
    pub script: Option<PathBuf>,
    /// Times that each clip is counted by each side, in turn; the median is taken.
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub runs: usize,
    /// Write the result as JSON; `-` is standard output.
    #[arg(long, value_name = "FILE")]
    pub json: Option<String>,
}

#[derive(Debug, Args)]
pub struct ChaosArgs {
    /// Start at the detections, without `ingest` and `detect`: more faults in the same time.
    #[arg(long, conflicts_with = "clips", required_unless_present = "clips")]
    pub fast: bool,
    /// Folder of MOTChallenge sequences whose detections the cameras show; else people are made up.
    #[arg(long, value_name = "DIR", requires = "fast")]
    pub detections: Option<PathBuf>,
    /// Folder of clips that the cameras show; all stages run.
    #[arg(long, value_name = "DIR")]
    pub clips: Option<PathBuf>,
    /// Model file, or its name in the models folder.
    #[arg(long, value_name = "FILE", conflicts_with = "fast")]
    pub model: Option<PathBuf>,
    /// Decides which faults come in which order; drawn at random if not given.
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// How many faults.
    #[arg(long, value_name = "N", default_value_t = 24)]
    pub faults: usize,
    /// Kinds to choose from, each as often as the others: kill, kill-two, stop, kill-broker, kill-database,
    /// cut, delay, throttle, half-open, join, hand-over, rolling-upgrade, plant, disk-full, time-step. All if
    /// not given.
    #[arg(long, value_name = "KIND,...", value_delimiter = ',')]
    pub kinds: Vec<Kind>,
    /// Kinds to leave out.
    #[arg(long, value_name = "KIND,...", value_delimiter = ',')]
    pub without: Vec<Kind>,
    /// Faults after which the counts are compared and everything begins anew.
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub per_round: usize,
    /// Cameras.
    #[arg(long, value_name = "N", default_value_t = 6)]
    pub cameras: usize,
    /// Detections a second of each camera, with `--fast`.
    #[arg(long, value_name = "N", default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..))]
    pub rate: u32,
    /// Session timeout of the stages, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 6_000, value_parser = clap::value_parser!(u32).range(1_000..))]
    pub session_timeout_ms: u32,
    /// Where the logs of rounds that fail are kept.
    #[arg(long, value_name = "DIR", default_value = "out/chaos")]
    pub logs: PathBuf,
    /// Write the result as JSON; `-` is standard output.
    #[arg(long, value_name = "FILE")]
    pub json: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Add a user; prints a new password once, unless one is given.
    Add {
        /// The user's name.
        username: String,
        /// What the user may do.
        #[arg(long, value_enum, default_value_t = RoleArg::Viewer)]
        role: RoleArg,
        #[command(flatten)]
        account: AccountArgs,
    },
    /// Give a user another password and end all logins; prints the password once, unless one is given.
    Password {
        /// The user's name.
        username: String,
        #[command(flatten)]
        account: AccountArgs,
    },
    /// The users of a tenant.
    List {
        /// The tenant; by default `api.default_tenant`.
        #[arg(long)]
        tenant: Option<String>,
    },
}

#[derive(Debug, Args)]
pub struct AccountArgs {
    /// The user's tenant; by default `api.default_tenant`.
    #[arg(long)]
    pub tenant: Option<String>,
    /// Read the password from the first line of standard input.
    #[arg(long)]
    pub password_stdin: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RoleArg {
    /// Sees cameras and counts.
    Viewer,
    /// Sees detections and history, too.
    Analyst,
    /// Sets up cameras.
    Operator,
    /// Manages users and the service.
    Admin,
}

#[derive(Debug, Subcommand)]
pub enum ModelCommand {
    /// What can be pulled and what is there.
    List,
    /// Download a pinned model and check its digest.
    Pull {
        /// Its name, as `list` shows it.
        name: String,
    },
    /// Take a local file into the models folder.
    Add {
        /// The `.onnx` file; a manifest `.toml` beside it is taken along.
        file: PathBuf,
    },
    /// Print where a model's file is.
    Path {
        /// Its name.
        name: String,
    },
}
