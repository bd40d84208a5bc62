//! The engine in simulated worlds: no clock, no socket, every history made up and repeatable. It uses nothing of
//! typingd but the engine and the model, so that the mutants' suite can build it in seconds.

mod changes;
mod credentials;
mod exhaustive;
mod lasting;
mod oracle;
mod ordering;
mod player;
mod pressure;
mod rng;
mod rules;
mod typist;
mod world;
