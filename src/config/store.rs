//! `[store]`: where several typingd meet, and what must not be beside it.

use std::time::Duration;

use super::keys::{Absent, KEYS, Key};
use super::value::ORG_ID_BYTES;
use super::warnings::scopes_of;
use super::{Origin, Reader};
use crate::engine::policy::Policy;
use crate::fleet::WhenUnreachable;
use crate::store::{Place, Settings};

/// What `[store]` says.
#[derive(Clone, Debug)]
pub struct Store {
    /// How the store is reached.
    pub link: Settings,
    /// Icons of a typingd that dies are off a second after this.
    pub lease: Duration,
    /// What is done while it is silent.
    pub when_unreachable: WhenUnreachable,
}

impl Reader {
    /// The settings of the store, if there is one.
    pub(super) fn store(&mut self, policy: Option<&Policy>) -> Option<Option<Store>> {
        let Some(place) = self.get::<Place>(URL) else {
            let is_set = |key: &Key| self.layers.global.origin(key.path) != Origin::Default;
            // A wrong address has its own problem. The defaults of the others may be written down.
            let is_lost = |key: &&Key| key.table() == "store" && matches!(key.absent, Absent::Unset(_)) && is_set(key);
            if let Some(key) = KEYS.iter().find(is_lost).filter(|key| key.path != URL) {
                self.problem(key.path, format!("{} is set without a store; expected {URL} beside it", key.path));
            }
            return Some(None);
        };
        if let Some((scope, _)) = policy.and_then(|policy| scopes_of(policy).find(|(_, rules)| rules.require_open)) {
            let text = format!(
                "{URL}: {scope} has require_open, and who takes over a conversation does not know whether it was opened; \
                 expected require_open = false with a store"
            );
            self.problem(URL, text);
        }
        let org_id: Option<String> = self.get("upstream.org_id");
        let org_id = org_id.map(|mut id| {
            id.truncate(ORG_ID_BYTES);
            id
        });
        let org = org_id.clone().unwrap_or_default();
        let group = self.get::<String>(GROUP).or(org_id);
        if group.is_none() && self.uses_cached_credentials() {
            let text = format!(
                "{URL}: connectors bring the org's id, so that nothing tells this org's conversations apart; expected \
                 {GROUP} beside it, such as the org's id"
            );
            self.problem(URL, text);
        }
        let group = group.unwrap_or_else(|| "sandbox".to_owned());
        if !group.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)) {
            self.problem(GROUP, format!("{GROUP} = {group:?}: expected letters, digits, dots, - and _"));
        }
        let when_unreachable = match self.get::<String>("store.when_unreachable")?.as_str() {
            "dark" => WhenUnreachable::Dark,
            _ => WhenUnreachable::Alone,
        };
        let link = Settings {
            place,
            username: self.get("store.username"),
            password_file: self.get("store.password_file"),
            ca_file: self.get("store.ca_file"),
            group,
            org,
        };
        // What it would send is only compared: there is nothing to own.
        let in_use = self.get("drop_in.shadow") != Some(true) || self.get("drop_in.enabled") != Some(true);
        Some(in_use.then_some(Store { link, lease: self.get("store.lease")?, when_unreachable }))
    }
}

const URL: &str = "store.url";
const GROUP: &str = "store.group";
