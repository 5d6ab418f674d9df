//! headcount-analyze
