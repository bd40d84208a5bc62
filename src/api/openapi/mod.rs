//! `GET /openapi.json`: the interface described as OpenAPI 3.1, for machines and for people with a viewer.
//!
//! The files beside this one are the document, one for each group of calls; they are put together and are not made from
//! the code. The tests hold the running daemon against them, in both directions.

use std::sync::LazyLock;

use axum::Json;
use serde_json::{Map, Value};

use crate::http::{NoOptions, Options};

/// What all calls have in common.
const FRAME: &str = include_str!("frame.json");
/// The calls, with what their bodies look like.
const PARTS: [&str; 9] = [
    include_str!("signals.json"),
    include_str!("timing.json"),
    include_str!("tune.json"),
    include_str!("live.json"),
    include_str!("operate.json"),
    include_str!("control.json"),
    include_str!("status.json"),
    include_str!("log.json"),
    include_str!("sandbox.json"),
];

/// The whole document, put together once.
static DOCUMENT: LazyLock<Value> = LazyLock::new(whole);

pub(super) async fn document(_: Options<NoOptions>) -> Json<&'static Value> {
    Json(&DOCUMENT)
}

fn whole() -> Value {
    let mut document = parse(FRAME);
    document["info"]["version"] = env!("CARGO_PKG_VERSION").into();
    for part in PARTS {
        let mut part = parse(part);
        add(&mut document["paths"], part["paths"].take());
        for kind in ["schemas", "responses", "requestBodies"] {
            add(&mut document["components"][kind], part[kind].take());
        }
        if let Value::Array(tags) = part["tags"].take() {
            let all = document["tags"].as_array().into_iter().flatten().cloned().chain(tags).collect();
            document["tags"] = Value::Array(all);
        }
    }
    document
}

fn parse(text: &str) -> Value {
    serde_json::from_str(text).expect("a part of the document is JSON, as a test sees to")
}

fn add(to: &mut Value, members: Value) {
    let Value::Object(members) = members else { return };
    if !to.is_object() {
        *to = Map::new().into();
    }
    for (name, member) in members {
        to[name] = member;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_part_hides_what_another_one_says() {
        let names = |value: &Value| value.as_object().map_or(0, Map::len);
        let parts: Vec<_> = std::iter::once(FRAME).chain(PARTS).map(parse).collect();
        let whole = whole();
        assert_eq!(parts.iter().map(|part| names(&part["paths"])).sum::<usize>(), names(&whole["paths"]));
        for kind in ["schemas", "responses", "requestBodies"] {
            let said = parts.iter().map(|part| names(&part[kind]) + names(&part["components"][kind])).sum::<usize>();
            assert_eq!(said, names(&whole["components"][kind]), "{kind}");
        }
        assert_eq!(whole["info"]["version"], env!("CARGO_PKG_VERSION"));
        assert!(whole["tags"].as_array().is_some_and(|tags| tags.len() > 3), "{}", whole["tags"]);
    }
}
