//! headcount-api
