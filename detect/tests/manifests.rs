//! What a manifest may say, and what is answered when it says something else.

use headcount_detect::Manifest;
use headcount_detect::manifest::{ChannelOrder, Decoder, InputSize, LetterboxPosition};
use rstest::rstest;

const FIXED: &str = include_str!("../manifests/yolox_nano_416x416.toml");
const INSIDE: &str = include_str!("../manifests/rtmdet_nano_person_dynamic_nms.toml");

#[test]
fn a_fixed_yolox() {
    let manifest = Manifest::parse(FIXED).expect("valid");
    assert_eq!(manifest.name, "yolox_nano_416x416");
    assert_eq!(manifest.input, "images");
    assert_eq!(manifest.channels, ChannelOrder::Bgr);
    assert_eq!(manifest.size, InputSize::Fixed { width: 416, height: 416 });
    assert_eq!((manifest.pad, manifest.position), (114, LetterboxPosition::TopLeft));
    assert_eq!(manifest.decoder.cells((416, 416)), Some(3549));
    assert_eq!(
        manifest.decoder,
        Decoder::Yolox {
            boxes: "output".into(),
            classes: 80,
            strides: vec![8, 16, 32],
            decoded: false
        }
    );
}

#[test]
fn a_free_one_with_suppression_inside() {
    let manifest = Manifest::parse(INSIDE).expect("valid");
    assert_eq!(manifest.size, InputSize::Free { multiple_of: 32, longest_side_px: 416 });
    assert_eq!(manifest.mean, [103.53, 116.28, 123.675]);
    assert_eq!(
        manifest.decoder,
        Decoder::NmsInside { boxes: "dets".into(), labels: "labels".into() }
    );
    assert_eq!(manifest.decoder.cells((416, 416)), None);
}

#[rstest]
#[case::rgb(("\"bgr\"", "\"rgb\""))]
#[case::centred(("\"top-left\"", "\"center\""))]
#[case::decoded(("\"yolox\"", "\"yolox-decoded\""))]
#[case::whole_numbers(("[0.0, 0.0, 0.0]", "[0, 0, 0]"))]
fn other_choices(#[case] (from, to): (&str, &str)) {
    assert!(FIXED.contains(from));
    Manifest::parse(&FIXED.replace(from, to)).expect("valid");
}

#[rstest]
#[case::not_toml(FIXED, ("[input]", "[input"), "line 4 (`[input`): ")]
#[case::unknown_key(FIXED, ("pad = 114", "padding = 114"), "line 14 (`padding = 114`): unknown field `padding`, expected `pad` or `position`")]
#[case::unknown_table(FIXED, ("[people]", "[persons]"), "unknown field `persons`")]
#[case::missing_key(FIXED, ("name = \"images\"\n", ""), "missing field `name`")]
#[case::kind(FIXED, ("width = 416", "width = \"416\""), "line 10 (`width = \"416\"`): invalid type: string \"416\", expected u32")]
#[case::layout(FIXED, ("\"nchw\"", "\"nhwc\""), "unknown variant `nhwc`, expected `nchw`")]
#[case::channels(FIXED, ("\"bgr\"", "\"gray\""), "unknown variant `gray`, expected `bgr` or `rgb`")]
#[case::position(FIXED, ("\"top-left\"", "\"left\""), "unknown variant `left`, expected `top-left` or `center`")]
#[case::decoder(FIXED, ("\"yolox\"", "\"ssd\""), "unknown variant `ssd`, expected one of `yolox`, `yolox-decoded`, `nms-inside`")]
#[case::pad(FIXED, ("pad = 114", "pad = 300"), "line 14 (`pad = 300`): invalid value: integer `300`, expected u8")]
#[case::name(FIXED, ("\"yolox_nano_416x416\"", "\"a b\""), "name: must have 1 to 100 letters")]
#[case::std(FIXED, ("std = [1.0, 1.0, 1.0]", "std = [1.0, 0.0, 1.0]"), "input.std: must be finite numbers above 0")]
#[case::mean(FIXED, ("mean = [0.0, 0.0, 0.0]", "mean = [0.0, nan, 0.0]"), "input.mean: must be finite numbers")]
#[case::min_score(FIXED, ("min_score = 0.1", "min_score = 1.1"), "people.min_score: must be between 0 and 1, not 1.1")]
#[case::nms_iou(FIXED, ("nms_iou = 0.5", "nms_iou = nan"), "people.nms_iou: must be between 0 and 1, not NaN")]
#[case::class(FIXED, ("class = 0", "class = 80"), "people.class: must be below output.classes (80)")]
#[case::no_strides(FIXED, ("strides = [8, 16, 32]\n", ""), "output.strides: must be 1 to 8 numbers")]
#[case::stride_zero(FIXED, ("[8, 16, 32]", "[0, 16, 32]"), "output.strides: must be 1 to 8 numbers")]
#[case::no_classes(FIXED, ("classes = 80\n", ""), "output.classes: is missing")]
#[case::half_a_size(FIXED, ("height = 416\n", ""), "input: needs either `width` and `height`, or")]
#[case::two_sizes(FIXED, ("height = 416", "height = 416\nlongest_side = 416"), "input: needs either")]
#[case::odd_size(FIXED, ("width = 416", "width = 420"), "input.width: 420 is not a multiple of the stride 8")]
#[case::huge(FIXED, ("width = 416", "width = 41600"), "input.width: must be between 1 and 4096, not 41600")]
#[case::labels(FIXED, ("classes = 80", "classes = 80\nlabels = \"x\""), "output.labels: has no meaning")]
#[case::no_labels(INSIDE, ("labels = \"labels\"\n", ""), "output.labels: is missing")]
#[case::strides_inside(INSIDE, ("[people]", "strides = [8]\n[people]"), "output.strides: has no meaning")]
#[case::no_multiple(INSIDE, ("multiple_of = 32", "multiple_of = 0"), "input.multiple_of: must be between 1 and 4096, not 0")]
fn what_is_wrong_is_said(
    #[case] manifest: &str,
    #[case] (from, to): (&str, &str),
    #[case] expected: &str,
) {
    assert!(manifest.contains(from), "{from}");
    let refused = Manifest::parse(&manifest.replacen(from, to, 1)).expect_err("wrong").to_string();
    assert!(refused.contains(expected), "{refused}");
    assert!(!refused.contains('\n'), "{refused}");
}

#[test]
fn everything_wrong_is_said_at_once() {
    let manifest = FIXED
        .replace("min_score = 0.1", "min_score = -1.0")
        .replace("class = 0", "class = 99")
        .replace("height = 416", "height = 417");
    let refused = Manifest::parse(&manifest).expect_err("wrong").to_string();
    assert!(
        refused.contains("people.min_score:")
            && refused.contains("people.class:")
            && refused.contains("input.height:"),
        "{refused}"
    );
}
