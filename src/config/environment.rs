//! What an environment variable is to typingd: a key, a mistake, or foreign.
//!
//! Others set variables that begin with `TYPINGD_` too: Kubernetes for every service of the namespace with such a name,
//! images for their version, Cargo for what it runs. None of them may keep the daemon from starting.

use super::keys::{self, CHANNELS, ENVIRONMENT_PREFIX, KEYS, Key};

/// What a variable is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Variable {
    /// It sets the key with this index.
    Key(usize, &'static Key),
    /// It tries to set a channel's key, which only the file can.
    Channel,
    /// It is meant for typingd, and there is no such key; the key that was most likely meant.
    Unknown(Option<&'static Key>),
    /// It begins like a key's, but neither sets one nor resembles one.
    Foreign,
    /// No concern of the configuration.
    Other,
}

impl Variable {
    /// What `name` is; `is_set` says which other variables there are.
    pub(super) fn of(name: &str, is_set: impl Fn(&str) -> bool) -> Self {
        let Some(rest) = name.strip_prefix(ENVIRONMENT_PREFIX) else { return Self::Other };
        if RESERVED.contains(&name) {
            return Self::Other;
        }
        let path = rest.to_ascii_lowercase().replace("__", ".");
        if let Some((index, key)) = keys::find(&path).filter(|(_, key)| key.environment() == name) {
            return Self::Key(index, key);
        }
        if is_service_link(name, is_set) {
            return Self::Foreign;
        }
        if !rest.contains("__") {
            return near(&path).map_or(Self::Foreign, |key| Self::Unknown(Some(key)));
        }
        if path == CHANNELS || path.starts_with("channels.") {
            return Self::Channel;
        }
        Self::Unknown(keys::nearest_key(&path, |_| true))
    }
}

/// The key that `name` is near, which has single underscores only: the key's path with one underscore for each dot, or
/// its name without the table, each but for a typing error.
fn near(name: &str) -> Option<&'static Key> {
    let edits = |known: &str| Some(strsim::osa_distance(name, known)).filter(|edits| *edits <= edits_max(known));
    let spellings = |key: &Key| [key.path.replace('.', "_"), key.name().to_owned()];
    let scored =
        KEYS.iter().filter_map(|key| Some((spellings(key).iter().filter_map(|known| edits(known)).min()?, key)));
    // Of equals the first: the order of the manual.
    scored.min_by_key(|(edits, _)| *edits).map(|(_, key)| key)
}

/// How many letters may be wrong for a name to be near: short words are near each other by chance.
fn edits_max(known: &str) -> usize {
    match known.len() {
        ..6 => 0,
        6..9 => 1,
        _ => 2,
    }
}

/// Whether Kubernetes (or Docker, of a linked container) sets a variable of this name for the address of a service:
/// `…_SERVICE_HOST`, `…_SERVICE_PORT`, `…_SERVICE_PORT_<NAME>`, `…_PORT`, `…_PORT_<NUMBER>_<PROTOCOL>` and, behind that,
/// `_PROTO`, `_PORT` and `_ADDR`.
///
/// A service's name may hold `--`, which becomes `__` and makes the variable look like a key's. Kubernetes sets all of
/// a service's variables, so that its host decides which it is.
fn is_service_link(name: &str, is_set: impl Fn(&str) -> bool) -> bool {
    let mut services =
        name.match_indices('_').filter(|(at, _)| is_link_end(&name[at + 1..])).map(|(at, _)| &name[..at]);
    services.any(|service| {
        // Names of services begin with a letter and end with a letter or a digit.
        service.ends_with(|c: char| c.is_ascii_alphanumeric())
            && (!name.contains("__") || is_set(&format!("{service}_SERVICE_HOST")))
    })
}

fn is_link_end(end: &str) -> bool {
    if matches!(end, "SERVICE_HOST" | "SERVICE_PORT" | "PORT") || end.starts_with("SERVICE_PORT_") {
        return true;
    }
    let Some(rest) = end.strip_prefix("PORT_") else { return false };
    let mut words = rest.split('_');
    let number = words.next().is_some_and(|word| !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit()));
    number
        && words.next().is_some_and(|protocol| matches!(protocol, "TCP" | "UDP" | "SCTP"))
        && words.next().is_none_or(|what| matches!(what, "PROTO" | "PORT" | "ADDR"))
        && words.next().is_none()
}

/// The variable that names the file when `--config` does not.
pub(super) const FILE_VARIABLE: &str = "TYPINGD_CONFIG";

/// Variables that look like a key's: the file, and the daemon that client commands call.
const RESERVED: [&str; 3] = [FILE_VARIABLE, "TYPINGD_URL", "TYPINGD_TOKEN_FILE"];

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of a variable that is set alone.
    fn told(name: &str) -> String {
        match Variable::of(name, |_| false) {
            Variable::Key(_, key) => format!("sets {}", key.path),
            Variable::Channel => "sets a channel".into(),
            Variable::Unknown(Some(key)) => format!("means {}", key.environment()),
            Variable::Unknown(None) => "unknown".into(),
            Variable::Foreign => "foreign".into(),
            Variable::Other => "other".into(),
        }
    }

    #[test]
    fn a_variable_near_a_key_is_a_mistake() {
        for (name, expected) in [
            ("TYPINGD_TIMING__CHECK_INTERVAL", "sets timing.check_interval"),
            // An underscore is missing, or the table.
            ("TYPINGD_TIMING_CHECK_INTERVAL", "means TYPINGD_TIMING__CHECK_INTERVAL"),
            ("TYPINGD_LOG_LEVEL", "means TYPINGD_LOG__LEVEL"),
            ("TYPINGD_log_level", "means TYPINGD_LOG__LEVEL"),
            ("TYPINGD_CHECK_INTERVAL", "means TYPINGD_TIMING__CHECK_INTERVAL"),
            ("TYPINGD_LISTEN", "means TYPINGD_INGEST__LISTEN"),
            ("TYPINGD_STATE_DIR", "means TYPINGD_DELIVERY__STATE_DIR"),
            ("TYPINGD_UPSTREAM_AUTH_TOKEN_FILE", "means TYPINGD_UPSTREAM__AUTH__TOKEN_FILE"),
            // A typing error beside.
            ("TYPINGD_TIMING_CHEK_INTERVAL", "means TYPINGD_TIMING__CHECK_INTERVAL"),
            ("TYPINGD_DISMIS_AFTER", "means TYPINGD_TIMING__DISMISS_AFTER"),
            ("TYPINGD_LOGLEVEL", "means TYPINGD_LOG__LEVEL"),
            ("TYPINGD_BASE_URI", "means TYPINGD_UPSTREAM__BASE_URL"),
            // Two underscores tell that a key is meant, whatever stands about them.
            ("TYPINGD_timing__dismiss", "means TYPINGD_TIMING__DISMISS"),
            ("TYPINGD_TIMING__CHEK_INTERVAL", "means TYPINGD_TIMING__CHECK_INTERVAL"),
            ("TYPINGD_NOTHING__LIKE_IT", "unknown"),
            ("TYPINGD___", "unknown"),
            ("TYPINGD_INGEST__PORT", "unknown"),
            ("TYPINGD_CHANNELS__A__DISMISS", "sets a channel"),
            ("TYPINGD_CHANNELS__A_PORT", "sets a channel"),
            ("TYPINGD_CONFIG", "other"),
            ("TYPINGD_URL", "other"),
            ("TYPINGD_TOKEN_FILE", "other"),
            ("TYPINGDX", "other"),
            ("PATH", "other"),
        ] {
            assert_eq!(told(name), expected, "{name}");
        }
        // Images, charts, scripts, Cargo.
        for name in [
            "VERSION",
            "COMMIT",
            "BUILD_COMMIT",
            "SOCKET",
            "PASSWORD",
            "TOKEN",
            "SECRET",
            "HOST",
            "HOSTNAME",
            "NAME",
            "HOME",
            "USER",
            "UID",
            "GID",
            "IMAGE",
            "IMAGE_TAG",
            "TAG",
            "RELEASE",
            "REVISION",
            "DEBUG",
            "OPTS",
            "ARGS",
            "ENV",
            "DATA",
            "BIN",
            "BINARY",
            "PID",
            "LOG",
            "LOGS",
            "LEVELS",
            "LISTING",
            "TIMING",
            "INGEST",
            "PORTS",
            "REPLICAS",
            "NAMESPACE",
            "TEST_BINARY",
            "SIMULATION_SEEDS",
            "",
        ] {
            assert_eq!(told(&format!("TYPINGD_{name}")), "foreign", "{name}");
        }
    }

    /// The variables that Kubernetes sets for `service`, of whose ports one has a name.
    fn links(service: &str) -> Vec<String> {
        let service = service.to_ascii_uppercase().replace('-', "_");
        let ends = [
            "SERVICE_HOST",
            "SERVICE_PORT",
            "SERVICE_PORT_HTTP",
            "SERVICE_PORT_LOG_LEVEL",
            "PORT",
            "PORT_80_TCP",
            "PORT_7480_TCP_PROTO",
            "PORT_7480_TCP_PORT",
            "PORT_7480_TCP_ADDR",
            "PORT_53_UDP",
            "PORT_9_SCTP_ADDR",
        ];
        ends.iter().map(|end| format!("{service}_{end}")).collect()
    }

    #[test]
    fn no_service_of_any_name_can_be_a_mistake() {
        let keys = KEYS.iter().flat_map(|key| [key.path.replace('.', "-"), key.name().to_owned(), key.table().into()]);
        let keys = keys.map(|name| name.replace(['_', '.'], "-"));
        let others = ["log", "timing", "anything", "port", "service", "port-80-tcp", "service-host", "x1", "channels"];
        let names = keys.chain(others.map(str::to_owned)).flat_map(|name| {
            // The last two only with what else Kubernetes sets: below.
            ["-", "-x-", "--", "-x--"].map(|between| format!("typingd{between}{name}"))
        });
        for service in names.chain(["typingd".to_owned()]) {
            let all = links(&service);
            for name in &all {
                let variable = Variable::of(name, |other| all.iter().any(|name| name == other));
                assert!(matches!(variable, Variable::Foreign), "{name}: {variable:?}");
                // Alone as well, unless it might be a key's.
                assert!(name.contains("__") || told(name) == "foreign", "{name}: {}", told(name));
            }
        }
    }

    #[test]
    fn the_variables_of_a_service_end_in_known_ways_only() {
        let known = ["SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_X", "PORT", "PORT_80_TCP", "PORT_9_UDP_ADDR"];
        for end in known {
            assert!(is_link_end(end), "{end}");
        }
        for end in ["HOST", "PORT_", "PORT_TCP", "PORT_X_TCP", "PORT__TCP", "PORT_8X_TCP", "PORT_80", "PORT_80_ICMP"] {
            assert!(!is_link_end(end), "{end}");
        }
        assert!(!is_link_end("PORT_80_TCP_WHAT") && !is_link_end("PORT_80_TCP_ADDR_X"));
    }

    #[test]
    fn no_key_is_called_like_a_service_link() {
        for key in KEYS {
            for name in [key.environment(), key.environment().replace("__", "_")] {
                assert!(!is_service_link(&name, |_| true), "{name}");
            }
        }
    }
}
