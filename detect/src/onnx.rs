//! People by a network in ONNX Runtime: one session, one thread.

use std::time::Instant;

use headcount_schemas::events::BoundingBox;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::session::{Session, SessionInputValue};
use ort::value::{Outlet, Tensor, TensorElementType};

use crate::decode::{self, OutputError, YoloxHead};
use crate::detector::{
    DetectError, Detector, DetectorSettings, Timings, micros, thread_cpu, thread_cpu_us_since,
};
use crate::graph;
use crate::letterbox;
use crate::manifest::{Decoder, InputSize, Manifest};
use crate::model::{Model, ModelError};
use crate::nms;
use crate::picture::{self, Picture};
use crate::prepare::Preparer;
use crate::runtime;

/// A detector that runs one model on the thread that calls it.
pub struct OnnxDetector {
    id: String,
    session: Session,
    /// The network's input; made anew only when its size changes.
    input: Tensor<f32>,
    input_sides: (u32, u32),
    size: InputSize,
    preparer: Preparer,
    decoder: Decoder,
    person_class: u32,
    min_score: f32,
    nms_iou: f32,
}

impl OnnxDetector {
    /// Makes a session of a model and checks its inputs and outputs against the manifest.
    pub fn new(model: &Model, settings: &DetectorSettings) -> Result<Self, ModelError> {
        settings.check()?;
        picture::keep_opencv_on_its_thread()?;
        let environment = runtime::environment()?;
        let not_onnx = |error: ort::Error| ModelError::NotOnnx {
            path: model.path.clone(),
            reason: runtime::one_line(error.message()),
        };
        let mut builder =
            SessionBuilder::new(environment).and_then(single_threaded).map_err(not_onnx)?;
        let lighter = graph::lighter(&model.bytes, &model.manifest);
        let (bytes, manifest) = match &lighter {
            Some((bytes, manifest)) => (&bytes[..], manifest),
            None => (&model.bytes[..], &model.manifest),
        };
        let session = builder.commit_from_memory(bytes).map_err(not_onnx)?;
        check_graph(&session, manifest)
            .map_err(|problem| ModelError::Mismatch { path: model.path.clone(), problem })?;
        let size = match (&manifest.size, settings.longest_side_px) {
            (InputSize::Free { multiple_of, .. }, Some(longest_side_px)) => {
                InputSize::Free { multiple_of: *multiple_of, longest_side_px }
            }
            (size, _) => size.clone(),
        };
        Ok(Self {
            id: model.id(),
            session,
            input: blank_input((1, 1)).map_err(not_onnx)?,
            input_sides: (1, 1),
            preparer: Preparer::new(manifest, size.clone()),
            size,
            decoder: manifest.decoder.clone(),
            person_class: manifest.person_class,
            min_score: settings.min_score.unwrap_or(manifest.min_score),
            nms_iou: settings.nms_iou.unwrap_or(manifest.nms_iou),
        })
    }
}

impl Detector for OnnxDetector {
    fn detect(
        &mut self,
        picture: &Picture<'_>,
        out: &mut Vec<BoundingBox>,
    ) -> Result<Timings, DetectError> {
        out.clear();
        let started = Instant::now();
        let letterbox = self.preparer.letterbox(picture);
        let sides = (letterbox.input_width, letterbox.input_height);
        if self.input_sides != sides {
            self.input = blank_input(sides)?;
            self.input_sides = sides;
        }
        let (_, input) = self.input.extract_tensor_mut();
        self.preparer.fill(picture, &letterbox, input)?;
        let (prepared, cpu_before) = (Instant::now(), thread_cpu());

        let outputs = self.session.run([SessionInputValue::from(&self.input)])?;
        let (inferred, infer_cpu_us) = (Instant::now(), thread_cpu_us_since(cpu_before));

        match &self.decoder {
            Decoder::Yolox { boxes, classes, strides, decoded } => {
                let head = YoloxHead {
                    strides,
                    classes: *classes as usize,
                    person_class: self.person_class as usize,
                    decoded: *decoded,
                    min_score: self.min_score,
                };
                let tensor = outputs.get(boxes).ok_or(absent("boxes"))?;
                decode::yolox(tensor.try_extract_tensor()?.1, &head, &letterbox, out)?;
            }
            Decoder::NmsInside { boxes, labels } => {
                let boxes = outputs.get(boxes).ok_or(absent("boxes"))?;
                let labels = outputs.get(labels).ok_or(absent("labels"))?;
                let (_, boxes) = boxes.try_extract_tensor()?;
                let (_, labels) = labels.try_extract_tensor()?;
                decode::nms_inside(
                    boxes,
                    labels,
                    self.person_class,
                    self.min_score,
                    &letterbox,
                    out,
                )?;
            }
        }
        nms::suppress(out, self.nms_iou);
        letterbox::cut(out, picture.width(), picture.height());
        Ok(Timings {
            prepare_us: micros(started, prepared),
            infer_us: micros(prepared, inferred),
            infer_cpu_us,
            postprocess_us: micros(inferred, Instant::now()),
        })
    }

    fn model_id(&self) -> &str {
        &self.id
    }

    fn input_size(&self, width: u32, height: u32) -> (u32, u32) {
        letterbox::input_size(&self.size, (width.max(1), height.max(1)))
    }
}

/// One thread and no spinning: a picture per core beats several cores per picture.
fn single_threaded(builder: SessionBuilder) -> ort::Result<SessionBuilder> {
    Ok(builder
        .with_optimization_level(GraphOptimizationLevel::Level3)?
        .with_intra_threads(1)?
        .with_inter_threads(1)?
        .with_intra_op_spinning(false)?
        .with_inter_op_spinning(false)?)
}

fn blank_input((width, height): (u32, u32)) -> ort::Result<Tensor<f32>> {
    let (width, height) = (width as usize, height as usize);
    Tensor::from_array(([1, 3, height, width], vec![0.0f32; 3 * height * width]))
}

fn absent(output: &'static str) -> OutputError {
    OutputError { output, expected: 1, got: 0 }
}

/// What a tensor of the graph must look like.
struct Expected<'a> {
    name: &'a str,
    element: TensorElementType,
    dimensions: Vec<Dimension>,
}

#[derive(Clone, Copy)]
enum Dimension {
    /// This size, or free.
    Is(u32),
    /// Free: the graph must take any size.
    Free,
    /// Whatever it is.
    Any,
}

/// Compares the graph's inputs and outputs with the manifest. The error is one sentence.
fn check_graph(session: &Session, manifest: &Manifest) -> Result<(), String> {
    use Dimension::{Any, Free, Is};
    let (height, width, cells) = match manifest.size {
        InputSize::Fixed { width, height } => {
            let cells = manifest.decoder.cells((width, height));
            (Is(height), Is(width), cells.map_or(Any, |cells| Is(cells as u32)))
        }
        InputSize::Free { .. } => (Free, Free, Any),
    };
    let input = Expected {
        name: &manifest.input,
        element: TensorElementType::Float32,
        dimensions: vec![Is(1), Is(3), height, width],
    };
    let outputs = match &manifest.decoder {
        Decoder::Yolox { boxes, classes, .. } => vec![Expected {
            name: boxes,
            element: TensorElementType::Float32,
            dimensions: vec![Is(1), cells, Is(5 + classes)],
        }],
        Decoder::NmsInside { boxes, labels } => vec![
            Expected {
                name: boxes,
                element: TensorElementType::Float32,
                dimensions: vec![Is(1), Any, Is(5)],
            },
            Expected {
                name: labels,
                element: TensorElementType::Int64,
                dimensions: vec![Is(1), Any],
            },
        ],
    };
    if session.inputs().len() != 1 {
        return Err(format!(
            "it has {} inputs ({}) instead of one",
            session.inputs().len(),
            names(session.inputs())
        ));
    }
    check_tensor("input", session.inputs(), &input)?;
    outputs.iter().try_for_each(|expected| check_tensor("output", session.outputs(), expected))
}

fn check_tensor(kind: &str, present: &[Outlet], expected: &Expected<'_>) -> Result<(), String> {
    let name = expected.name;
    let Some(outlet) = present.iter().find(|outlet| outlet.name() == name) else {
        return Err(format!("it has no {kind} `{name}`, it has {}", names(present)));
    };
    let (Some(element), Some(shape)) =
        (outlet.dtype().tensor_type(), outlet.dtype().tensor_shape())
    else {
        return Err(format!("its {kind} `{name}` is not a tensor"));
    };
    if element != expected.element {
        return Err(format!("its {kind} `{name}` holds {element}, not {}", expected.element));
    }
    let wanted = &expected.dimensions;
    if shape.len() != wanted.len() {
        return Err(format!(
            "its {kind} `{name}` has {} dimensions, not {}",
            shape.len(),
            wanted.len()
        ));
    }
    for (place, (&found, wanted)) in shape.iter().zip(wanted.iter().copied()).enumerate() {
        let place = place + 1;
        match wanted {
            Dimension::Is(size) if found >= 0 && found != i64::from(size) => {
                return Err(format!(
                    "dimension {place} of its {kind} `{name}` is {found}, not {size}"
                ));
            }
            Dimension::Free if found >= 0 => {
                return Err(format!(
                    "dimension {place} of its {kind} `{name}` is fixed to {found}, so its size cannot be free"
                ));
            }
            _ => {}
        }
    }
    Ok(())
}

fn names(outlets: &[Outlet]) -> String {
    let named: Vec<_> = outlets.iter().map(|outlet| format!("`{}`", outlet.name())).collect();
    named.join(", ")
}
