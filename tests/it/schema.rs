//! The JSON schema of the configuration, held against the configuration's own reader.

use boon::{Compiler, SchemaIndex, Schemas};
use serde_json::{Value, json};
use typingd::config::keys::{Absent, KEYS};
use typingd::config::{self, Overrides};

use crate::process::run;
use crate::reference::guides;

struct Judge {
    schemas: Schemas,
    index: SchemaIndex,
}

impl Judge {
    /// Judges by what `typingd schema` prints.
    fn new() -> Self {
        let said = run(&["schema"]);
        assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{said:?}");
        let schema: Value = serde_json::from_str(&said.stdout).unwrap();
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
        let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
        compiler.add_resource("typingd.schema.json", schema).unwrap();
        let index = compiler.compile("typingd.schema.json", &mut schemas).unwrap();
        Self { schemas, index }
    }

    /// What the schema says of a file.
    fn judge(&self, text: &str) -> Result<(), String> {
        let table: toml::Table = toml::from_str(text).unwrap();
        let value = serde_json::to_value(table).unwrap();
        self.schemas.validate(&value, self.index).map_err(|error| error.to_string())
    }
}

/// What the reader says of the same.
fn read(text: &str) -> Result<(), String> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("typingd.toml");
    std::fs::write(&file, text).unwrap();
    // Paths in credentials are for systemd to say.
    let environment = vec![("CREDENTIALS_DIRECTORY".to_owned(), "/run/credentials".to_owned())];
    let overrides = Overrides { file: Some(file), environment, sandbox: true, ..Overrides::default() };
    config::load(&overrides).map(|_| ()).map_err(|problems| format!("{problems:?}"))
}

#[test]
fn the_examples_of_the_guides_and_every_default_pass() {
    let judge = Judge::new();
    let pages: Vec<_> = guides().into_iter().map(|(_, page)| page).collect();
    let blocks = pages.iter().flat_map(|page| page.split("```toml\n").skip(1));
    let examples: Vec<_> = blocks.filter_map(|rest| rest.split("```").next()).collect();
    assert!(examples.iter().any(|text| text.contains("[upstream.auth.jwt_bearer]")), "{examples:?}");
    for text in examples {
        assert_eq!(judge.judge(text), Ok(()), "{text}");
    }
    for key in KEYS.iter().filter(|key| key.lacks.is_none()) {
        let (Absent::Default(value) | Absent::Required(value)) = key.absent else { continue };
        let text = format!("{} = {value}\n", key.path);
        assert_eq!((judge.judge(&text), read(&text)), (Ok(()), Ok(())), "{text}");
    }
}

#[test]
fn schema_and_reader_take_and_refuse_the_same() {
    let judge = Judge::new();
    let right = [
        "timing.check_interval = '1m30s'",
        "timing.check_interval = '1.5s'",
        "timing.check_interval = '1500ms'",
        "delivery.mute_for = '0s'",
        "delivery.mute_for = '23h59m59s999ms'",
        "ingest.max_body = 65536",
        "ingest.max_body = '64KiB'",
        "ingest.listen = ['127.0.0.1:7480', '[::1]:7480', 'unix:/run/typingd/typingd.sock']",
        "ingest.token_file = '${CREDENTIALS_DIRECTORY}/callers'",
        "upstream.base_url = 'https://x.my.salesforce-scrt.com/a/b/'",
        "upstream.base_url = 'http://127.0.0.1:7481'",
        "upstream.base_url = 'http://[::1]:7481/'",
        "upstream.base_url = 'http://localhost'",
        "upstream.org_id = '00DXX00000000012AA'",
        "upstream.authorization_context = ''",
        "upstream.authorization_context_type = 'EmbeddedMessagingChannel'",
        "channels.a.authorization_context = ''",
        "upstream.proxy = 'http://proxy:3128'",
        "upstream.proxy = 'http://user:pass@[::1]:3128/'",
        "upstream.connect_to = '203.0.113.7:443'",
        "upstream.connect_to = '[2001:db8::7]:8443'",
        "upstream.auth.jwt_bearer.subject = 'a user'",
        "channels.'WhatsApp 4711'.check_interval = '10s'",
        "channels.a = {dismiss = 'after_shown', authorization_context = 'A_B', max_typing = '1m', require_open = true}",
        "log.level = 'trace'",
    ];
    for text in right {
        assert_eq!((judge.judge(text), read(text)), (Ok(()), Ok(())), "{text}");
    }
    let wrong = [
        "timing.check_intervall = '5s'",
        "timing.check_interval = 5",
        "timing.check_interval = ''",
        "timing.check_interval = '5'",
        "timing.check_interval = '5 s'",
        "timing.check_interval = '1s1m'",
        "timing.dismiss = 'idel'",
        "timing.require_open = 'yes'",
        "ingest.max_body = '1MB'",
        "ingest.max_body = 1",
        "ingest.max_conversations = 0",
        "ingest.max_conversations = 1.5",
        "ingest.listen = '127.0.0.1:7480'",
        "ingest.listen = []",
        "ingest.listen = ['localhost:7480']",
        "ingest.listen = ['unix:run/x']",
        "ingest.token_file = ''",
        "upstream.base_url = 'http://x.my.salesforce-scrt.com'",
        "upstream.base_url = 'https://user:pass@x'",
        "upstream.base_url = 'https://x/?a=b'",
        "upstream.org_id = '001XX0000000001'",
        "upstream.org_id = '00DXX0000000001aa9'",
        "upstream.proxy = 'proxy:3128'",
        "upstream.proxy = 'https://proxy:3128'",
        "upstream.proxy = 'http://proxy/x'",
        "upstream.connect_to = 'scrt.example:443'",
        "upstream.connect_to = '203.0.113.7'",
        "upstream.connect_to = ['203.0.113.7:443']",
        "upstream.authorization_context = 'a b'",
        "upstream.auth = {token_file = 'a', jwt_bearer = {subject = 'b'}}",
        "upstream.auth.jwt_bearer.subject = ' a'",
        "channels.a.listen = ['127.0.0.1:1']",
        "channels.a = '5s'",
        "channels.''.check_interval = '5s'",
        "nothing = 1",
        "[nothing]",
        "timing = 1",
    ];
    for text in wrong {
        assert!(judge.judge(text).is_err(), "the schema takes {text}");
        // The two ways to a token are told apart only where there is an upstream.
        assert!(read(text).is_err() || text.starts_with("upstream.auth = "), "the reader takes {text}");
    }
    // A value of no kind that any key takes.
    for key in KEYS.iter().filter(|key| key.lacks.is_none()) {
        let text = format!("{} = 1979-05-27\n", key.path);
        assert!(judge.judge(&text).is_err() && read(&text).is_err(), "{text}");
    }
    let each = json!({"timing": {"check_interval": null}});
    assert!(judge.schemas.validate(&each, judge.index).is_err());
}
