//! Answers as comma-separated values (RFC 4180): a line of names, then lines of values; empty is null.

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::answers::link_to_next;
use crate::problem::{Code, Problem};

/// With the charset that it always has (RFC 7111).
const CSV: &str = "text/csv; charset=utf-8";

/// Lines, written one by one.
pub struct CsvAnswer {
    writer: csv::Writer<Vec<u8>>,
    failed: bool,
}

impl CsvAnswer {
    /// Begins with a line of `names`.
    pub fn new(names: impl IntoIterator<Item = String>) -> Self {
        let terminator = csv::Terminator::CRLF;
        let writer = csv::WriterBuilder::new()
            .terminator(terminator)
            .has_headers(false)
            .from_writer(Vec::new());
        let mut answer = Self { writer, failed: false };
        answer.line(names);
        answer
    }

    /// Adds a line, which has as many values as there are names.
    pub fn line(&mut self, values: impl IntoIterator<Item = String>) {
        self.failed |= self.writer.write_record(values).is_err();
    }

    /// Adds a line of the fields of `row`, in their order.
    pub fn values(&mut self, row: impl Serialize) {
        self.failed |= self.writer.serialize(row).is_err();
    }

    /// The answer, with the address of the page that follows.
    pub fn respond(self, next: Option<&str>) -> Response {
        let Some(bytes) = self.writer.into_inner().ok().filter(|_| !self.failed) else {
            tracing::error!("lines of different lengths were written");
            return Problem::new(Code::InternalError, "the request could not be completed")
                .into_response();
        };
        let mut response =
            ([(header::CONTENT_TYPE, HeaderValue::from_static(CSV))], bytes).into_response();
        link_to_next(&mut response, next);
        response
    }
}
