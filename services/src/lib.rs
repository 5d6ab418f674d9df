//! headcount-services
