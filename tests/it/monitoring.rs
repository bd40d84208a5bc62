//! The shipped dashboard and alerts: what they ask for is there, of the kind that they take it for, and they are whole.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::bench::pair;
use crate::exposition::{Page, Text};

fn shipped(name: &str) -> String {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/monitoring").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The expressions of the alerts, by their names.
fn alerts(rules: &str) -> BTreeMap<String, String> {
    let mut alerts = BTreeMap::new();
    for rule in rules.split("\n      - alert: ").skip(1) {
        let name = rule.lines().next().unwrap().to_owned();
        let expression = rule.split("\n        expr: ").nth(1).expect("an expression");
        // Up to the next key of the rule: a block's lines are indented deeper.
        let lines = expression.lines().enumerate();
        let own = lines.take_while(|(at, line)| *at == 0 || line.starts_with("          "));
        let expression = own.map(|(_, line)| line.trim().trim_start_matches('|')).collect::<Vec<_>>().join(" ");
        assert!(alerts.insert(name.clone(), expression).is_none(), "{name} twice");
    }
    alerts
}

fn dashboard() -> Value {
    serde_json::from_str(&shipped("typingd.dashboard.json")).unwrap()
}

fn panels(dashboard: &Value) -> &[Value] {
    dashboard["panels"].as_array().unwrap()
}

/// All expressions of the dashboard, of its annotations and of its variables.
fn queries(dashboard: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let targets = panels(dashboard).iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let annotations = dashboard["annotations"]["list"].as_array().unwrap().iter();
    let variables = dashboard["templating"]["list"].as_array().unwrap().iter();
    targets
        .map(|target| text(&target["expr"]))
        .chain(annotations.filter_map(|annotation| annotation["expr"].as_str().map(str::to_owned)))
        .chain(variables.filter(|variable| variable["type"] == "query").map(|variable| text(&variable["definition"])))
        .collect()
}

/// A metric in an expression: what stands around it, and its matchers.
struct Use<'a> {
    before: &'a str,
    name: &'a str,
    matchers: Vec<(&'a str, &'a str)>,
}

fn uses(expression: &str) -> Vec<Use<'_>> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(start) = expression[at..].find(word).map(|offset| at + offset) {
        let end = expression[start..].find(|c| !word(c)).map_or(expression.len(), |length| start + length);
        let (name, rest) = (&expression[start..end], &expression[end..]);
        at = end;
        if !(name.starts_with("typingd_") || name.starts_with("process_")) {
            continue;
        }
        let inner = rest.strip_prefix('{').map_or("", |inner| inner.split('}').next().unwrap());
        let matchers = inner.split(", ").filter(|matcher| !matcher.is_empty()).map(|matcher| {
            let (label, value) = matcher.split_once('"').unwrap_or_else(|| panic!("{expression}"));
            (label.trim_end_matches(['=', '~', '!']), value.trim_end_matches('"'))
        });
        at += inner.len();
        found.push(Use { before: &expression[..start], name, matchers: matchers.collect() });
    }
    found
}

#[test]
fn the_dashboard_asks_for_metrics_that_exist() {
    let (_sandbox, daemon) = pair("drop_in.enabled = true\ndelivery.state_dir = 'state'\ntiming.dismiss_after = '1m'");
    daemon.give("c", "ann", "keystroke");
    let answer = daemon.address.call("GET", "/metrics", &[], b"");
    let page = Page::read(&answer.body, Text::Prometheus);
    let dashboard = dashboard();
    let rules = alerts(&shipped("typingd.rules.yml"));
    let mut expressions = queries(&dashboard);
    expressions.extend(rules.into_values());
    assert!(expressions.len() > 70, "{}", expressions.len());
    let mut asked_for = BTreeSet::new();
    for expression in &expressions {
        for Use { before, name, matchers } in uses(expression) {
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
            let family = |name: &str| page.0.iter().find(|family| family.name == name);
            let histogram = base.and_then(family).filter(|family| family.kind == "histogram");
            let family = family(name).or(histogram).unwrap_or_else(|| panic!("there is no {name}: {expression}"));
            assert!(family.kind != "histogram" || histogram.is_some(), "{name} is a histogram: {expression}");
            asked_for.insert(family.name.clone());
            let grows = family.kind != "gauge";
            let counts = ["rate(", "increase("].iter().any(|function| before.ends_with(function));
            let listed = before.ends_with("label_values(");
            assert!(grows == counts || listed, "{name} is a {}: {expression}", family.kind);
            for (label, value) in matchers.into_iter().filter(|(label, _)| !["job", "instance"].contains(label)) {
                let known: BTreeSet<_> = family.samples.iter().filter_map(|sample| sample.labels.get(label)).collect();
                assert!(!known.is_empty(), "{name} has no {label}: {expression}");
                let closed = value.split('|').filter(|value| !value.starts_with('$'));
                for value in closed {
                    assert!(known.contains(&value.to_owned()), "{name} has no {label} {value}: {expression}");
                }
            }
        }
    }
    // What grouping keeps is a label of something that is asked for.
    let labels: BTreeSet<_> = page.0.iter().flat_map(|f| &f.samples).flat_map(|sample| sample.labels.keys()).collect();
    for expression in &expressions {
        for group in expression.split("by (").skip(1).map(|rest| rest.split(')').next().unwrap()) {
            for label in group.split(", ").filter(|label| !["job", "instance"].contains(label)) {
                assert!(labels.contains(&label.to_owned()), "{label}: {expression}");
            }
        }
    }
    // Nobody looks at what stands on no panel; candidates stand in the console, while there are any.
    let names = page.0.iter().map(|family| family.name.clone());
    let all: BTreeSet<_> = names.filter(|name| !name.starts_with("typingd_candidate_")).collect();
    let unseen: Vec<_> = all.difference(&asked_for).map(String::as_str).collect();
    assert_eq!(unseen, ["process_virtual_memory_bytes", "typingd_answers_total"]);
}

#[test]
fn the_dashboard_is_whole() {
    let dashboard = dashboard();
    assert_eq!((&dashboard["id"], dashboard["uid"].as_str()), (&Value::Null, Some("typingd")));
    let variables: Vec<_> = dashboard["templating"]["list"].as_array().unwrap().iter().collect();
    assert_eq!(variables[0]["type"], "datasource");
    let known: HashSet<_> = variables.iter().map(|variable| variable["name"].as_str().unwrap()).collect();
    // What is asked of which source, and by which variables.
    let text = dashboard.to_string();
    for name in text.split("$").skip(1) {
        let name = name.trim_start_matches('{');
        let name = name.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).next().unwrap();
        assert!(known.contains(name) || name.starts_with("__"), "${name}");
    }
    let (mut ids, mut taken, mut titles) = (HashSet::new(), HashSet::new(), HashSet::new());
    for panel in panels(&dashboard) {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}: an id twice");
        assert!(titles.insert(title), "{title} twice");
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|part| panel["gridPos"][part].as_u64().unwrap());
        assert!(w > 0 && h > 0 && x + w <= 24, "{title} stands outside");
        for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(taken.insert(cell), "{title} lies on another");
        }
        if panel["type"] == "row" {
            continue;
        }
        assert!(!panel["description"].as_str().unwrap().is_empty(), "{title} says nothing of itself");
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        let targets = panel["targets"].as_array().unwrap();
        let mut names = HashSet::new();
        assert!(!targets.is_empty(), "{title} asks nothing");
        for target in targets {
            assert!(names.insert(target["refId"].as_str().unwrap()), "{title}: a name twice");
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{title}");
            let selected = target["expr"].as_str().unwrap();
            assert!(selected.contains(r#"job=~"$job", instance=~"$instance""#), "{title}: of all daemons there are");
        }
    }
    let heights: BTreeSet<_> = taken.iter().map(|(_, y)| *y).collect();
    assert_eq!(heights.len() as u64, heights.last().unwrap() + 1, "no gap between rows");
}

#[test]
fn each_alert_says_what_to_do_and_has_a_case_in_which_it_fires() {
    let rules = shipped("typingd.rules.yml");
    let cases = shipped("typingd.rules.test.yml");
    let alerts = alerts(&rules);
    assert!(alerts.len() >= 20, "{alerts:?}");
    for (name, rule) in alerts.keys().zip(rules.split("\n      - alert: ").skip(1).collect::<BTreeSet<_>>()) {
        assert!(rule.starts_with(&format!("{name}\n")), "{name}: {rule}");
        for part in ["labels: { severity: ", "\n          summary: \"", "\n          description: >-\n"] {
            assert!(rule.contains(part), "{name} has no {part:?}");
        }
        assert!(rule.contains("{{ $labels.instance }}"), "{name} does not say which daemon");
        let fires =
            cases.lines().any(|line| line.contains("firing") && line.contains(&format!("alertname=\"{name}\"")));
        assert!(fires, "no case in which {name} fires");
    }
}
