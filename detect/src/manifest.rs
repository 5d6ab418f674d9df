//! What a model expects and gives, as a small TOML file beside it.
//!
//! `yolox_nano.onnx` is described by `yolox_nano.toml` in the same folder; `manifests/` in this
//! crate holds those of the models that are known by name. All keys are required unless the table
//! says otherwise, and no others are allowed.
//!
//! | key | meaning |
//! | --- | --- |
//! | `name` | short name: letters, digits, `.`, `_`, `-` |
//! | `input.name` | name of the input tensor, 1 × 3 × height × width of 32-bit floats |
//! | `input.layout` | `"nchw"` |
//! | `input.channels` | `"bgr"` or `"rgb"` |
//! | `input.mean`, `input.std` | per channel, in that order: the network gets `(level - mean) / std` for levels of 0 to 255 |
//! | `input.width`, `input.height` | pixels, for a network of one size; or else |
//! | `input.multiple_of`, `input.longest_side` | pixels, for a network that takes any size: the input follows the picture's aspect |
//! | `letterbox.pad` | grey level of the padding, 0 to 255, before normalisation |
//! | `letterbox.position` | where the picture lies in it: `"top-left"` or `"center"` |
//! | `output.decoder` | `"yolox"` (relative to the grid), `"yolox-decoded"` (input pixels) or `"nms-inside"` |
//! | `output.boxes` | name of the output with the boxes |
//! | `output.labels` | name of the output with the class indices; only with `nms-inside` |
//! | `output.classes`, `output.strides` | number of classes, strides of the grids; only with YOLOX decoders |
//! | `people.class` | class index of people |
//! | `people.min_score` | boxes below are dropped, 0 to 1 |
//! | `people.nms_iou` | of two boxes that overlap by more the weaker is dropped, 0 to 1 |

use std::ops::Range;

use serde::Deserialize;

/// Everything about a model that is not in its graph.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// Short name; letters, digits, `.`, `_`, `-`.
    pub name: String,
    /// Name of the input tensor.
    pub input: String,
    /// Order of the colour channels.
    pub channels: ChannelOrder,
    /// Subtracted from each channel (0 to 255), in the order of `channels`.
    pub mean: [f32; 3],
    /// Each channel is divided by this afterwards.
    pub std: [f32; 3],
    /// Size of the input.
    pub size: InputSize,
    /// Grey level (0 to 255, before normalisation) around the picture.
    pub pad: u8,
    /// Where the picture lies in the input.
    pub position: LetterboxPosition,
    /// How boxes are read from the outputs.
    pub decoder: Decoder,
    /// Class index of people.
    pub person_class: u32,
    /// Boxes below this score are dropped unless the settings say otherwise.
    pub min_score: f32,
    /// Of two boxes that overlap by more than this (intersection over union), the lower score is
    /// dropped, unless the settings say otherwise.
    pub nms_iou: f32,
}

/// Order of the colour channels in the input tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChannelOrder {
    /// Blue first, as OpenCV keeps pictures.
    Bgr,
    /// Red first.
    Rgb,
}

/// Size of the input tensor, in pixels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InputSize {
    /// Always the same.
    Fixed {
        /// Width.
        width: u32,
        /// Height.
        height: u32,
    },
    /// Any, in whole strides; it follows the picture's aspect.
    Free {
        /// Both sides are multiples of this.
        multiple_of: u32,
        /// The longer side.
        longest_side_px: u32,
    },
}

/// Where the scaled picture lies in the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LetterboxPosition {
    /// Padding right and below.
    TopLeft,
    /// Padding on both sides.
    Center,
}

/// How boxes are read from the outputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decoder {
    /// One tensor of 1 × cells × (4 + 1 + classes): centre, size, objectness, class scores
    /// (Ge et al., YOLOX, arXiv:2107.08430).
    Yolox {
        /// Name of the output tensor.
        boxes: String,
        /// Number of classes.
        classes: u32,
        /// Strides of the grids, in the order of the cells.
        strides: Vec<u32>,
        /// Whether centre and size are already in input pixels, rather than relative to the
        /// cell in strides and logarithmic.
        decoded: bool,
    },
    /// Non-maximum suppression inside the graph: `boxes` of 1 × n × 5 (corners in input pixels,
    /// score) and `labels` of 1 × n, as MMDeploy exports them.
    NmsInside {
        /// Name of the output with corners and scores.
        boxes: String,
        /// Name of the output with class indices.
        labels: String,
    },
}

impl Decoder {
    /// Number of cells of all grids for an input size; none where the graph itself decides.
    pub fn cells(&self, (width, height): (u32, u32)) -> Option<usize> {
        match self {
            Decoder::Yolox { strides, .. } => {
                Some(strides.iter().map(|s| (width / s) as usize * (height / s) as usize).sum())
            }
            Decoder::NmsInside { .. } => None,
        }
    }
}

/// Why a manifest is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Not TOML, an unknown key, a missing key, or a value of the wrong kind.
    #[error("line {line} (`{text}`): {message}")]
    Syntax {
        /// Line number from 1.
        line: usize,
        /// That line.
        text: String,
        /// What is wrong with it.
        message: String,
    },
    /// Values that cannot be; all of them at once.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Values(Vec<KeyProblem>),
}

/// One value that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct KeyProblem {
    /// The key's path.
    pub key: &'static str,
    /// What is wrong.
    pub problem: String,
}

/// The text as it is written; [`Manifest`] is what it means.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    input: Input,
    letterbox: LetterboxTable,
    output: Output,
    people: People,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    name: String,
    #[serde(rename = "layout")]
    _layout: Layout,
    channels: ChannelOrder,
    mean: [f32; 3],
    std: [f32; 3],
    width: Option<u32>,
    height: Option<u32>,
    multiple_of: Option<u32>,
    longest_side: Option<u32>,
}

/// The only layout that the networks at hand use; the key is there so that another one is refused
/// by name rather than misread.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Layout {
    Nchw,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LetterboxTable {
    pad: u8,
    position: LetterboxPosition,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Output {
    decoder: DecoderName,
    boxes: String,
    labels: Option<String>,
    classes: Option<u32>,
    strides: Option<Vec<u32>>,
}

#[derive(Deserialize, Clone, Copy, PartialEq)]
#[serde(rename_all = "kebab-case")]
enum DecoderName {
    Yolox,
    YoloxDecoded,
    NmsInside,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct People {
    class: u32,
    min_score: f32,
    nms_iou: f32,
}

/// Sides longer than this are a slip of the pen.
const MAX_INPUT_SIDE_PX: u32 = 4096;

impl Manifest {
    /// Reads and checks the text of a manifest.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        let file: File = toml::from_str(text).map_err(|error| syntax_error(text, &error))?;
        let mut problems = Problems::default();
        let name = file.name;
        let usual = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if name.is_empty() || name.len() > 100 || !name.chars().all(usual) {
            problems.add("name", "must have 1 to 100 letters, digits, `.`, `_` or `-`");
        }
        if !file.input.mean.iter().all(|value| value.is_finite()) {
            problems.add("input.mean", "must be finite numbers");
        }
        if !file.input.std.iter().all(|value| value.is_finite() && *value > 0.0) {
            problems.add("input.std", "must be finite numbers above 0");
        }
        problems.share("people.min_score", file.people.min_score);
        problems.share("people.nms_iou", file.people.nms_iou);
        let decoder = decoder(&file.output, &mut problems);
        let size = input_size(&file.input, decoder.as_ref(), &mut problems);
        if let Some(Decoder::Yolox { classes, .. }) = &decoder
            && file.people.class >= *classes
        {
            problems.add("people.class", format!("must be below output.classes ({classes})"));
        }
        match (size, decoder) {
            (Some(size), Some(decoder)) if problems.0.is_empty() => Ok(Self {
                name,
                input: file.input.name,
                channels: file.input.channels,
                mean: file.input.mean,
                std: file.input.std,
                size,
                pad: file.letterbox.pad,
                position: file.letterbox.position,
                decoder,
                person_class: file.people.class,
                min_score: file.people.min_score,
                nms_iou: file.people.nms_iou,
            }),
            _ => Err(ManifestError::Values(problems.0)),
        }
    }
}

#[derive(Default)]
struct Problems(Vec<KeyProblem>);

impl Problems {
    fn add(&mut self, key: &'static str, problem: impl Into<String>) {
        self.0.push(KeyProblem { key, problem: problem.into() });
    }

    fn share(&mut self, key: &'static str, value: f32) {
        if !(0.0..=1.0).contains(&value) {
            self.add(key, format!("must be between 0 and 1, not {value}"));
        }
    }

    fn side(&mut self, key: &'static str, value: u32) {
        if !(1..=MAX_INPUT_SIDE_PX).contains(&value) {
            self.add(key, format!("must be between 1 and {MAX_INPUT_SIDE_PX}, not {value}"));
        }
    }
}

fn decoder(output: &Output, problems: &mut Problems) -> Option<Decoder> {
    let boxes = output.boxes.clone();
    if output.decoder == DecoderName::NmsInside {
        if output.classes.is_some() {
            problems.add("output.classes", "has no meaning with the decoder `nms-inside`");
        }
        if output.strides.is_some() {
            problems.add("output.strides", "has no meaning with the decoder `nms-inside`");
        }
        let Some(labels) = output.labels.clone() else {
            problems.add("output.labels", "is missing: the output with the class indices");
            return None;
        };
        return Some(Decoder::NmsInside { boxes, labels });
    }
    if output.labels.is_some() {
        problems.add("output.labels", "has no meaning with a YOLOX decoder");
    }
    let classes = output.classes.unwrap_or(0);
    if !(1..=10_000).contains(&classes) {
        problems.add("output.classes", "is missing or not between 1 and 10000");
    }
    let strides = output.strides.clone().unwrap_or_default();
    if strides.is_empty() || strides.len() > 8 || strides.iter().any(|s| !(1..=1024).contains(s)) {
        problems.add("output.strides", "must be 1 to 8 numbers between 1 and 1024");
        return None;
    }
    Some(Decoder::Yolox {
        boxes,
        classes,
        strides,
        decoded: output.decoder == DecoderName::YoloxDecoded,
    })
}

fn input_size(
    input: &Input,
    decoder: Option<&Decoder>,
    problems: &mut Problems,
) -> Option<InputSize> {
    let strides: &[u32] = match decoder {
        Some(Decoder::Yolox { strides, .. }) => strides,
        _ => &[],
    };
    let odd_stride = |side: u32| strides.iter().find(|stride| !side.is_multiple_of(**stride));
    match (input.width, input.height, input.multiple_of, input.longest_side) {
        (Some(width), Some(height), None, None) => {
            for (key, side) in [("input.width", width), ("input.height", height)] {
                problems.side(key, side);
                if let Some(stride) = odd_stride(side) {
                    problems.add(key, format!("{side} is not a multiple of the stride {stride}"));
                }
            }
            Some(InputSize::Fixed { width, height })
        }
        (None, None, Some(multiple_of), Some(longest_side_px)) => {
            problems.side("input.multiple_of", multiple_of);
            problems.side("input.longest_side", longest_side_px);
            if let Some(stride) = odd_stride(multiple_of) {
                let problem = format!("{multiple_of} is not a multiple of the stride {stride}");
                problems.add("input.multiple_of", problem);
            }
            Some(InputSize::Free { multiple_of, longest_side_px })
        }
        _ => {
            problems.add(
                "input",
                "needs either `width` and `height`, or `multiple_of` and `longest_side`",
            );
            None
        }
    }
}

fn syntax_error(text: &str, error: &toml::de::Error) -> ManifestError {
    let Range { start, .. } = error.span().unwrap_or(0..0);
    let before = text.get(..start).unwrap_or("");
    let line = before.matches('\n').count() + 1;
    let on_line = text.lines().nth(line - 1).unwrap_or("").trim();
    ManifestError::Syntax { line, text: on_line.to_owned(), message: error.message().to_owned() }
}
