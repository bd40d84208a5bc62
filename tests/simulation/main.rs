//! The engine in simulated worlds: no clock, no socket, every history made up and repeatable. It uses nothing of
//! typingd but the engine, the fleet and the model, so that the mutants' suite can build it in seconds.

mod allocations;
mod changes;
mod credentials;
mod exhaustive;
mod fleet;
mod fleet_climate;
mod fleet_exhaustive;
mod fleet_faults;
mod fleet_leaving;
mod fleet_node;
mod fleet_post;
mod fleet_scene;
mod fleet_shares;
mod fleet_silence;
mod fleet_store;
mod fleet_world;
mod inquiry;
mod lasting;
mod oracle;
mod ordering;
mod owner;
mod player;
mod pressure;
mod rate;
mod rng;
mod rules;
mod typist;
mod world;
