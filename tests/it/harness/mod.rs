//! What the tests share: a process under test, a daemon with its sandbox, clients and upstreams that misbehave.

pub(crate) mod account;
pub(crate) mod bench;
pub(crate) mod connector;
pub(crate) mod exposition;
pub(crate) mod far_side;
pub(crate) mod key;
pub(crate) mod process;
pub(crate) mod recorder;
pub(crate) mod secrets;
pub(crate) mod wire;
