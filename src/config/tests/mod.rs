//! Reading configurations: what comes out, in which order the layers lie, and what is told of them.

mod live;
mod problems;
mod route;

use std::fs;
use std::path::Path;

use super::keys::KEYS;
use super::*;
use crate::fleet::WhenUnreachable;

const GOOD: &str = r#"
[upstream]
base_url = "https://mydomain.my.salesforce-scrt.com/base/"
org_id = "00DXX00000000012AA"
authorization_context = "Partner1_ChannelDefinition1"
request_timeout = "4s"
max_requests_per_second = 1_900
max_in_flight = 128
ca_file = "/etc/ssl/extra.pem"
[upstream.auth.jwt_bearer]
token_url = "https://login.salesforce.com/services/oauth2/token"
consumer_key = "3MVG9"
subject = "user@example.com"
audience = "https://login.salesforce.com"
private_key_file = "${CREDENTIALS_DIRECTORY}/key.pem"
[timing]
check_interval = "6s"
dismiss_after = "1500ms"
dismiss = "after_shown"
max_typing = "1m30s"
require_open = true
[channels."+1 \"555\""]
authorization_context = "Other"
check_interval = "10s"
dismiss = "idle"
[channels.plain]
authorization_context = "Plain"
[ingest]
listen = ["127.0.0.1:7480", "unix:/run/typingd.sock", "0.0.0.0:80"]
token_file = "token"
max_body = "64KiB"
max_conversations = 5000
recording = true
socket_mode = "0660"
[admin]
listen = ["127.0.0.1:7482"]
token_file = "admin"
console = false
[drop_in]
enabled = false
settle = "300ms"
[delivery]
started_lifespan = "3s"
stopped_lifespan = "30s"
mute_for = "0s"
shutdown_grace = "0s"
state_dir = "state"
[log]
format = "json"
level = "debug"
"#;

const UPSTREAM: &str =
    "[upstream]\nbase_url='https://h'\norg_id='00DXX0000000001'\nauthorization_context='A'\nauth.token_file='/t'\n";

/// A file in a directory of its own; told problems name it `F`.
struct File(tempfile::TempDir);

impl File {
    fn new(text: impl AsRef<[u8]>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("F"), text).unwrap();
        Self(directory)
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("F")
    }

    fn overrides(&self) -> Overrides {
        let credentials = ("CREDENTIALS_DIRECTORY".into(), "/run/credentials".into());
        Overrides { file: Some(self.path()), environment: vec![credentials], ..Overrides::default() }
    }

    fn told(&self, overrides: &Overrides) -> Vec<String> {
        let problems = load(overrides).expect_err("there are problems");
        let directory = format!("{}/", self.0.path().display());
        problems.iter().map(|problem| problem.to_string().replace(&directory, "")).collect()
    }
}

fn sandbox(text: &str) -> (File, Overrides) {
    let file = File::new(text);
    let overrides = Overrides { sandbox: true, ..file.overrides() };
    (file, overrides)
}

fn environment(name: &str, value: &str) -> (String, String) {
    (name.into(), value.into())
}

fn assert_same(a: &Config, b: &Config) {
    assert_eq!(
        (&a.policy, &a.upstream, &a.ingest, a.shutdown_grace, &a.state_dir, a.log),
        (&b.policy, &b.upstream, &b.ingest, b.shutdown_grace, &b.state_dir, b.log)
    );
    assert_eq!(a.changes(b), []);
}

#[test]
fn a_good_file_becomes_settings() {
    let file = File::new(GOOD);
    let config = load(&file.overrides()).unwrap();
    let millis = Duration::from_millis;
    let mut rules = Rules::new(Mode::AfterShown, millis(6_000), millis(1_500), millis(90_000));
    rules.require_open = true;
    let mut own = Rules::new(Mode::Idle, millis(10_000), millis(1_500), millis(90_000));
    own.require_open = true;
    let quoted = ChannelAddress::new("+1 \"555\"").unwrap();
    let policy = Policy {
        rules,
        channels: HashMap::from([(quoted.clone(), own)]),
        delivery: Delivery {
            in_flight_max: 128,
            requests_per_second_max: 1_900,
            started_lifespan: Some(millis(3_000)),
            stopped_lifespan: millis(30_000),
            mute_for: millis(0),
        },
        conversations_max: 5_000,
    };
    assert_eq!(config.policy, policy);
    let plain = ChannelAddress::new("plain").unwrap();
    let upstream = Settings {
        base_url: "https://mydomain.my.salesforce-scrt.com/base".parse().unwrap(),
        org_id: "00DXX0000000001".into(),
        authorization_context: "Partner1_ChannelDefinition1".into(),
        channel_contexts: HashMap::from([(quoted, "Other".into()), (plain, "Plain".into())]),
        authorization_context_type: None,
        request_timeout: millis(4_000),
        in_flight_max: 128,
        ca_file: Some("/etc/ssl/extra.pem".into()),
        proxy: None,
        connect_to: None,
        auth: Auth::JwtBearer(JwtBearer {
            token_url: "https://login.salesforce.com/services/oauth2/token".parse().unwrap(),
            consumer_key: "3MVG9".into(),
            subject: "user@example.com".into(),
            audience: "https://login.salesforce.com".into(),
            private_key_file: "/run/credentials/key.pem".into(),
        }),
        places: Places::default(),
    };
    assert_eq!(config.upstream, Some(upstream));
    let listen = ["127.0.0.1:7480", "unix:/run/typingd.sock", "0.0.0.0:80"].map(|text| text.parse().unwrap());
    let token = Some(file.0.path().join("token"));
    let settings = http::Settings {
        listen: listen.into(),
        token_file: token,
        socket_mode: Some(0o660),
        body_bytes_max: 64 * 1024,
        recording: true,
    };
    assert_eq!(config.ingest, settings);
    let token_file = Some(file.0.path().join("admin"));
    let listen = vec!["127.0.0.1:7482".parse().unwrap()];
    assert_eq!(config.admin, http::AdminSettings { listen, token_file, console: false });
    assert_eq!(config.shutdown_grace, Duration::ZERO);
    assert_eq!(config.state_dir, Some(file.0.path().join("state")));
    assert_eq!(config.log, Log { format: Format::Json, level: LevelFilter::DEBUG });
}

#[test]
fn nothing_set_means_the_modules_own_defaults() {
    let (_file, overrides) = sandbox("");
    let config = load(&overrides).unwrap();
    assert_eq!(config.policy, Policy::default());
    assert_eq!(config.upstream, None);
    assert_eq!(config.ingest.listen, ["127.0.0.1:7480".parse().unwrap()]);
    assert!(!config.ingest.recording);
    assert_eq!(config.shutdown_grace, Duration::from_secs(10));
    assert_eq!(config.log, Log { format: Format::Text, level: LevelFilter::INFO });
    let file = File::new(UPSTREAM);
    let upstream = load(&file.overrides()).unwrap().upstream.unwrap();
    assert_eq!(upstream.auth, Auth::TokenFile("/t".into()));
    assert_eq!(upstream.request_timeout, Duration::from_secs(5));
}

#[test]
fn the_table_of_keys_is_sound() {
    for (i, key) in KEYS.iter().enumerate() {
        assert!(KEYS[..i].iter().all(|other| other.path != key.path), "{} twice", key.path);
        assert!(!key.table().is_empty() && key.doc.ends_with('.'), "{}", key.path);
        assert!(keys::nearest_key(key.path, |_| true).is_some_and(|near| near.path == key.path));
        let same = KEYS.iter().filter(|other| other.per_channel && other.name() == key.name()).count();
        assert!(!key.per_channel || same == 1, "{} must be unique in a channel's table", key.path);
        let (Absent::Default(text) | Absent::Required(text)) = key.absent else { continue };
        let (table, name) = (key.table(), key.name());
        let (_file, overrides) = sandbox(&format!("[{table}]\n{name} = {text}\n"));
        assert!(load(&overrides).is_ok(), "{} = {text} is a right value of itself", key.path);
    }
}

#[test]
fn the_environment_overrides_the_file_and_flags_override_both() {
    let (_file, mut overrides) = sandbox("[timing]\ncheck_interval = '1s'\n[ingest]\nlisten = ['127.0.0.1:1']\n");
    let check = |overrides: &Overrides| load(overrides).unwrap().policy.rules.check_interval().as_millis();
    let ports = |overrides: &Overrides| load(overrides).unwrap().ingest.listen.len();
    assert_eq!((check(&overrides), ports(&overrides)), (1_000, 1));
    overrides.environment.push(environment("TYPINGD_TIMING__CHECK_INTERVAL", "2s"));
    overrides.environment.push(environment("TYPINGD_INGEST__LISTEN", "127.0.0.1:1, [::1]:2"));
    overrides.environment.push(environment("TYPINGD_INGEST__MAX_CONVERSATIONS", "7"));
    overrides.environment.push(environment("TYPINGD_TIMING__REQUIRE_OPEN", "true"));
    assert_eq!((check(&overrides), ports(&overrides)), (2_000, 2));
    overrides.flags.push(Flag { name: "--check", key: "timing.check_interval", value: "3s".into() });
    for value in ["127.0.0.1:1", "127.0.0.1:2", "unix:/s"] {
        overrides.flags.push(Flag { name: "--listen", key: "ingest.listen", value: value.into() });
    }
    assert_eq!((check(&overrides), ports(&overrides)), (3_000, 3));
    let config = load(&overrides).unwrap();
    assert_eq!(config.policy.conversations_max, 7);
    assert!(config.policy.rules.require_open);
    let effective = config.effective();
    assert!(effective.contains("check_interval = \"3s\"                     # flag --check\n"), "{effective}");
    assert!(effective.contains("# environment variable TYPINGD_INGEST__MAX_CONVERSATIONS\n"), "{effective}");
    assert!(effective.contains("# ca_file is not set: only the system's roots are trusted\n"), "{effective}");
}

#[test]
fn paths_know_their_directory_and_credentials() {
    let text = "[ingest]\ntoken_file = '${CREDENTIALS_DIRECTORY}/t'\n";
    let (file, mut overrides) = sandbox(text);
    assert_eq!(load(&overrides).unwrap().ingest.token_file.as_deref(), Some(Path::new("/run/credentials/t")));
    overrides.environment.clear();
    assert_eq!(
        file.told(&overrides),
        [
            "F:2: ingest.token_file = \"${CREDENTIALS_DIRECTORY}/t\": CREDENTIALS_DIRECTORY is not set; systemd sets it for services with LoadCredential="
        ]
    );
    let (_file, mut overrides) = sandbox("");
    overrides.environment.push(environment("TYPINGD_INGEST__TOKEN_FILE", "t"));
    assert_eq!(load(&overrides).unwrap().ingest.token_file, Some(std::env::current_dir().unwrap().join("t")));
}

#[test]
fn addresses_may_be_plain_on_this_machine_only() {
    for (text, right) in [
        ("http://127.0.0.1:8080", true),
        ("http://127.9.9.9", true),
        ("http://[::1]:1/x", true),
        ("http://localhost:1/", true),
        ("http://localhost.example", false),
        ("http://10.0.0.1", false),
        ("https://h/a/b//", true),
        ("https://", false),
        ("https://h/#x", false),
    ] {
        let file = File::new(UPSTREAM.replace("https://h", text));
        assert_eq!(load(&file.overrides()).is_ok(), right, "{text}");
    }
}

#[test]
fn the_effective_settings_read_back_to_the_same() {
    for text in [GOOD, UPSTREAM] {
        let file = File::new(text);
        let config = load(&file.overrides()).unwrap();
        let again = File::new(config.effective());
        let again = load(&Overrides { environment: Vec::new(), ..again.overrides() }).unwrap();
        assert_same(&config, &again);
    }
    let (_file, overrides) = sandbox("");
    let config = load(&overrides).unwrap();
    let (_file, overrides) = sandbox(&config.effective());
    assert_same(&config, &load(&overrides).unwrap());
}

#[test]
fn changes_are_told_key_by_key() {
    let read = |text: &str| {
        let (_file, overrides) = sandbox(text);
        load(&overrides).unwrap()
    };
    let old = read("[timing]\ncheck_interval = '5s'\n[channels.a]\ndismiss = 'idle'\n");
    let new = read("\n[timing]\ncheck_interval = '10s'\n[delivery]\nstarted_lifespan = '1s'\n");
    let told: Vec<_> = old.changes(&new).iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "timing.check_interval: \"5s\" -> \"10s\"",
            "delivery.started_lifespan: (not set) -> \"1s\"",
            "channels.\"a\".dismiss: \"idle\" -> (not set)",
        ]
    );
}

#[test]
fn warnings_are_few_and_true() {
    let told = |text: &str| {
        let file = File::new(format!("{UPSTREAM}{text}"));
        let config = load(&file.overrides()).unwrap();
        (warnings(&config), capacity(&config).unwrap_or_default())
    };
    let (none, people) = told("");
    assert_eq!(none, Vec::<String>::new());
    assert_eq!(
        people,
        "if no user paused, 10000 people could type at a time before refreshes are shed, fewer than the 11000 sessions an \
         org may have (timing: check_interval 5s, 2000 requests a second); pauses add a Stopped and a Started each; both \
         are counted below"
    );
    for (text, start) in [
        ("[timing]\ndismiss = 'after_shown'", "timing: dismiss < check: the icon can be on at most 40 % of the time"),
        ("[channels.a]\ndismiss = 'after_shown'", "channels.\"a\": dismiss < check: the icon can be on at most 40 %"),
        ("[timing]\ndismiss_after = '999ms'", "timing: the icon will blink: dismiss_after 999ms is below 1s"),
        ("max_requests_per_second = 2001", "upstream: max_requests_per_second 2001 exceeds the 2000"),
        (
            "max_in_flight = 20",
            "upstream: 20 requests in flight carry 2000 a second only while an answer takes at most 10 ms",
        ),
        ("[delivery]\nstarted_lifespan = '500ms'", "delivery: with started_lifespan 500ms a TypingStarted that"),
        (
            "request_timeout = '1m'\n[delivery]\nshutdown_grace = '1m'",
            "delivery: a TypingStopped that gets no answer is tried only once",
        ),
        ("[delivery]\nshutdown_grace = '0s'", "delivery: a shutdown may leave icons on"),
        ("[ingest]\nrecording = true", "ingest: recording is on: any caller, as no token is required,"),
        ("[ingest]\nrecording = true\ntoken_file = 't'", "ingest: recording is on: any caller with the token of"),
        (
            "[drop_in]\nenabled = true\nactivity_lasts = '2s'",
            "drop_in: the icon will blink while the user is typing: connectors report typing once in 5s, and activity_lasts with dismiss_after (timing) is 4s",
        ),
        (
            "[timing]\ncheck_interval = '549ms'",
            "if no user paused, 1098 people could type at a time before refreshes are shed",
        ),
        ("max_requests_per_second = 200", "if no user paused, 1000 people could type at a time"),
        ("[drop_in]\nenabled = true\nsettle = '0s'", "drop_in: with settle 0s a message does not wait"),
    ] {
        let (found, _) = told(text);
        assert!(found.len() == 1 && found[0].starts_with(start), "{text}: {found:#?}");
    }
    for quiet in [
        "[timing]\ndismiss_after = '9s'",
        "[timing]\ndismiss = 'after_shown'\ndismiss_after = '5s'",
        // At the very bound.
        "[timing]\ndismiss_after = '1s'",
        "[timing]\ncheck_interval = '550ms'",
        "max_in_flight = 100",
        "[delivery]\nstarted_lifespan = '1s'",
        "[drop_in]\nenabled = true\nactivity_lasts = '3s'",
    ] {
        assert_eq!(told(quiet).0, Vec::<String>::new(), "{quiet}");
    }
    assert_eq!(told("[timing]\ncheck_interval = '1ms'").1, "", "it is said once");
    assert!(
        told("[timing]\ncheck_interval = '5500ms'")
            .1
            .contains(", 11000 people could type at a time before refreshes are shed (")
    );
    assert!(told("[channels.a]\ndismiss = 'after_shown'").1.contains(", 5000 people could type"));
    assert!(
        told("[timing]\ncheck_interval = '6s'")
            .1
            .contains(", 12000 people could type at a time before refreshes are shed (")
    );
}

#[test]
fn with_cached_credentials_base_url_is_enough() {
    let bare = "[upstream]\nbase_url = 'https://h'\n[drop_in]\nenabled = true\n";
    let read = |text: &str| {
        let file = File::new(text);
        load(&file.overrides())
    };
    let config = read(bare).unwrap();
    let settings = config.drop_in.unwrap();
    assert_eq!(config.upstream.unwrap().auth, Auth::Cached);
    assert_eq!((settings.activity_lasts, settings.settle), (Duration::from_secs(5), Duration::from_millis(250)));
    assert_eq!((settings.stall_timeout, settings.shadow), (Duration::from_secs(60), false));
    let own = read(&format!("{UPSTREAM}[drop_in]\nenabled = true\n")).unwrap();
    assert_eq!(own.upstream.unwrap().auth, Auth::TokenFile("/t".into()), "configured ones take precedence");
    assert_eq!(read(&format!("{bare}borrow_credentials = false\n")).unwrap_err().len(), 3);
    assert_eq!(read(UPSTREAM).unwrap().drop_in, None);
}

#[test]
fn a_store_has_defaults_and_is_of_no_use_to_a_shadow() {
    let read = |text: &str| load(&File::new(format!("{UPSTREAM}{text}")).overrides()).unwrap().store;
    assert!(read("").is_none() && read("[store]\nlease = '3s'\nwhen_unreachable = 'alone'\n").is_none());
    let url = "[store]\nurl = 'redis://localhost'\n";
    let store = read(url).unwrap();
    assert_eq!((store.lease, store.when_unreachable), (Duration::from_secs(3), WhenUnreachable::Alone));
    assert_eq!((store.link.group.as_str(), store.link.org.as_str()), ("00DXX0000000001", "00DXX0000000001"));
    let store = read(&format!("{url}when_unreachable = 'dark'\ngroup = 'a.b-c_9'\n")).unwrap();
    assert_eq!((store.when_unreachable, store.link.group.as_str()), (WhenUnreachable::Dark, "a.b-c_9"));
    assert!(read(&format!("{url}[drop_in]\nenabled = true\n")).is_some());
    assert!(read(&format!("{url}[drop_in]\nenabled = true\nshadow = true\n")).is_none(), "it owns nothing");
}

#[test]
fn passed_sockets_replace_listen_and_are_shared_with_admin() {
    let (_file, mut overrides) = sandbox("[ingest]\nlisten = ['127.0.0.1:1']\n[admin]\nlisten = ['127.0.0.1:3']\n");
    let listen = |overrides: &Overrides| {
        let config = load(overrides).unwrap();
        [config.ingest.listen, config.admin.listen]
            .map(|all| all.iter().map(|at| Bare(at).to_string()).collect::<Vec<_>>())
    };
    assert_eq!(listen(&overrides), [["127.0.0.1:1"], ["127.0.0.1:3"]]);
    overrides.sockets = ["127.0.0.1:2", "127.0.0.1:3"].map(str::to_owned).to_vec();
    assert_eq!(listen(&overrides), [["127.0.0.1:2"], ["127.0.0.1:3"]], "each is for what its address is for");
    overrides.flags.push(Flag { name: "--listen", key: "ingest.listen", value: "127.0.0.1:4".into() });
    assert_eq!(listen(&overrides), [["127.0.0.1:4"], ["127.0.0.1:3"]]);
}
