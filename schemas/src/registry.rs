//! The built-in schema registry: fixed ids, every published version, nothing to run.
//!
//! Version `v` of a topic's value schema has id `base(topic) + v`, for all time. A schema file
//! that has been published is never edited; a change is a new file `v<N+1>.avsc` and a new row in
//! `TEXTS`. The tests hold every version against the one before it.

use std::sync::LazyLock;

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::writer::datum::GenericDatumWriter;

use crate::topic::{Topic, TopicNames};

macro_rules! text {
    ($topic:literal, $version:literal) => {
        include_str!(concat!("../avro/", $topic, "/", $version, ".avsc"))
    };
}

/// Every published schema, oldest version first.
const TEXTS: [(Topic, &[&str]); 11] = [
    (Topic::Frames, &[text!("frames", "v1")]),
    (Topic::Detections, &[text!("detections", "v1")]),
    (Topic::Crossings, &[text!("crossings", "v1")]),
    (Topic::Occupancy, &[text!("occupancy", "v1")]),
    (Topic::Visits, &[text!("visits", "v1")]),
    (Topic::Tracks, &[text!("tracks", "v1")]),
    (Topic::Coverage, &[text!("coverage", "v1")]),
    (Topic::CameraHealth, &[text!("camera-health", "v1")]),
    (Topic::Cameras, &[text!("cameras", "v1"), text!("cameras", "v2"), text!("cameras", "v3")]),
    (Topic::CountState, &[text!("count-state", "v1")]),
    (Topic::DeadLetters, &[text!("dead-letters", "v1")]),
];

/// One published version of one topic's schema.
pub struct Published {
    /// The topic whose values it describes.
    pub topic: Topic,
    /// Its version, from 1.
    pub version: u32,
    /// Its id on the wire.
    pub id: u32,
    /// Its text as published.
    pub text: &'static str,
    /// Parsed.
    pub schema: &'static Schema,
    pub(crate) writer: GenericDatumWriter<'static>,
    pub(crate) reader: GenericDatumReader<'static>,
}

impl Published {
    fn parse(topic: Topic, version: u32, text: &'static str) -> Result<Self, apache_avro::Error> {
        // Leaked on purpose: parsed once, used until the process ends.
        let schema: &'static Schema = Box::leak(Box::new(Schema::parse_str(text)?));
        Ok(Self {
            topic,
            version,
            id: topic.schema_id_base() + version,
            text,
            schema,
            writer: GenericDatumWriter::builder(schema).human_readable(false).build()?,
            reader: GenericDatumReader::builder(schema).human_readable(false).build()?,
        })
    }
}

static PUBLISHED: LazyLock<Vec<Published>> = LazyLock::new(|| {
    let versions = TEXTS.iter().flat_map(|(topic, texts)| {
        texts.iter().zip(1..).map(move |(text, version)| (*topic, version, *text))
    });
    versions
        .map(|(topic, version, text)| {
            Published::parse(topic, version, text)
                .unwrap_or_else(|error| panic!("built-in schema {topic} v{version}: {error}"))
        })
        .collect()
});

/// Every published schema, by topic, oldest version first.
pub fn all() -> &'static [Published] {
    &PUBLISHED
}

/// The schema with this id.
pub fn by_id(id: u32) -> Option<&'static Published> {
    all().iter().find(|published| published.id == id)
}

/// The versions of a topic, oldest first.
pub fn versions(topic: Topic) -> impl DoubleEndedIterator<Item = &'static Published> {
    all().iter().filter(move |published| published.topic == topic)
}

/// The version that new records are written with.
pub fn current(topic: Topic) -> &'static Published {
    versions(topic).next_back().unwrap_or_else(|| unreachable!("every topic has a schema"))
}

/// The subject of a topic's values under Confluent's default naming strategy: `<topic>-value`.
pub fn subject(names: &TopicNames, topic: Topic) -> String {
    format!("{}-value", names.full(topic))
}

/// The topic that a subject belongs to, if it is one of ours.
pub fn parse_subject(names: &TopicNames, subject: &str) -> Option<Topic> {
    names.parse(subject.strip_suffix("-value")?)
}
