//! `[store]`: where several typingd meet, and what must not be beside it.

use std::time::Duration;

use super::keys::{Absent, KEYS, Key};
use super::value::ORG_ID_BYTES;
use super::warnings::scopes_of;
use super::{Origin, Reader};
use crate::engine::policy::Policy;
use crate::fleet::WhenUnreachable;
use crate::store::{Address, Place, Settings};

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
            // The defaults of the others may be written down.
            let other = [
                (LEASE, self.get::<Duration>(LEASE).is_some_and(|lease| lease != LEASE_DEFAULT)),
                (WHEN_UNREACHABLE, self.get::<String>(WHEN_UNREACHABLE).is_some_and(|what| what != "alone")),
            ];
            let is_other = |key: &Key| other.contains(&(key.path, true));
            let is_lost = |key: &&Key| {
                key.table() == "store" && is_set(key) && (matches!(key.absent, Absent::Unset(_)) || is_other(key))
            };
            // A wrong address has its own problem.
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
        let when_unreachable = match self.get::<String>(WHEN_UNREACHABLE)?.as_str() {
            "dark" => WhenUnreachable::Dark,
            _ => WhenUnreachable::Alone,
        };
        let link = Settings {
            place,
            username: self.get(USERNAME),
            password_file: self.get(PASSWORD_FILE),
            ca_file: self.get(CA_FILE),
            group,
            org,
        };
        if link.ca_file.is_some() && !matches!(link.place.address, Address::Tls(..)) {
            let text =
                format!("{CA_FILE} is set, and {URL} is {}, without TLS; expected rediss:// beside it", link.place);
            self.problem(CA_FILE, text);
        }
        if let (Some(username), None) = (&link.username, &link.password_file) {
            let text = format!("{USERNAME} = {username:?}: expected {PASSWORD_FILE} beside it");
            self.problem(USERNAME, text);
        }
        // What it would send is only compared: there is nothing to own.
        let in_use = self.get("drop_in.shadow") != Some(true) || self.get("drop_in.enabled") != Some(true);
        Some(in_use.then_some(Store { link, lease: self.get(LEASE)?, when_unreachable }))
    }
}

const URL: &str = "store.url";
const GROUP: &str = "store.group";
const USERNAME: &str = "store.username";
const PASSWORD_FILE: &str = "store.password_file";
const CA_FILE: &str = "store.ca_file";
const LEASE: &str = "store.lease";
const WHEN_UNREACHABLE: &str = "store.when_unreachable";
/// As the table of all keys has it.
const LEASE_DEFAULT: Duration = Duration::from_secs(3);
