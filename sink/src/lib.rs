//! headcount-sink
