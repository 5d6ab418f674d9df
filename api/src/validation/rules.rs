//! The sanitisation rules: what happens to fields of a body before its schema looks at them, and what a schema
//! cannot say. Values in, values and faults out.
//!
//! Text is stored as it was said. It is escaped where it is shown (the pages set `textContent`), and values
//! reach the database as bound parameters, so nothing is ever escaped for SQL.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Number, Value, json};
use url::Url;

/// A rule as the program declares it.
pub struct DeclaredRule {
    /// Its name: the field that it is made for.
    pub field_name: &'static str,
    /// What it takes.
    pub field_type: &'static str,
    /// What kind of rule it is.
    pub sanitization_type: &'static str,
    /// What is said of a value that breaks it.
    pub error_message: &'static str,
    /// Its details.
    pub config: fn() -> Value,
}

/// The rules.
pub static DECLARED: [DeclaredRule; 5] = [
    DeclaredRule {
        field_name: "camera_name",
        field_type: "string",
        sanitization_type: "trim",
        error_message: "is no text",
        config: || json!({"remove_extra_spaces": true, "to_lowercase": false}),
    },
    DeclaredRule {
        field_name: "stream_url",
        field_type: "string",
        sanitization_type: "validate",
        error_message: "is no address that pictures can be fetched from",
        config: || json!({"check_url_format": true, "allowed_protocols": ["rtsp", "rtsps", "http", "https"]}),
    },
    DeclaredRule {
        field_name: "confidence_score",
        field_type: "float",
        sanitization_type: "validate",
        error_message: "is not within its range",
        config: || json!({"min": 0.0, "max": 1.0, "precision": 2}),
    },
    DeclaredRule {
        field_name: "bbox_coordinates",
        field_type: "json",
        sanitization_type: "validate",
        error_message: "is needed, and never negative",
        config: || json!({"required_fields": ["x", "y", "width", "height"], "non_negative": true}),
    },
    DeclaredRule {
        field_name: "user_input",
        field_type: "string",
        sanitization_type: "escape",
        error_message: "holds control characters",
        config: || json!({"escape_html": false, "escape_sql": false, "refuse_control_characters": true}),
    },
];

/// Fields that hold what people say, and nothing more special.
const TEXT_FIELDS: [&str; 3] = ["reason", "display_name", "model"];
/// In front of the fields of a box in a body.
const BOX_PREFIX: &str = "bbox_";
/// Decimals beyond this are beyond what a number holds.
const MAX_PRECISION: i32 = 15;

/// The rule for a field of a body; none for those that their schema says enough about.
pub fn rule_for(field: &str) -> Option<&'static str> {
    match field {
        _ if field.starts_with(BOX_PREFIX) => Some("bbox_coordinates"),
        _ if TEXT_FIELDS.contains(&field) => Some("user_input"),
        _ => DECLARED.iter().map(|rule| rule.field_name).find(|name| *name == field),
    }
}

/// One rule, ready to be used.
#[derive(Debug, Clone, PartialEq)]
enum Rule {
    Trim { remove_extra_spaces: bool, to_lowercase: bool },
    Url { check_url_format: bool, allowed_protocols: Vec<String> },
    Number { min: f64, max: f64, precision: i32 },
    Box { required_fields: Vec<String>, non_negative: bool },
    Text { refuse_control_characters: bool },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TrimConfig {
    remove_extra_spaces: bool,
    to_lowercase: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UrlConfig {
    check_url_format: bool,
    allowed_protocols: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NumberConfig {
    min: f64,
    max: f64,
    precision: i32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BoxConfig {
    required_fields: Vec<String>,
    non_negative: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TextConfig {
    escape_html: bool,
    escape_sql: bool,
    refuse_control_characters: bool,
}

/// A row, as an operator left it.
#[derive(Debug, Clone, Deserialize)]
pub struct RuleRow {
    sanitization_config: Value,
    error_message: String,
}

/// All rules, by name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rules(BTreeMap<String, (Rule, String)>);

/// A place in a body (a JSON pointer) and what is wrong there.
pub type At = (String, String);

impl Rules {
    /// Sets the rule `name`; says why not.
    pub fn set(&mut self, name: &str, row: RuleRow) -> Result<(), String> {
        let rule = compile(name, row.sanitization_config)
            .map_err(|reason| format!("sanitization_config: {reason}"))?;
        self.0.insert(name.to_owned(), (rule, row.error_message));
        Ok(())
    }

    /// Applies the rule `name` to `field` of `body`: changes what it may mend, and says what it may not.
    pub fn apply(&self, name: &str, field: &str, body: &mut Map<String, Value>) -> Vec<At> {
        let Some((rule, message)) = self.0.get(name) else { return Vec::new() };
        let at = |field: &str| (format!("/{field}"), message.clone());
        let Some(value) = body.get_mut(field) else {
            // A box is only a box with all of its fields; whether others must be there is the schema's to say.
            return match rule {
                Rule::Box { required_fields, .. } if is_required(required_fields, field) => {
                    vec![at(field)]
                }
                _ => Vec::new(),
            };
        };
        let fine = match (rule, &*value) {
            (Rule::Trim { remove_extra_spaces, to_lowercase }, Value::String(text)) => {
                *value = trimmed(text, *remove_extra_spaces, *to_lowercase).into();
                true
            }
            (Rule::Url { check_url_format, allowed_protocols }, Value::String(text)) => {
                let text = text.trim().to_owned();
                let fine = url_fits(&text, *check_url_format, allowed_protocols);
                *value = text.into();
                fine
            }
            (Rule::Number { min, max, precision }, Value::Number(number)) => {
                match number.as_f64().filter(|number| (*min..=*max).contains(number)) {
                    Some(number) => {
                        *value = rounded(number, *precision);
                        true
                    }
                    None => false,
                }
            }
            (Rule::Box { non_negative, .. }, Value::Number(number)) => {
                number.as_f64().is_some_and(|number| !non_negative || number >= 0.0)
            }
            (Rule::Text { refuse_control_characters }, Value::String(text)) => {
                let control = |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t');
                !refuse_control_characters || !text.chars().any(control)
            }
            // Another type is the schema's to refuse.
            _ => true,
        };
        if fine { Vec::new() } else { vec![at(field)] }
    }
}

fn is_required(required: &[String], field: &str) -> bool {
    let name = field.strip_prefix(BOX_PREFIX).unwrap_or(field);
    required.iter().any(|one| one == name)
}

fn compile(name: &str, config: Value) -> Result<Rule, String> {
    fn read<T: serde::de::DeserializeOwned>(config: Value) -> Result<T, String> {
        serde_json::from_value(config).map_err(|error| error.to_string())
    }
    Ok(match name {
        "camera_name" => {
            let TrimConfig { remove_extra_spaces, to_lowercase } = read(config)?;
            Rule::Trim { remove_extra_spaces, to_lowercase }
        }
        "stream_url" => {
            let UrlConfig { check_url_format, allowed_protocols } = read(config)?;
            Rule::Url { check_url_format, allowed_protocols }
        }
        "confidence_score" => {
            let NumberConfig { min, max, precision } = read(config)?;
            if !(0..=MAX_PRECISION).contains(&precision) {
                return Err(format!("precision: {precision} is not from 0 to {MAX_PRECISION}"));
            }
            if min > max {
                return Err("min: is above max".to_owned());
            }
            Rule::Number { min, max, precision }
        }
        "bbox_coordinates" => {
            let BoxConfig { required_fields, non_negative } = read(config)?;
            Rule::Box { required_fields, non_negative }
        }
        "user_input" => {
            let TextConfig { escape_html, escape_sql, refuse_control_characters } = read(config)?;
            if escape_html || escape_sql {
                return Err(
                    "text is stored as it was said, and escaped where it is shown".to_owned()
                );
            }
            Rule::Text { refuse_control_characters }
        }
        _ => return Err("there is no such rule".to_owned()),
    })
}

/// Without spaces at its ends; `collapse`: with one space where there were several.
fn trimmed(text: &str, collapse: bool, lowercase: bool) -> String {
    let text = if collapse {
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    } else {
        text.trim().to_owned()
    };
    if lowercase { text.to_lowercase() } else { text }
}

/// Paths and devices are no URLs; which of them a camera may have, its type says.
fn url_fits(text: &str, check_format: bool, protocols: &[String]) -> bool {
    let Some((scheme, _)) = text.split_once("://") else { return true };
    let allowed = protocols.iter().any(|protocol| protocol.eq_ignore_ascii_case(scheme));
    let is_file = scheme.eq_ignore_ascii_case("file");
    let well_formed = !check_format || Url::parse(text).is_ok_and(|url| url.has_host() || is_file);
    (allowed || is_file) && well_formed
}

fn rounded(number: f64, precision: i32) -> Value {
    let factor = 10_f64.powi(precision);
    Number::from_f64((number * factor).round() / factor).map_or(Value::Null, Value::Number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn rules() -> Rules {
        let mut rules = Rules::default();
        for rule in &DECLARED {
            let row = RuleRow {
                sanitization_config: (rule.config)(),
                error_message: rule.error_message.to_owned(),
            };
            rules.set(rule.field_name, row).expect("a rule");
        }
        rules
    }

    #[rstest]
    #[case::trimmed("camera_name", json!("  Cửa   chính\t1 "), Some(json!("Cửa chính 1")))]
    #[case::any_script("camera_name", json!("入口 <b>'; DROP"), Some(json!("入口 <b>'; DROP")))]
    #[case::rtsp("stream_url", json!(" rtsp://u:p@10.0.0.7/main "), Some(json!("rtsp://u:p@10.0.0.7/main")))]
    #[case::rtsps("stream_url", json!("RTSPS://camera.example/"), Some(json!("RTSPS://camera.example/")))]
    #[case::hls("stream_url", json!("https://c.example/a.m3u8"), Some(json!("https://c.example/a.m3u8")))]
    #[case::device("stream_url", json!("/dev/video0"), Some(json!("/dev/video0")))]
    #[case::gopher("stream_url", json!("gopher://10.0.0.7/"), None)]
    #[case::ffmpeg_protocols("stream_url", json!("concat://a|b"), None)]
    #[case::no_host("stream_url", json!("rtsp:///main"), None)]
    #[case::rounded("confidence_score", json!(0.876), Some(json!(0.88)))]
    #[case::whole("confidence_score", json!(1), Some(json!(1.0)))]
    #[case::above("confidence_score", json!(1.01), None)]
    #[case::below("confidence_score", json!(-0.01), None)]
    #[case::left_edge("bbox_x", json!(0), Some(json!(0)))]
    #[case::outside("bbox_x", json!(-1), None)]
    #[case::as_said("reason", json!("<script>alert('1')</script>"), Some(json!("<script>alert('1')</script>")))]
    #[case::nul("reason", json!("a\u{0}b"), None)]
    fn fields_are_mended_or_refused(
        #[case] field: &str,
        #[case] value: Value,
        #[case] expected: Option<Value>,
    ) {
        let mut body = Map::from_iter([(field.to_owned(), value)]);
        let rule = rule_for(field).expect("a rule");
        let faults = rules().apply(rule, field, &mut body);
        match expected {
            Some(expected) => {
                assert_eq!(faults, []);
                assert_eq!(body[field], expected);
            }
            None => assert_eq!(faults[0].0, format!("/{field}")),
        }
    }

    #[test]
    fn a_box_has_four_sides() {
        let rules = rules();
        let faults = |field| rules.apply("bbox_coordinates", field, &mut Map::new()).len();
        assert_eq!(["bbox_x", "bbox_y", "bbox_width", "bbox_height"].map(faults), [1; 4]);
        assert_eq!(faults("bbox_angle"), 0);
    }

    #[rstest]
    #[case("confidence_score", json!({"min": 1.0, "max": 0.0, "precision": 2}), "min")]
    #[case("confidence_score", json!({"min": 0.0, "max": 1.0, "precision": 99}), "precision")]
    #[case("camera_name", json!({"remove_extra_spaces": "yes", "to_lowercase": false}), "boolean")]
    #[case("stream_url", json!({}), "check_url_format")]
    #[case("user_input", json!({"escape_html": true, "escape_sql": false, "refuse_control_characters": true}), "as it was said")]
    fn what_cannot_be_obeyed_is_refused(
        #[case] name: &str,
        #[case] config: Value,
        #[case] reason: &str,
    ) {
        let mut rules = rules();
        let row = RuleRow { sanitization_config: config, error_message: String::new() };
        let refused = rules.set(name, row).expect_err("refused");
        assert!(refused.contains(reason), "{refused}");
        assert_eq!(rules, self::rules());
    }
}
