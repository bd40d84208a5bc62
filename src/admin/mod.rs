//! What is going on, for operators and their machines.

mod health;

pub use health::{Health, Obstacle};
