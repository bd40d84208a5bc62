//! Turns dispatches into HTTPS requests to the Interaction Service.
pub mod settings;
