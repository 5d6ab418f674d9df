//! headcount-count
