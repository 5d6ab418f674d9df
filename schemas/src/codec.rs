//! Confluent wire format: `0x00`, the schema id as four bytes big-endian, the Avro datum.
//! <https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/index.html#wire-format>

use std::sync::LazyLock;

use apache_avro::reader::datum::GenericDatumReader;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::ids::CameraKey;
use crate::registry::{self, Published};
use crate::topic::Topic;

/// First byte of every record.
const MAGIC: u8 = 0;
/// Bytes in front of the datum.
const HEADER_BYTES: usize = 5;
/// No single field of a record may claim more bytes than this: a corrupt length must not
/// make us ask for gigabytes.
const MAX_ALLOCATION_BYTES: usize = 32 << 20;

/// A record of a topic.
pub trait Event: Serialize + DeserializeOwned {
    /// Its topic.
    const TOPIC: Topic;

    /// Its key on the topic.
    fn camera_key(&self) -> CameraKey;
}

/// Why bytes are no record, or a record no bytes.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// Fewer bytes than the header has.
    #[error("{0} bytes are too few for a record")]
    TooShort(usize),
    /// The first byte is not zero.
    #[error("magic byte is {0}, not 0")]
    BadMagic(u8),
    /// No schema of this topic has that id.
    #[error("schema id {id} is not one of topic {topic}")]
    UnknownSchema {
        /// The id that the record carries.
        id: u32,
        /// The topic it was read as.
        topic: Topic,
    },
    /// Bytes are left over behind the datum.
    #[error("{0} bytes are left over behind the record")]
    TrailingBytes(usize),
    /// The datum does not fit the schema.
    #[error("not a record of topic {topic}: {source}")]
    Avro {
        /// The topic it was read or written as.
        topic: Topic,
        /// What Avro says.
        source: Box<apache_avro::Error>,
    },
}

impl CodecError {
    /// A short label for metrics.
    pub fn label(&self) -> &'static str {
        match self {
            CodecError::TooShort(_) => "too_short",
            CodecError::BadMagic(_) => "bad_magic",
            CodecError::UnknownSchema { .. } => "unknown_schema",
            CodecError::TrailingBytes(_) => "trailing_bytes",
            CodecError::Avro { .. } => "avro",
        }
    }

    fn avro(topic: Topic) -> impl FnOnce(apache_avro::Error) -> Self {
        move |source| CodecError::Avro { topic, source: Box::new(source) }
    }
}

static ALLOCATION_LIMIT: LazyLock<usize> =
    LazyLock::new(|| apache_avro::util::max_allocation_bytes(MAX_ALLOCATION_BYTES));

/// Encodes `event` with the newest schema of its topic.
pub fn encode<E: Event>(event: &E) -> Result<Vec<u8>, CodecError> {
    let published = registry::current(E::TOPIC);
    let mut bytes = Vec::with_capacity(256);
    bytes.push(MAGIC);
    bytes.extend_from_slice(&published.id.to_be_bytes());
    published.writer.write_ser(&mut bytes, event).map_err(CodecError::avro(E::TOPIC))?;
    Ok(bytes)
}

/// Decodes a record of `E`'s topic, written with any published version of its schema.
pub fn decode<E: Event>(bytes: &[u8]) -> Result<E, CodecError> {
    LazyLock::force(&ALLOCATION_LIMIT);
    if bytes.len() < HEADER_BYTES {
        return Err(CodecError::TooShort(bytes.len()));
    }
    if bytes[0] != MAGIC {
        return Err(CodecError::BadMagic(bytes[0]));
    }
    let id = u32::from_be_bytes([bytes[1], bytes[2], bytes[3], bytes[4]]);
    let written = registry::by_id(id)
        .filter(|published| published.topic == E::TOPIC)
        .ok_or(CodecError::UnknownSchema { id, topic: E::TOPIC })?;
    let mut datum = &bytes[HEADER_BYTES..];
    let event = read_datum(written, registry::current(E::TOPIC), &mut datum)
        .map_err(CodecError::avro(E::TOPIC))?;
    if !datum.is_empty() {
        return Err(CodecError::TrailingBytes(datum.len()));
    }
    Ok(event)
}

/// Straight into the type when the record has the newest schema; through Avro's schema
/// resolution, which is slower, when it has an older one.
fn read_datum<E: Event>(
    written: &'static Published,
    current: &'static Published,
    datum: &mut &[u8],
) -> Result<E, apache_avro::Error> {
    if written.id == current.id {
        return written.reader.read_deser(datum);
    }
    let value = GenericDatumReader::builder(written.schema)
        .reader_schema(current.schema)
        .human_readable(false)
        .build()?
        .read_value(datum)?;
    apache_avro::from_value(&value)
}
