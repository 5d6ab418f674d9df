//! File, environment and flags put over each other, and everything wrong with them found at once.

use std::path::Path;

use serde_json::{Map, Value};

use super::{Config, ConfigErrors, Loaded, cameras};

/// Environment variables of this form are settings: `HEADCOUNT_KAFKA__BROKERS` is `kafka.brokers`.
const ENV_PREFIX: &str = "HEADCOUNT_";
/// What stands for a dot in a variable's name.
const ENV_DOT: &str = "__";
/// Key of the cameras in the file.
const CAMERAS: &str = "cameras";

/// Reads `file`, puts `env` over it, and `flags` (dotted path and value) over both.
pub fn load(
    file: Option<&Path>,
    env: impl IntoIterator<Item = (String, String)>,
    flags: &[(&str, String)],
) -> Result<Loaded, ConfigErrors> {
    let mut errors = Vec::new();
    let mut settings = Value::Object(Map::new());
    if let Some(file) = file {
        match read_file(file) {
            Ok(read) => settings = read,
            Err(error) => return Err(ConfigErrors(vec![error])),
        }
    }
    for (path, text) in from_env(env) {
        put(&mut settings, &path, typed(&path, &text));
    }
    for (path, text) in flags {
        put(&mut settings, path, typed(path, text));
    }
    let folder = file.and_then(Path::parent);
    let found = settings.as_object_mut().and_then(|settings| settings.remove(CAMERAS));
    let cameras = cameras::read(found, folder, &mut errors);
    let known = serde_json::to_value(Config::default()).unwrap_or_default();
    unknown_keys(&mut settings, &known, "", &mut errors);
    let config = deserialize::<Config>(settings, "", &mut errors);
    if let Some(config) = &config {
        check(config, &mut errors);
    }
    match config {
        Some(config) if errors.is_empty() => {
            Ok(Loaded { config, cameras, file: file.map(Path::to_owned) })
        }
        _ => Err(ConfigErrors(errors)),
    }
}

fn read_file(file: &Path) -> Result<Value, String> {
    let shown = file.display();
    let text = std::fs::read_to_string(file).map_err(|error| format!("{shown}: {error}"))?;
    toml::from_str(&text).map_err(|error| format!("{shown}: {}", error.to_string().trim_end()))
}

/// Settings among the environment's variables, in a fixed order.
fn from_env(env: impl IntoIterator<Item = (String, String)>) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (name, value) in env {
        if name == "DATABASE_URL" {
            found.push(("database.url".to_owned(), value));
            continue;
        }
        let Some(rest) = name.strip_prefix(ENV_PREFIX) else { continue };
        // Without the double underscore only what stands at the top is a setting; other
        // variables of ours (for tests, for libraries) are not.
        if rest.contains(ENV_DOT) || rest == "INSTANCE" {
            found.push((rest.to_lowercase().replace(ENV_DOT, "."), value));
        }
    }
    // `DATABASE_URL` is the weaker of the two.
    found.sort_by_key(|(path, _)| path.clone());
    found
}

/// A number, truth value or list where the setting takes one, else the text itself.
fn typed(path: &str, text: &str) -> Value {
    let as_text = Value::String(text.to_owned());
    let Ok(value) = serde_json::from_str::<Value>(text) else { return as_text };
    let mut alone = Value::Object(Map::new());
    put(&mut alone, path, value.clone());
    if serde_json::from_value::<Config>(alone).is_ok() { value } else { as_text }
}

fn put(settings: &mut Value, path: &str, value: Value) {
    let mut place = settings;
    for key in path.split('.') {
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        let Value::Object(map) = place else { return };
        place = map.entry(key).or_insert(Value::Null);
    }
    *place = value;
}

/// Reports and removes keys that `known` lacks. `known` is an example with every key; an empty object in it
/// takes any key, and the first element of an array stands for all.
pub(super) fn unknown_keys(value: &mut Value, known: &Value, path: &str, errors: &mut Vec<String>) {
    match (value, known) {
        (Value::Object(map), Value::Object(known)) if !known.is_empty() => {
            let unknown: Vec<String> =
                map.keys().filter(|key| !known.contains_key(*key)).cloned().collect();
            for key in unknown {
                map.remove(&key);
                let hint = suggestion(&key, known.keys());
                errors.push(format!("{}: there is no such setting{hint}", join(path, &key)));
            }
            for (key, value) in map {
                if let Some(known) = known.get(key) {
                    unknown_keys(value, known, &join(path, key), errors);
                }
            }
        }
        (Value::Array(elements), Value::Array(known)) => {
            for (i, element) in elements.iter_mut().enumerate() {
                if let Some(known) = known.first() {
                    unknown_keys(element, known, &format!("{path}[{i}]"), errors);
                }
            }
        }
        _ => {}
    }
}

fn suggestion<'a>(key: &str, known: impl Iterator<Item = &'a String>) -> String {
    let scored = known.map(|name| (strsim::jaro_winkler(key, name), name));
    let best = scored.max_by(|a, b| a.0.total_cmp(&b.0)).filter(|(score, _)| *score > 0.75);
    best.map_or_else(String::new, |(_, name)| format!("; did you mean `{name}`?"))
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// Reads a value; each key of a wrong type is reported and left at its default, so that all are found.
pub(super) fn deserialize<T: serde::de::DeserializeOwned>(
    mut value: Value,
    prefix: &str,
    errors: &mut Vec<String>,
) -> Option<T> {
    const MOST: usize = 50;
    for _ in 0..MOST {
        match serde_path_to_error::deserialize::<_, T>(value.clone()) {
            Ok(read) => return Some(read),
            Err(error) => {
                let path = error.path().to_string();
                errors.push(format!("{}: {}", join(prefix, &path), error.inner()));
                if !remove(&mut value, &path) {
                    return None;
                }
            }
        }
    }
    None
}

/// Removes what `path` (`a.b[2].c`) names. False when there is nothing to remove.
fn remove(value: &mut Value, path: &str) -> bool {
    let pointer = format!("/{}", path.replace(['.', '['], "/").replace(']', ""));
    let Some((parent, key)) = pointer.rsplit_once('/') else { return false };
    match value.pointer_mut(parent) {
        Some(Value::Object(map)) => map.remove(key).is_some(),
        _ => false,
    }
}

/// What no type can say.
fn check(config: &Config, errors: &mut Vec<String>) {
    let mut need = |ok: bool, message: &str| {
        if !ok {
            errors.push(message.to_owned());
        }
    };
    need(
        (1..=1000).contains(&config.topics.partitions),
        "topics.partitions: must be between 1 and 1000",
    );
    need(
        (1..=10).contains(&config.topics.replication),
        "topics.replication: must be between 1 and 10",
    );
    need(
        (1..=1000).contains(&config.database.max_connections),
        "database.max_connections: must be between 1 and 1000",
    );
    need(
        headcount_api::tenant::Tenant::new(&config.api.default_tenant).is_some(),
        "api.default_tenant: must be 1 to 64 letters, digits, `.`, `_` or `-`",
    );
    let loopback = config.api.listen.ip().is_loopback();
    for problem in config.api.auth.problems(loopback) {
        need(false, &format!("api.auth.{problem}"));
    }
    need(config.ingest.shards >= 1, "ingest.shards: must be at least 1");
    need(
        config.ingest.shard < config.ingest.shards.max(1),
        "ingest.shard: must be less than ingest.shards",
    );
    need(config.ingest.queue_pictures >= 1, "ingest.queue_pictures: must be at least 1");
    need(config.ingest.max_ahead_records >= 16, "ingest.max_ahead_records: must be at least 16");
    need(config.ingest.folder_fps > 0.0, "ingest.folder_fps: must be above 0");
    need(config.count.batch_records >= 1, "count.batch_records: must be at least 1");
    need(config.sink.batch_records >= 1, "sink.batch_records: must be at least 1");
    need(config.detect.batch_records >= 1, "detect.batch_records: must be at least 1");
    need(config.detect.detectors != Some(0), "detect.detectors: must be at least 1");
    need(config.api.max_in_flight >= 1, "api.max_in_flight: must be at least 1");
    need(config.api.redis_timeout_ms >= 1, "api.redis_timeout_ms: must be at least 1");
    need(config.api.max_connections >= 1, "api.max_connections: must be at least 1");
    need(
        (100..=5000).contains(&config.api.gateway_poll_ms),
        "api.gateway_poll_ms: must be between 100 and 5000",
    );
    let is_origin = |origin: &String| {
        url::Url::parse(origin).is_ok_and(|url| url.origin().ascii_serialization() == *origin)
    };
    need(
        config.api.cors_origins.iter().all(is_origin),
        "api.cors_origins: must be origins such as https://dashboard.example, without a path",
    );
    let is_redis = |url: &String| url.starts_with("redis://") || url.starts_with("unix://");
    need(
        config.api.redis_url.as_ref().is_none_or(is_redis),
        "api.redis_url: must begin with redis://",
    );
    if let Err(error) = config.detect.detector_settings().check() {
        errors.push(format!("detect.{error}"));
    }
    if let Some(url) = &config.database.url
        && !(url.starts_with("postgres://") || url.starts_with("postgresql://"))
    {
        errors.push("database.url: must begin with postgres://".to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_text(text: &str) -> Result<Loaded, ConfigErrors> {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("headcount.toml");
        std::fs::write(&file, text).expect("written");
        load(Some(&file), [], &[])
    }

    fn errors(text: &str) -> Vec<String> {
        from_text(text).expect_err("is refused").0
    }

    #[test]
    fn flags_win_over_environment_over_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("headcount.toml");
        std::fs::write(
            &file,
            "[kafka]\nbrokers = \"file:1\"\n[topics]\nprefix = \"file.\"\npartitions = 3\n",
        )
        .expect("written");
        let env = [
            ("HEADCOUNT_KAFKA__BROKERS", "env:2"),
            ("HEADCOUNT_TOPICS__PREFIX", "env."),
            ("HEADCOUNT_COUNT__TRACKER__MEMORY_S", "3.5"),
            ("HEADCOUNT_INSTANCE", "7"),
            ("HEADCOUNT_TEST_DATA", "/somewhere"),
            ("DATABASE_URL", "postgres://env/db"),
            ("PATH", "/bin"),
        ];
        let env = env.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let flags = [("kafka.brokers", "flag:3".to_owned())];
        let config = load(Some(&file), env, &flags).expect("loads").config;
        assert_eq!(config.kafka.brokers, "flag:3");
        assert_eq!((config.topics.prefix.as_str(), config.topics.partitions), ("env.", 3));
        assert_eq!(config.database.url.as_deref(), Some("postgres://env/db"));
        assert_eq!(config.count.tracker.memory_s, 3.5);
        assert_eq!(config.instance.as_deref(), Some("7"));
    }

    #[test]
    fn every_error_is_told_at_once_with_its_path() {
        let found = errors(
            r#"
            [kafka]
            broker = "localhost:9092"
            properties = { "sasl.mechanism" = "PLAIN" }
            [topics]
            partitions = "many"
            replication = 0
            [detcet]
            [log]
            format = "xml"
            [database]
            url = "mysql://x"
            [[cameras]]
            id = "door"
            source = { url = "clip.mp4", relatime = true }
            [[cameras.lines]]
            name = "in"
            from = [0.5, 0.5]
            to = [0.5, 0.5]
            [[cameras]]
            id = "door"
            source = { url = "other.mp4" }
            [[cameras.zones]]
            name = "hall"
            polygon = [[0.1, 0.1], [0.9, 0.9]]
            "#,
        );
        assert_eq!(
            found,
            [
                "cameras[0].source.relatime: there is no such setting; did you mean `realtime`?",
                "cameras[0].lines[0].to: a line needs two different ends",
                "cameras[1].zones[0].polygon: a zone needs at least 3 corners, not 2",
                "cameras[1].id: there are two cameras `default/door`",
                "detcet: there is no such setting; did you mean `detect`?",
                "kafka.broker: there is no such setting; did you mean `brokers`?",
                "log.format: unknown variant `xml`, expected `text` or `json`",
                "topics.partitions: invalid type: string \"many\", expected i32",
                "topics.replication: must be between 1 and 10",
                "database.url: must begin with postgres://",
            ]
        );
    }

    #[test]
    fn a_file_that_is_no_toml_says_where() {
        assert!(errors("[kafka\n")[0].contains("line 1"), "{:?}", errors("[kafka\n"));
    }

    #[test]
    fn the_shipped_example_is_valid() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("headcount.example.toml");
        let loaded = load(Some(&file), [], &[]).expect("loads");
        assert!(!loaded.cameras.is_empty());
    }
}
