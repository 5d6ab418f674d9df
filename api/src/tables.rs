//! Rows of a camera as a table: comma-separated values (RFC 4180), an Arrow stream, or a Parquet file. Each row is
//! led by the camera's id; null is empty, or null.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{ArrowError, DataType, Field, FieldRef, TimeUnit};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use serde::Serialize;

use crate::answers::link_to_next;
use crate::csv_answer::CsvAnswer;
use crate::formats::Format;
use crate::problem::{Code, Problem};

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    Text,
    /// A whole number of up to 64 bits.
    Integer,
    /// A number of 32 bits.
    Single,
    /// A number of 64 bits.
    Double,
    /// A point in time, in UTC with microseconds.
    Time,
}

impl Kind {
    fn of_arrow(self) -> DataType {
        match self {
            Kind::Text => DataType::Utf8,
            Kind::Integer => DataType::Int64,
            Kind::Single => DataType::Float32,
            Kind::Double => DataType::Float64,
            Kind::Time => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        }
    }
}

/// A row of a table.
pub trait Row: Serialize {
    /// Names and kinds of its fields, in their order.
    const COLUMNS: &[(&str, Kind)];
}

/// Why a table cannot be written; only a mistake in this program makes one.
#[derive(Debug, thiserror::Error)]
enum TableError {
    /// Rows are not what their columns say.
    #[error(transparent)]
    Rows(#[from] serde_arrow::Error),
    /// Arrow refuses it.
    #[error(transparent)]
    Arrow(#[from] ArrowError),
    /// So does Parquet's writer.
    #[error(transparent)]
    Parquet(#[from] parquet::errors::ParquetError),
}

/// The name of the first column.
const CAMERA: &str = "camera_id";

/// A page of `rows` of `camera` in `format`, one that is no JSON, with the address of the page that follows.
pub fn of_camera<T: Row>(format: Format, camera: &str, rows: &[T], next: Option<&str>) -> Response {
    let written = match format {
        Format::Json | Format::Csv => return csv(camera, rows).respond(next),
        Format::ArrowStream => arrow_stream(camera, rows),
        Format::Parquet => parquet(camera, rows),
    };
    match written {
        Ok(bytes) => {
            let content_type = HeaderValue::from_static(format.content_type());
            let mut response = ([(header::CONTENT_TYPE, content_type)], bytes).into_response();
            link_to_next(&mut response, next);
            response
        }
        Err(error) => {
            tracing::error!(%error, "a table cannot be written");
            Problem::new(Code::InternalError, "the request could not be completed").into_response()
        }
    }
}

fn csv<T: Row>(camera: &str, rows: &[T]) -> CsvAnswer {
    let names = T::COLUMNS.iter().map(|(name, _)| (*name).to_owned());
    let mut answer = CsvAnswer::new(std::iter::once(CAMERA.to_owned()).chain(names));
    for row in rows {
        answer.values((camera, row));
    }
    answer
}

fn arrow_stream<T: Row>(camera: &str, rows: &[T]) -> Result<Vec<u8>, TableError> {
    let batch = batch(camera, rows)?;
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema())?;
    writer.write(&batch)?;
    Ok(writer.into_inner()?)
}

fn parquet<T: Row>(camera: &str, rows: &[T]) -> Result<Vec<u8>, TableError> {
    let batch = batch(camera, rows)?;
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties))?;
    writer.write(&batch)?;
    Ok(writer.into_inner()?)
}

/// One row, as a struct of all columns.
#[derive(Serialize)]
struct OfCamera<'a, T> {
    camera_id: &'a str,
    #[serde(flatten)]
    row: &'a T,
}

fn batch<T: Row>(camera: &str, rows: &[T]) -> Result<RecordBatch, TableError> {
    let columns = std::iter::once((CAMERA, Kind::Text)).chain(T::COLUMNS.iter().copied());
    let fields: Vec<FieldRef> =
        columns.map(|(name, kind)| Arc::new(Field::new(name, kind.of_arrow(), true))).collect();
    let rows: Vec<_> = rows.iter().map(|row| OfCamera { camera_id: camera, row }).collect();
    Ok(serde_arrow::to_record_batch(&fields, &rows)?)
}
