//! headcount-eval
