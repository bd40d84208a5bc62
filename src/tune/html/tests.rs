//! The page as a whole: well-formed, self-contained, complete, and the same for the same input.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use roxmltree::{Document, Node, ParsingOptions};

use super::SECTIONS;
use crate::engine::policy::Rules;
use crate::signals::trace::TraceReader;
use crate::tune::advice::{distinct, front};
use crate::tune::plan::{Choice, Plan};
use crate::tune::row::Row;
use crate::tune::study::Study;
use crate::tune::typist;
use crate::tune::{Report, tune};

/// The page as XML: elements that HTML leaves open are closed.
fn page(report: &Report) -> String {
    let tags = super::report(report);
    let closed = |part: &str| match part.rsplit_once('<') {
        Some((_, tag)) if tag.starts_with("meta ") || tag.starts_with("input ") => part.replace('>', "/>"),
        _ => part.to_owned(),
    };
    tags.split_inclusive('>').map(closed).collect()
}

fn tuned(traces: &[(&str, &str)], choices: &[Choice<'_>]) -> Report {
    tuned_by(2, traces, choices)
}

fn tuned_by(threads: usize, traces: &[(&str, &str)], choices: &[Choice<'_>]) -> Report {
    let readers =
        traces.iter().map(|(name, text)| TraceReader::new(name, std::io::Cursor::new((*text).to_owned().into_bytes())));
    let plan = Plan::new(&Rules::default()).with(choices.iter().copied()).unwrap();
    tune(Study::read(readers).unwrap(), &plan, threads, &|| ())
}

/// Some people with pauses, and a few drafts given up.
fn people() -> String {
    typist::trace(6, 12, 7)
}

fn line(at: u64, from: &str, signal: &str) -> String {
    serde_json::json!({"to": "c", "from": from, "signal": signal, "at": at}).to_string() + "\n"
}

/// Parses it as XML, which forgives nothing, and holds it to everything that must be true of every page.
fn sound<'a>(name: &str, page: &'a str) -> Document<'a> {
    assert!(!page.contains("<script") && !page.contains(" style="), "{name}: an element with a style of its own");
    let options = ParsingOptions { allow_dtd: true, ..ParsingOptions::default() };
    let document = Document::parse_with_options(page, options).unwrap_or_else(|e| panic!("{name}: {e}"));
    let nodes = || document.root().descendants().filter(Node::is_element);
    let ids: Vec<&str> = nodes().filter_map(|node| node.attribute("id")).collect();
    let unique: BTreeSet<&str> = ids.iter().copied().collect();
    assert_eq!(ids.len(), unique.len(), "{name}: an id stands twice");
    for node in nodes() {
        let tag = node.tag_name().name();
        assert!(!["script", "link", "img", "iframe", "object"].contains(&tag), "{name}: <{tag}>");
        for attribute in node.attributes() {
            let (key, value) = (attribute.name(), attribute.value());
            assert!(!key.starts_with("on") && !["src", "srcset", "data", "action"].contains(&key), "{name}: {key}");
            let targets: Vec<&str> = match key {
                "href" => vec![value.strip_prefix('#').unwrap_or_else(|| panic!("{name}: href {value}"))],
                "aria-labelledby" | "for" => value.split(' ').collect(),
                _ => vec![],
            };
            for target in targets {
                assert!(unique.contains(target), "{name}: {key} {value} leads nowhere");
            }
            if ["x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "width", "height", "d"].contains(&key) {
                let number = |c: char| c.is_ascii_digit() || " .-%MLHVhvz".contains(c);
                assert!(value.chars().all(number), "{name}: {tag} {key} {value}");
                assert!(!["width", "height"].contains(&key) || !value.starts_with('-'), "{name}: {tag} {key} {value}");
            }
        }
        if node.attribute("role") == Some("img") {
            for child in ["title", "desc"] {
                let text = node.children().find(|node| node.tag_name().name() == child).and_then(|node| node.text());
                assert!(text.is_some_and(|text| text.len() > 5), "{name}: a picture without a {child}");
            }
        }
        if tag == "table" {
            let has = |wanted: &str| node.descendants().any(|node| node.tag_name().name() == wanted);
            assert!(has("caption") && has("thead"), "{name}: a table without caption or head");
            let widths: BTreeSet<usize> =
                rows(node).iter().skip_while(|row| row[0].0 != "body").map(Vec::len).collect();
            assert!(widths.len() <= 1, "{name}: a ragged table: {widths:?}");
        }
        if tag == "th" {
            let scope = node.attribute("scope");
            assert!(matches!(scope, Some("col" | "row" | "colgroup")), "{name}: a heading of {scope:?}");
        }
    }
    // Styles refer to what the page itself has.
    for place in page.split("url(").skip(1) {
        let target = place.strip_prefix('#').and_then(|rest| rest.split(')').next());
        assert!(target.is_some_and(|id| unique.contains(id)), "{name}: url({:.20}", place);
    }
    assert!(!page.contains("http://") && !page.contains("https://") && !page.contains("@import"), "{name}");
    let text = text(document.root());
    for word in text.split(|c: char| !c.is_alphanumeric()) {
        assert!(!["NaN", "inf"].contains(&word), "{name}: {word}");
    }
    let headings: Vec<&str> = nodes()
        .filter(|node| node.tag_name().name() == "h2")
        .filter_map(|node| node.attribute("id")?.strip_suffix("-name"))
        .collect();
    assert_eq!(headings, SECTIONS.map(|(id, _)| id), "{name}");
    assert_eq!(nodes().filter(|node| node.tag_name().name() == "h1").count(), 1, "{name}");
    document
}

/// Everything that is read, with a space between elements; styles left out.
fn text(node: Node<'_, '_>) -> String {
    let style = |node: &Node<'_, '_>| node.ancestors().any(|node| node.tag_name().name() == "style");
    let texts = node.descendants().filter(|node| node.is_text() && !style(node)).filter_map(|node| node.text());
    texts.collect::<Vec<_>>().join(" ").replace('\u{a0}', " ")
}

/// A table's cells, row by row, each with the part of the table that it is in.
fn rows(table: Node<'_, '_>) -> Vec<Vec<(&'static str, String)>> {
    let row = |node: Node<'_, '_>| {
        let part =
            if node.parent_element().is_some_and(|part| part.tag_name().name() == "tbody") { "body" } else { "head" };
        node.children().filter(Node::is_element).map(|cell| (part, text(cell))).collect()
    };
    table.descendants().filter(|node| node.tag_name().name() == "tr").map(row).collect()
}

fn of_class<'a, 'input>(document: &'a Document<'input>, class: &str) -> Vec<Node<'a, 'input>> {
    let has = |node: &Node<'_, '_>| node.attribute("class").is_some_and(|all| all.split(' ').any(|one| one == class));
    document.descendants().filter(has).collect()
}

fn verdict(page: &str) -> String {
    let document = sound("verdict", page);
    text(of_class(&document, "verdict")[0])
}

#[test]
fn a_page_is_sound_and_tells_everything() {
    let trace = typist::trace(30, 12, 42);
    let limits = ("want", "recall>=85%,off_p95<=5s,check<=10s");
    let found = tuned(&[("people.ndjson", &trace)], &[("current", "after_shown:5s/2s"), limits]);
    let page = page(&found);
    let document = sound("people", &page);
    let best = found.best().expect("some setting keeps the limits").setting;
    let verdict = text(of_class(&document, "verdict")[0]);
    for words in [
        &format!("typingd timing --mode {} ", best.mode.name()),
        "[timing]",
        "check_interval = \"",
        "In force now is after_shown 5s/2s",
        "settings tried kept every limit (icon on while typing at least 85 %, icon lingering (p95) at most 5 s and check at \
         most 10 s)",
        "now: dismiss < check",
    ]
    .map(str::to_owned)
    {
        let spaced = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(spaced(&verdict).contains(spaced(&words).trim()), "{words}: {verdict}");
    }
    assert_eq!(of_class(&document, "pick").len(), of_class(&document, "strip").len());
    assert_eq!(of_class(&document, "strip").len(), super::strips::STRIPS_MAX);
    for number in 0..super::strips::STRIPS_MAX {
        assert!(page.contains(&format!(".pick-{number}:checked ~ .strip-{number}")), "{number} can't be chosen");
    }
    assert_eq!(of_class(&document, "heat").len(), 6, "four measures in two modes, three of one mode in one map");
    assert_eq!(of_class(&document, "even").len(), 4, "a break-even silence for each lambda");
    assert!(text(document.root()).contains(&found.inputs[0].sha256));
    assert!(page.len() < 1_000_000, "{} bytes", page.len());
}

#[test]
fn figures_in_tables_are_those_of_the_report() {
    let trace = people();
    let found = tuned(&[("t", &trace)], &[("current", "after_shown:5s/2s")]);
    let page = page(&found);
    let document = sound("tables", &page);
    let ranking = rows(of_class(&document, "ranking")[0]);
    let body: Vec<_> = ranking.iter().filter(|row| row[0].0 == "body").collect();
    assert!(body[0][1].1.starts_with("after_shown 5s/2s"), "what is in force comes first: {:?}", body[0]);
    let choices = distinct(&found.rows, &front(&found.rows, &found.ranking, &found.plan));
    assert_eq!((body.len(), choices[0]), (1 + choices.len().min(12), found.ranking[0]));
    for (line, place) in body[1..].iter().zip(&choices) {
        let row = &found.rows[*place];
        assert!(line[1].1.starts_with(&row.setting.to_string()), "{line:?}");
        let recall = format!("{:.1}", 100.0 * row.recall.value.unwrap());
        assert_eq!(line[2].1.split(' ').next(), Some(recall.as_str()), "{line:?}");
    }
    // In idle mode a line for the icon while typing, whatever the check, comes first; then check by check the requests.
    let maps: Vec<_> = of_class(&document, "heat").into_iter().map(rows).collect();
    let figures = |lines: &[Vec<(&str, String)>]| -> Vec<String> {
        let cells = lines.iter().flat_map(|line| &line[1..]);
        cells.map(|(_, cell)| cell.split(' ').next().unwrap_or_default().to_owned()).collect()
    };
    let idle: Vec<_> = found.rows.iter().filter(|row| row.setting.mode.name() == "idle").collect();
    let recall = idle.iter().take(11).map(|row| format!("{:.0}", 100.0 * row.recall.value.unwrap()));
    assert_eq!(figures(&maps[0][1..2]), recall.collect::<Vec<_>>());
    let requests = idle.iter().map(|row| format!("{:.1}", row.req_per_min.value.unwrap()));
    let short = |text: String| if text.len() > 3 { text[..text.len() - 2].to_owned() } else { text };
    assert_eq!(figures(&maps[1][1..]), requests.map(short).collect::<Vec<_>>());
    let marked = |class: &str| {
        let cells = of_class(&document, class);
        cells.iter().filter(|cell| cell.tag_name().name() == "td").count()
    };
    assert_eq!((marked("now"), marked("offered")), (4, 4), "one cell of each map of its mode");
    assert!(text(document.root()).contains("a check only asks again for an icon that is on already"));
}

#[test]
fn the_verdict_says_what_to_do() {
    let trace = typist::trace(30, 12, 42);
    let traces = [("t", trace.as_str())];
    let with = |choices: &[Choice<'_>]| verdict(&page(&tuned(&traces, choices)));
    let limits = ("want", "recall>=85%,off_p95<=5s,check<=10s");
    let small = [("check", "5s,10s"), ("dismiss", "2s,5s"), ("mode", "idle"), ("icon-ttl", "none"), limits];
    let small = [&small[..], &[("minimise", "requests")]].concat();
    let and = |choices: &[Choice<'static>]| [&small[..], choices].concat();
    let changed = with(&and(&[("current", "5s/2s")]));
    assert!(
        changed.contains("Change to idle, check 10 s, dismiss 5 s") && changed.contains("Against now, the icon"),
        "{changed}"
    );
    let little = people();
    let little = verdict(&page(&tuned(&[("t", little.as_str())], &and(&[("current", "5s/2s"), ("want", "none")]))));
    assert!(little.contains("Not enough data: keep idle, check 5 s, dismiss 2 s for now"), "{little}");
    assert!(little.contains("too few to advise on") && !little.contains("typingd timing"), "{little}");
    let kept = with(&and(&[("current", "10s/5s")]));
    assert!(kept.contains("Keep idle, check 10 s, dismiss 5 s") && kept.contains("nothing to change"), "{kept}");
    assert!(kept.contains("The runner-up") && !kept.contains("typingd timing"), "{kept}");
    let none = with(&and(&[("want", "recall>=99.9%,requests<=1")]));
    assert!(none.contains("None of 4 settings keeps every limit") && none.contains("missed by"), "{none}");
    assert!(
        none.contains("points") && none.contains("Nothing is recommended") && !none.contains("typingd timing"),
        "{none}"
    );
    let free = with(&and(&[("want", "none"), ("minimise", "missed")]));
    assert!(free.contains("no limit was asked for, and of 4 settings tried it has the least typing missed"), "{free}");
    let burst = with(&and(&[("truth", "burst")]));
    assert!(burst.contains("on for 100 % of the typing by construction"), "{burst}");
    let key = line(0, "u", "keystroke");
    let nothing = verdict(&page(&tuned(&[("t", &key)], &[])));
    assert!(nothing.contains("These traces decide nothing") && !nothing.contains("typingd timing"), "{nothing}");
    let untested = verdict(&page(&tuned(&[("t", &key)], &[limits])));
    assert!(untested.contains("None of 330 settings keeps every limit"), "kept for want of data: {untested}");
}

#[test]
fn names_of_others_stay_text() {
    let evil = "<script>alert(1)</script>\"'&amp;\u{202e}]]>";
    let trace: String = (0..20).map(|i| line(900 * i, evil, "keystroke")).collect();
    let page = page(&tuned(&[("<b>&\"'.ndjson", &trace)], &[("check", "5s"), ("dismiss", "2s")]));
    let document = sound("evil", &page);
    assert!(!page.contains("<script") && !page.contains("<b>&"));
    let names: Vec<String> = document.descendants().filter(|node| node.tag_name().name() == "bdi").map(text).collect();
    assert!(names.iter().any(|name| name == evil) && names.iter().any(|name| name == "<b>&\"'.ndjson"), "{names:?}");
}

#[test]
fn pages_of_little_are_sound_too() {
    let keys = |users: u64, count: u64, gap: u64| -> String {
        (0..count).map(|i| line(i * gap, &format!("u{}", i % users), "keystroke")).collect()
    };
    let sent = |trace: String, at: u64| trace + &line(at, "u0", "message_sent");
    let sends = line(0, "u", "keystroke") + &line(0, "u", "message_sent") + &line(9_000, "v", "message_sent");
    let long = "x".repeat(240);
    let long_ids: String = (0..30).map(|i| line(i * 1_500, &long, "keystroke")).collect();
    let everyone = people();
    let one: &[Choice<'_>] = &[("mode", "idle"), ("check", "5s"), ("dismiss", "2s")];
    let cases: [(&str, &str, &[Choice<'_>]); 14] = [
        ("one key", &keys(1, 1, 0), &[]),
        ("one key, one setting", &keys(1, 1, 0), one),
        ("one user", &sent(keys(1, 30, 700), 25_000), &[]),
        ("no send", &keys(3, 90, 900), &[]),
        ("sends alone", &sends, one),
        ("equal times", &keys(2, 9, 0), one),
        ("one setting", &everyone, one),
        ("one check", &everyone, &[("check", "5s"), ("current", "7s/3s")]),
        ("long ids", &long_ids, one),
        ("receiver known", &everyone, &[("icon-ttl", "5s"), ("peak", "9000"), ("check", "5s,9s")]),
        ("receiver keeps", &everyone, &[("icon-ttl", "none"), ("check", "5s,9s"), ("abandon", "13%")]),
        (
            "lossy",
            &everyone,
            &[("latency", "300ms"), ("loss", "2%"), ("mode", "idle"), ("check", "5s"), ("dismiss", "2s,5s")],
        ),
        ("no room", &everyone, &[("limit", "1/s"), ("check", "5s"), ("peak", "0")]),
        ("an hour away", &everyone, &[("away", "1h"), ("check", "1h"), ("dismiss", "1ms,1h"), ("want", "recall>=85%")]),
    ];
    for (name, trace, choices) in cases {
        let found = tuned(&[("t", trace)], choices);
        let page = page(&found);
        let document = sound(name, &page);
        if found.current.recall.value.is_none() {
            let figure = text(of_class(&document, "figure")[0]);
            assert!(figure.contains('–') && figure.contains("Undefined: no one composed"), "{name}: {figure}");
        }
        if found.study.users < 2 {
            assert!(text(document.root()).contains("one user says nothing of others"), "{name}");
        }
    }
}

#[test]
fn fine_grids_are_thinned_out() {
    let trace = people();
    let found = tuned(&[("t", &trace)], &[("check", "500ms..25s/500ms"), ("dismiss", "500ms..10s/500ms")]);
    assert_eq!(found.rows.len(), 2_000);
    let page = page(&found);
    let document = sound("fine", &page);
    let maps = of_class(&document, "heat");
    assert_eq!(maps.len(), 6);
    assert!(text(document.root()).contains(" of 2000 settings are shown; the JSON has all"));
    let idle: Vec<_> = found.rows.iter().filter(|row| row.setting.mode.name() == "idle").collect();
    // In seconds: 20 dismissals and 50 checks are thinned out, but what is in force and what is advised stays.
    let seconds = |millis: u64| format!("{}", millis as f64 / 1_000.0);
    let requests = rows(maps[1]);
    assert!(requests.len() <= 1 + 26 && requests[0].len() <= 1 + 18, "{} by {}", requests.len(), requests[0].len());
    for setting in [found.current.setting, found.best().unwrap().setting] {
        assert!(requests[0].iter().any(|(_, dismiss)| *dismiss == seconds(setting.dismiss)), "{setting}");
        assert!(requests.iter().any(|line| line[0].1 == seconds(setting.check)), "{setting}");
    }
    let cells = maps[1].descendants().filter(|node| node.tag_name().name() == "td");
    let shades: Vec<u32> = cells.map(|cell| cell.attribute("class").unwrap()[1..2].parse().unwrap()).collect();
    let shown =
        requests[1..].iter().flat_map(|line| requests[0][1..].iter().map(move |dismiss| (&line[0].1, &dismiss.1)));
    let value = |(check, dismiss): (&String, &String)| {
        let is = |row: &&&Row| {
            (seconds(row.setting.check), seconds(row.setting.dismiss)) == (check.clone(), dismiss.clone())
        };
        idle.iter().find(is).unwrap().req_per_min.value.unwrap()
    };
    let mut cells: Vec<(f64, u32)> = shown.map(value).zip(shades).collect();
    cells.sort_by(|a, b| b.0.total_cmp(&a.0));
    assert!(cells.is_sorted_by_key(|(_, shade)| *shade), "what is better is no weaker");
    assert!(cells[0].1 < cells[cells.len() - 1].1, "the best stands out most");
    assert!(page.len() < 1_000_000, "{} bytes", page.len());
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let trace = people();
    let page = |threads| super::report(&tuned_by(threads, &[("t", &trace)], &[("check", "5s,10s")]));
    assert_eq!(page(1), page(3));
}

#[test]
fn a_lane_shows_what_was_told() {
    // Ten keys a second for three seconds, four seconds of thought, another second, a send.
    let mut trace = String::new();
    for at in (0..3_000).step_by(100).chain((7_000..8_000).step_by(100)) {
        let _ = write!(trace, "{}", line(at, "u", "keystroke"));
    }
    trace += &line(8_100, "u", "message_sent");
    let choices = [("check", "5s"), ("dismiss", "2s"), ("mode", "idle"), ("current", "5s/2s")];
    let page = page(&tuned(&[("t", &trace)], &choices));
    let document = sound("lane", &page);
    let lane = of_class(&document, "now").into_iter().find(|node| node.tag_name().name() == "svg").unwrap();
    let count = |class: &str| {
        let has =
            |node: &Node<'_, '_>| node.attribute("class").is_some_and(|all| all.split(' ').any(|one| one == class));
        lane.descendants().filter(has).count()
    };
    assert_eq!((count("first"), count("again"), count("down")), (2, 0, 2));
    assert_eq!((count("seen"), count("missed"), count("wrong"), count("send")), (2, 1, 0, 1));
    let missed = lane.descendants().find(|node| node.attribute("class") == Some("missed")).unwrap();
    // From 4.9 s to 7 s of the minute.
    assert_eq!((missed.attribute("x"), missed.attribute("width")), (Some("8.17%"), Some("3.5%")));
    let tally = text(of_class(&document, "tally")[1]);
    assert!(tally.contains("4 ") && tally.contains("74 % seen"), "{tally}");
}
