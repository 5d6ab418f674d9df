//! The same network with less work: what YOLOX's graph computes for nothing is left out before ONNX Runtime sees it.
//!
//! * The scores of all classes but people: the last layer of the class branch keeps one channel of 80, and what
//!   follows (joining, transposing) has 6 numbers a cell in place of 85. Everything that is left is computed as
//!   before.
//! * The first step, which takes a picture apart into its even and odd rows and columns (`Focus`) for a convolution of 3 × 3:
//!   that is a convolution of 6 × 6 with a step of 2 over the picture itself, with the same weights in another
//!   order. Sums are rounded in another order, too.
//!
//! Pure: bytes in, bytes out. A graph that is not exactly like this is left as it is.

mod proto;

use prost::Message;

use crate::manifest::{Decoder, Manifest};
use proto::{Attribute, Graph, Model, Node, Tensor};

/// `TensorProto.DataType` of ONNX.
const FLOAT: i32 = 1;
const INT64: i32 = 7;

/// The file of a lighter network and the manifest that goes with it; none if there is nothing to be left out, or
/// something in the file that is not known here.
pub fn lighter(file: &[u8], manifest: &Manifest) -> Option<(Vec<u8>, Manifest)> {
    let Decoder::Yolox { boxes, classes, strides, decoded } = &manifest.decoder else {
        return None;
    };
    let mut model = Model::decode(file).ok()?;
    // What cannot be written as it was read holds more than is known here; and old files list weights among the
    // inputs, with the shapes that they would lose.
    if model.encode_to_vec() != file || model.graph.input.len() != 1 {
        return None;
    }
    let person = usize::try_from(manifest.person_class).ok()?;
    let classes = usize::try_from(*classes).ok()?;
    if classes < 2 || person >= classes {
        return None;
    }
    keep_class(&mut model.graph, boxes, person, classes)?;
    fold_focus(&mut model.graph, &manifest.input);
    let decoder = Decoder::Yolox {
        boxes: boxes.clone(),
        classes: 1,
        strides: strides.clone(),
        decoded: *decoded,
    };
    Some((model.encode_to_vec(), Manifest { decoder, person_class: 0, ..manifest.clone() }))
}

/// Keeps one of the classes of a head that ends in `Transpose(Concat(Reshape(Concat(box, objectness, class)) for each
/// grid))`, the class being `Sigmoid(Conv)`. None if the graph does not end so; then it is not to be used.
fn keep_class(graph: &mut Graph, output: &str, person: usize, classes: usize) -> Option<()> {
    let columns = i64::try_from(5 + classes).ok()?;
    let transpose = graph.maker(output, "Transpose")?;
    let joined = graph.maker(transpose.input.first()?, "Concat")?.clone();
    for grid in &joined.input {
        let reshape = graph.maker(grid, "Reshape")?;
        let [cells, shape] = &reshape.input[..] else { return None };
        let (cells, shape) = (cells.clone(), shape.clone());
        let class = graph.maker(&cells, "Concat")?.input.last()?.clone();
        let sigmoid = graph.maker(&class, "Sigmoid")?;
        let scores = sigmoid.input.first()?.clone();
        let conv = graph.maker(&scores, "Conv")?;
        let [_, weight, bias] = &conv.input[..] else { return None };
        let weights = [weight.clone(), bias.clone()];
        if conv.ints("group") != [1] || graph.users(&scores) != 1 || graph.users(&class) != 1 {
            return None;
        }
        for name in &weights {
            if graph.users(name) != 1 {
                return None;
            }
            graph.tensor(name, FLOAT)?.keep_row(person, classes)?;
        }
        let shape = graph.tensor(&shape, INT64)?;
        let mut sides = shape.int64s()?;
        // Grids may share their shape, which then is as it must be already.
        match sides.get_mut(1)? {
            side if *side == columns => *side = 6,
            side if *side == 6 => {}
            _ => return None,
        }
        shape.raw_data = Some(sides.iter().flat_map(|side| side.to_le_bytes()).collect());
    }
    // What is noted of sizes in between may no longer be so; the runtime finds them by itself.
    graph.value_info.clear();
    let told = graph.output.iter_mut().find(|told| told.name.as_deref() == Some(output))?;
    let side = told.kind.as_mut()?.tensor.as_mut()?.shape.as_mut()?.dim.last_mut()?;
    if side.value.is_some_and(|value| value != columns) {
        return None;
    }
    side.value = Some(6);
    Some(())
}

/// Makes one convolution of `Conv(Concat(four slices of the input))`. Leaves a graph that does not begin so as it is.
fn fold_focus(graph: &mut Graph, input: &str) -> Option<()> {
    let is_stem = |node: &Node| {
        let joined = node.input.first().and_then(|joined| graph.maker(joined, "Concat"));
        node.is("Conv") && joined.is_some_and(|joined| joined.ints("axis") == [1])
    };
    let at = graph.node.iter().position(is_stem)?;
    let conv = &graph.node[at];
    let plain = conv.ints("group") == [1]
        && conv.ints("kernel_shape") == [3, 3]
        && conv.ints("strides") == [1, 1]
        && conv.ints("pads") == [1, 1, 1, 1]
        && conv.ints("dilations") == [1, 1];
    let (joined, weight) = (conv.input.first()?.clone(), conv.input.get(1)?.clone());
    let parts = graph.maker(&joined, "Concat")?.input.clone();
    let mut removed = vec![joined.clone()];
    let mut offsets = Vec::new();
    for part in &parts {
        let columns = graph.maker(part, "Slice")?;
        let rows = graph.maker(columns.input.first()?, "Slice")?;
        let from = (graph.every_second(rows, 2)?, graph.every_second(columns, 3)?);
        let once = [part, &columns.input[0]].iter().all(|value| graph.users(value) == 1);
        if rows.input.first().is_none_or(|source| source != input) || !once {
            return None;
        }
        removed.extend([part.clone(), columns.input[0].clone()]);
        offsets.push(from);
    }
    let mut each = offsets.clone();
    each.sort_unstable();
    let all_four = each == [(0, 0), (0, 1), (1, 0), (1, 1)];
    if !plain || !all_four || graph.users(&joined) != 1 || graph.users(&weight) != 1 {
        return None;
    }
    graph.tensor(&weight, FLOAT)?.spread(&offsets)?;
    let conv = &mut graph.node[at];
    conv.input[0] = input.to_owned();
    for (name, ints) in
        [("kernel_shape", vec![6; 2]), ("strides", vec![2; 2]), ("pads", vec![2; 4])]
    {
        if let Some(attribute) = conv.attribute_mut(name) {
            attribute.ints = ints;
        }
    }
    graph.node.retain(|node| !node.output.iter().any(|output| removed.contains(output)));
    Some(())
}

impl Graph {
    /// The operation that makes `value`, if it is of this kind.
    fn maker(&self, value: &str, op_type: &str) -> Option<&Node> {
        let maker = self.node.iter().find(|node| node.output.iter().any(|output| output == value));
        maker.filter(|node| node.is(op_type))
    }

    /// How often `value` is used.
    fn users(&self, value: &str) -> usize {
        let outputs = self.output.iter().filter(|output| output.name.as_deref() == Some(value));
        let inputs = self.node.iter().flat_map(|node| &node.input);
        inputs.filter(|input| *input == value).count() + outputs.count()
    }

    /// The weights of this name, if their numbers are of this kind.
    fn tensor(&mut self, name: &str, data_type: i32) -> Option<&mut Tensor> {
        let named = self.initializer.iter_mut().find(|t| t.name.as_deref() == Some(name));
        named.filter(|tensor| tensor.data_type == Some(data_type))
    }

    /// Where a slice of every second along `axis`, up to the end, begins: 0 or 1.
    fn every_second(&self, slice: &Node, axis: i64) -> Option<usize> {
        let [_, starts, ends, axes, steps] = &slice.input[..] else { return None };
        let number = |name: &String| {
            let named = self.initializer.iter().find(|t| t.name.as_ref() == Some(name))?;
            let numbers = named.int64s()?;
            (numbers.len() == 1).then(|| numbers[0])
        };
        let whole = number(ends)? >= i64::from(i32::MAX);
        let fits = whole && number(axes)? == axis && number(steps)? == 2;
        usize::try_from(number(starts)?).ok().filter(|start| fits && *start < 2)
    }
}

impl Node {
    fn is(&self, op_type: &str) -> bool {
        self.op_type.as_deref() == Some(op_type)
    }

    /// The whole numbers of an attribute; none where it is not there.
    fn ints(&self, name: &str) -> Vec<i64> {
        let named = self.attribute.iter().find(|a| a.name.as_deref() == Some(name));
        named.map_or_else(Vec::new, |a| a.i.into_iter().chain(a.ints.iter().copied()).collect())
    }

    fn attribute_mut(&mut self, name: &str) -> Option<&mut Attribute> {
        self.attribute.iter_mut().find(|a| a.name.as_deref() == Some(name))
    }
}

impl Tensor {
    fn int64s(&self) -> Option<Vec<i64>> {
        let (numbers, rest) = self.raw_data.as_deref()?.as_chunks();
        let is_int64 = self.data_type == Some(INT64) && rest.is_empty();
        is_int64.then(|| numbers.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect())
    }

    /// Keeps one of `rows` along the first side.
    fn keep_row(&mut self, row: usize, rows: usize) -> Option<()> {
        let data = self.raw_data.as_ref()?;
        let side = self.dims.first_mut().filter(|side| usize::try_from(**side) == Ok(rows))?;
        let length = data.len() / rows;
        let kept = data.get(row * length..(row + 1) * length)?.to_vec();
        *side = 1;
        self.raw_data = Some(kept);
        Some(())
    }

    /// Weights of n × 12 × 3 × 3 for four pictures of every second pixel, as n × 3 × 6 × 6 for the whole picture.
    /// `offsets` are the first row and column of each of the four, in the order of the channels.
    fn spread(&mut self, offsets: &[(usize, usize)]) -> Option<()> {
        let [filters, 12, 3, 3] = self.dims[..] else { return None };
        let (taps, rest) = self.raw_data.as_deref()?.as_chunks::<4>();
        let filters = usize::try_from(filters).ok()?;
        if !rest.is_empty() || taps.len() != filters * 12 * 9 {
            return None;
        }
        let mut spread = vec![[0; 4]; taps.len()];
        for (from, tap) in taps.iter().enumerate() {
            let (filter, channel, row, column) =
                (from / 108, from / 9 % 12, from / 3 % 3, from % 3);
            let (first_row, first_column) = *offsets.get(channel / 3)?;
            let (row, column) = (2 * row + first_row, 2 * column + first_column);
            spread[((filter * 3 + channel % 3) * 6 + row) * 6 + column] = *tap;
        }
        self.dims = vec![filters as i64, 3, 6, 6];
        self.raw_data = Some(spread.concat());
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;

    #[test]
    fn a_file_that_lists_weights_among_its_inputs_is_left_as_it_is() {
        let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
        let data = std::env::var_os("HEADCOUNT_TEST_DATA").map_or_else(beside, PathBuf::from);
        let path = data.join("models/yolox_nano_416x416.onnx");
        if !path.exists() {
            eprintln!("SKIPPED: no model at {}", path.display());
            return;
        }
        let crate::Model { manifest, bytes, .. } = crate::Model::read(&path).expect("a model");
        assert!(lighter(&bytes, &manifest).is_some());
        let mut model = Model::decode(&bytes[..]).expect("ONNX");
        let weights = model.graph.input[0].clone();
        model.graph.input.push(weights);
        assert!(lighter(&model.encode_to_vec(), &manifest).is_none());
    }
}
