//! headcount-detect
