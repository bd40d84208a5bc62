//! Forms as client libraries write them: `tests/data/forms.json`, each sent through a daemon to the sandbox.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::bench::{Daemon, Sandbox, told};
use crate::connector::{Connector, INTERACTIONS, REQUEST_ID, message, typing};
use crate::wire::Answer;

/// What one library writes around a part `json`.
#[derive(Deserialize)]
struct Form {
    client: String,
    content_type: String,
    body: String,
}

impl Form {
    fn send(&self, connector: &Connector, json: &Value) -> Answer {
        let json = json.to_string();
        let body = self.body.replace("{json}", &json).replace("{length}", &json.len().to_string());
        let mut headers = connector.headers();
        headers[1].1 = &self.content_type;
        connector.address.call("POST", INTERACTIONS, &headers, body.as_bytes())
    }
}

#[test]
fn typing_and_messages_are_recognised_in_every_form() {
    let forms = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/forms.json");
    let forms: Vec<Form> = serde_json::from_slice(&std::fs::read(forms).unwrap()).unwrap();
    let sandbox = Sandbox::start(&[]);
    let daemon = Daemon::start_with(&sandbox.address.url(), "drop_in.enabled = true", "drop_in.settle = '10s'", |_| {});
    let through = Connector::new(&daemon.address, "t0ken-of-the-connector");
    let straight = Connector::new(&sandbox.address, "t0ken-of-the-connector");
    // Not a UUID, and with what JSON must escape.
    let id = "entry \"1\" \\ \u{1}";
    for form in &forms {
        // As long as Salesforce takes it.
        let from = format!("{:x<255}", form.client);
        let mut started = typing("c", &from, "TypingStartedIndicator");
        started["interactions"][0]["payload"]["id"] = json!(id);
        let answer = form.send(&through, &started);
        assert_eq!(answer.status, 202, "{}: {answer:?}", form.client);
        assert_eq!(answer.json(), json!({"id": id, "success": true, "workItemIds": []}), "{}", form.client);
        sandbox.until_told("c", &from, "+");
        let answer = form.send(&through, &message("c", &from));
        assert_eq!((answer.status, &answer.json()["id"]), (202, &json!(REQUEST_ID)), "{}: {answer:?}", form.client);
        let seen = sandbox.of("c", &from);
        assert_eq!(told(&seen[..2]), "+-", "{}: {seen:#?}", form.client);
        assert_eq!((&seen[2]["entry_type"], &seen[2]["found_shown"]), (&json!("Message"), &json!(false)));
        assert_eq!(seen.len(), 3, "{}: {seen:#?}", form.client);
        let answer = form.send(&straight, &message("c", &from));
        assert_eq!(answer.status, 202, "{}, straight: {answer:?}", form.client);
    }
    let report = daemon.address.get("/v1/drop_in").json();
    assert_eq!(report["unread"], 0, "{report}");
    assert_eq!((&report["started_taken"], &report["settled"]), (&json!(forms.len()), &json!(forms.len())), "{report}");
}
