//! JSON Schemas (2020-12) of bodies: those of the OpenAPI document, or what an operator made of them.

use std::collections::BTreeMap;

use jsonschema::error::ValidationErrorKind;
use jsonschema::{ValidationError, Validator};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::rules::{At, Rules, rule_for};
use crate::endpoints::Endpoint;

/// In front of the names of the document's schemas.
const COMPONENTS: &str = "#/components/schemas/";
/// Most faults that are told at once.
const MAX_FAULTS: usize = 50;
/// Most characters of what is said about one fault: it may quote the value.
const MAX_MESSAGE_CHARS: usize = 300;

/// The body of an endpoint, as the document describes it.
#[derive(Debug, Clone, PartialEq)]
pub struct DeclaredSchema {
    /// Its name, such as `camera_create`.
    pub name: String,
    /// A JSON Schema that needs no other document.
    pub schema: Value,
    /// Rules for its fields, by field.
    pub rules: BTreeMap<String, String>,
}

/// What `endpoint`'s body must be; none where it takes no JSON.
pub fn declared(endpoint: &Endpoint, document: &Value) -> Option<DeclaredSchema> {
    let method = endpoint.method.as_str().to_lowercase();
    let content = &document["paths"][endpoint.path][&method]["requestBody"]["content"];
    let reference = content["application/json"]["schema"]["$ref"].as_str()?;
    let component = reference.strip_prefix(COMPONENTS)?;
    let components = document["components"]["schemas"].as_object()?;
    let mut schema = components.get(component)?.clone();
    let mut needed = Map::new();
    collect(&schema, components, &mut needed);
    let root = schema.as_object_mut()?;
    root.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
    if !needed.is_empty() {
        root.insert("$defs".to_owned(), Value::Object(needed));
    }
    localize(&mut schema);
    let properties = schema["properties"].as_object()?;
    let ruled =
        properties.keys().filter_map(|field| Some((field.clone(), rule_for(field)?.to_owned())));
    Some(DeclaredSchema { name: snake_case(component), rules: ruled.collect(), schema })
}

/// Copies the components that `schema` refers to, directly or not.
fn collect(schema: &Value, components: &Map<String, Value>, needed: &mut Map<String, Value>) {
    match schema {
        Value::Object(map) => {
            let name = map.get("$ref").and_then(Value::as_str);
            let name = name.and_then(|reference| reference.strip_prefix(COMPONENTS));
            if let Some((name, component)) = name.and_then(|name| components.get_key_value(name))
                && !needed.contains_key(name)
            {
                needed.insert(name.clone(), component.clone());
                collect(component, components, needed);
            }
            map.values().for_each(|value| collect(value, components, needed));
        }
        Value::Array(items) => items.iter().for_each(|value| collect(value, components, needed)),
        _ => {}
    }
}

fn localize(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            // Examples are of no use to a validator, and OpenAPI's are no JSON Schema.
            map.remove("example");
            if let Some(Value::String(reference)) = map.get_mut("$ref") {
                *reference = reference.replace(COMPONENTS, "#/$defs/");
            }
            map.values_mut().for_each(localize);
        }
        Value::Array(items) => items.iter_mut().for_each(localize),
        _ => {}
    }
}

fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(c.to_lowercase());
    }
    snake
}

/// A row, as an operator left it.
#[derive(Debug, Clone, Deserialize)]
pub struct SchemaRow {
    validation_schema: Value,
    validation_rules: BTreeMap<String, String>,
    allow_unknown_fields: bool,
    sanitize_input: bool,
}

/// What a body must be, ready to be used.
#[derive(Debug)]
pub struct BodySchema {
    validator: Validator,
    /// Fields that the schema names, where others are dropped.
    known: Option<Vec<String>>,
    rules: BTreeMap<String, String>,
    addresses: Vec<String>,
}

impl BodySchema {
    /// Makes ready what a row says; says why not.
    pub fn compile(row: SchemaRow) -> Result<Self, String> {
        for (field, rule) in &row.validation_rules {
            if rule_for(rule) != Some(rule) {
                return Err(format!("validation_rules: `{field}` has the unknown rule `{rule}`"));
            }
        }
        // References to other documents are not followed: nothing is fetched.
        let validator = jsonschema::draft202012::options()
            .should_validate_formats(true)
            .build(&row.validation_schema)
            .map_err(|error| format!("validation_schema: {error}"))?;
        let properties = row.validation_schema["properties"].as_object();
        let known = properties.filter(|_| row.allow_unknown_fields);
        let is_address =
            |(field, rule): (&String, &String)| (rule == "stream_url").then(|| field.clone());
        Ok(Self {
            validator,
            known: known.map(|properties| properties.keys().cloned().collect()),
            addresses: row.validation_rules.iter().filter_map(is_address).collect(),
            rules: if row.sanitize_input { row.validation_rules } else { BTreeMap::new() },
        })
    }

    /// Mends `body` as far as the rules do, and says everything that is wrong with it.
    pub fn check(&self, rules: &Rules, body: &mut Value) -> Vec<At> {
        let mut faults: Vec<At> = Vec::new();
        if let Value::Object(fields) = body {
            if let Some(known) = &self.known {
                fields.retain(|field, _| known.contains(field));
            }
            for (field, rule) in &self.rules {
                faults.extend(rules.apply(rule, field, fields));
            }
        }
        let ruled = faults.len();
        for error in self.validator.iter_errors(&*body) {
            for (pointer, message) in told(&error) {
                // A rule has said so already, and in its own words.
                if !faults[..ruled].iter().any(|(at, _)| *at == pointer) {
                    faults.push((pointer, message));
                }
            }
        }
        faults.truncate(MAX_FAULTS);
        faults
    }

    /// Fields that hold addresses which pictures are fetched from.
    pub fn addresses(&self) -> &[String] {
        &self.addresses
    }
}

/// What is wrong, with its place. Of what may also be null it is told what is wrong with what it is.
fn told(error: &ValidationError<'_>) -> Vec<At> {
    let pointer = error.instance_path().to_string();
    match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            let place = |field: &String| field.replace('~', "~0").replace('/', "~1");
            let unknown =
                |field| (format!("{pointer}/{}", place(field)), "is not known here".to_owned());
            return unexpected.iter().map(unknown).collect();
        }
        ValidationErrorKind::OneOfNotValid { context } => {
            let is_of_another_type = |error: &ValidationError<'_>| {
                matches!(error.kind(), ValidationErrorKind::Type { .. })
                    && error.instance_path().as_str() == pointer
            };
            let mut meant = context.iter().filter(|errors| !errors.iter().any(is_of_another_type));
            if let (Some(errors), None) = (meant.next(), meant.next()) {
                return errors.iter().flat_map(told).collect();
            }
        }
        _ => {}
    }
    vec![(pointer, error.to_string().chars().take(MAX_MESSAGE_CHARS).collect())]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validation::rules::DECLARED;
    use rstest::rstest;

    fn row(schema: Value) -> SchemaRow {
        SchemaRow {
            validation_schema: schema,
            validation_rules: BTreeMap::from([(
                "camera_name".to_owned(),
                "camera_name".to_owned(),
            )]),
            allow_unknown_fields: false,
            sanitize_input: true,
        }
    }

    fn rules() -> Rules {
        let mut rules = Rules::default();
        for rule in &DECLARED {
            let row = json!({"sanitization_config": (rule.config)(), "error_message": "is wrong"});
            rules
                .set(rule.field_name, serde_json::from_value(row).expect("a row"))
                .expect("a rule");
        }
        rules
    }

    fn schema() -> Value {
        json!({
            "type": "object", "required": ["camera_name", "camera_type"], "additionalProperties": false,
            "properties": {
                "camera_name": {"type": "string", "minLength": 1, "maxLength": 200},
                "camera_type": {"enum": ["RTSP", "USB"]},
                "lines": {"type": "array", "items": {"required": ["name"]}}
            }
        })
    }

    #[test]
    fn everything_that_is_wrong_is_told_with_its_place() {
        let schema = BodySchema::compile(row(schema())).expect("a schema");
        let mut body = json!({"camera_name": "   ", "lines": [{}], "colour": 1});
        let mut places: Vec<String> =
            schema.check(&rules(), &mut body).into_iter().map(|(at, _)| at).collect();
        places.sort();
        assert_eq!(places, ["", "/camera_name", "/colour", "/lines/0"]);
        let mut body = json!({"camera_name": " a  b ", "camera_type": "USB"});
        assert_eq!(schema.check(&rules(), &mut body), []);
        assert_eq!(body["camera_name"], "a b");
        assert_eq!(schema.check(&rules(), &mut json!([]))[0].0, "");
    }

    #[rstest]
    #[case(json!({"email": "nowhere", "age": -1}), &["/profile/age", "/profile/email"])]
    #[case(json!({"e/mail": "a@b"}), &["/profile/e~1mail"])]
    #[case(json!([]), &["/profile"])]
    #[case(json!(null), &[])]
    fn what_may_be_null_is_told_as_what_it_is(#[case] profile: Value, #[case] places: &[&str]) {
        let schema = json!({"properties": {"profile": {"oneOf": [{"type": "null"}, {
            "type": "object", "additionalProperties": false,
            "properties": {"email": {"pattern": "@"}, "age": {"minimum": 0}}
        }]}}});
        let schema = BodySchema::compile(row(schema)).expect("a schema");
        let faults = schema.check(&Rules::default(), &mut json!({"profile": profile}));
        let mut told: Vec<&str> = faults.iter().map(|(at, _)| at.as_str()).collect();
        told.sort_unstable();
        assert_eq!(told, places);
    }

    #[test]
    fn unknown_fields_are_dropped_where_an_operator_says_so() {
        let tolerant = SchemaRow { allow_unknown_fields: true, ..row(schema()) };
        let schema = BodySchema::compile(tolerant).expect("a schema");
        let mut body = json!({"camera_name": "a", "camera_type": "USB", "colour": 1});
        assert_eq!(schema.check(&rules(), &mut body), []);
        assert!(body.get("colour").is_none());
    }

    #[test]
    fn a_broken_schema_is_refused() {
        let refused = BodySchema::compile(row(json!({"type": "strng"}))).expect_err("refused");
        assert!(refused.starts_with("validation_schema:"), "{refused}");
        let remote = json!({"$ref": "http://127.0.0.1:1/schema.json"});
        assert!(BodySchema::compile(row(remote)).is_err());
        let mut unruly = row(schema());
        unruly.validation_rules.insert("camera_name".to_owned(), "shout".to_owned());
        assert!(BodySchema::compile(unruly).expect_err("refused").contains("shout"));
    }

    #[test]
    fn names_are_those_of_the_guide() {
        assert_eq!(snake_case("CameraCreate"), "camera_create");
    }
}
