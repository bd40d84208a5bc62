//! A configuration as far as it can be read: its right values are known, whatever is wrong with the others. So what is
//! wrong with the files that it names is reported together with all else.

use std::path::PathBuf;
use std::sync::Arc;

use url::Url;

use super::layers::Layers;
use super::value::FromValue;
use super::{Config, Overrides, Problem, resolve, warnings};
use crate::http::Address;
use crate::store::{self, Place};
use crate::telemetry::Format;

/// What the file, the environment and the flags say, valid or not.
#[derive(Clone, Debug)]
pub struct Draft {
    layers: Arc<Layers>,
    sandbox: bool,
}

impl Draft {
    /// Reads the file, the environment and the flags.
    pub fn read(overrides: &Overrides) -> Self {
        Self { layers: Arc::new(Layers::read(overrides)), sandbox: overrides.sandbox }
    }

    /// The settings.
    ///
    /// # Errors
    /// As [`super::load`].
    pub fn config(&self) -> Result<Config, Vec<Problem>> {
        resolve(Layers::clone(&self.layers), None, self.sandbox)
    }

    /// The settings, if there is also nothing that `more` finds wrong with what they name.
    ///
    /// # Errors
    /// All problems at once, in the order in which they are reported.
    pub(crate) fn config_with(&self, more: impl FnOnce(&Self) -> Vec<Problem>) -> Result<Config, Vec<Problem>> {
        let (config, mut problems) = match self.config() {
            Ok(config) => (Some(config), Vec::new()),
            Err(problems) => (None, problems),
        };
        problems.extend(more(self));
        Problem::sort(&mut problems);
        config.filter(|_| problems.is_empty()).ok_or(problems)
    }

    /// What the settings do badly; beside wrong ones, what is known of the others.
    pub(crate) fn warnings(&self) -> Vec<String> {
        match self.config() {
            Ok(config) => warnings::warnings(&config),
            Err(_) => warnings::warnings_beside(&self.layers, self.sandbox),
        }
    }

    /// The format of the log, as far as it is known.
    pub fn log_format(&self) -> Format {
        self.layers.log_format()
    }

    /// The file or directory that `key` names.
    pub(crate) fn path(&self, key: &str) -> Option<PathBuf> {
        self.get(key)
    }

    /// The address of a server that `key` names.
    pub(crate) fn url(&self, key: &str) -> Option<Url> {
        self.get(key)
    }

    /// Whether the store is reached by TLS.
    pub(crate) fn store_has_tls(&self) -> bool {
        self.get::<Place>("store.url").is_some_and(|place| matches!(place.address, store::Address::Tls(..)))
    }

    /// The listening addresses of `key`; of a list with wrong ones the right ones.
    pub(crate) fn addresses(&self, key: &str) -> Vec<Address> {
        self.get(key).or_else(|| self.layers.usable_addresses.get(key).cloned()).unwrap_or_default()
    }

    /// A problem with what `key` names, with the place where it is set.
    pub(crate) fn problem(&self, key: &str, text: &str) -> Problem {
        Problem::at(&self.layers.global.origin(key), text)
    }

    /// With the sandbox nothing of `[upstream]` is used.
    fn get<T: FromValue>(&self, key: &str) -> Option<T> {
        let used = !(self.sandbox && key.starts_with("upstream."));
        used.then(|| self.layers.global.get(key)).flatten()
    }
}

impl Config {
    /// What it was made of.
    pub(crate) fn draft(&self) -> Draft {
        Draft { layers: Arc::clone(&self.layers), sandbox: self.upstream.is_none() }
    }
}
