//! headcount-ingest
