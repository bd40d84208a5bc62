//! A strict reader of metrics: Prometheus text 0.0.4 and OpenMetrics text 1.0.0, as their specifications say. It takes
//! nothing that a server might not take.

use std::collections::{BTreeMap, HashSet};

/// Which text it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Text {
    Prometheus,
    OpenMetrics,
}

/// A family with its samples, by the name under which the samples are asked for.
#[derive(Debug)]
pub(crate) struct Family {
    pub(crate) name: String,
    pub(crate) kind: String,
    unit: Option<String>,
    pub(crate) samples: Vec<Sample>,
}

/// One line.
#[derive(Debug)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) value: f64,
}

/// A page of metrics.
#[derive(Debug)]
pub(crate) struct Page(pub(crate) Vec<Family>);

impl Page {
    /// Reads a page, and fails over whatever is not as it should be.
    pub(crate) fn read(text: &str, form: Text) -> Self {
        let body = match form {
            Text::Prometheus => text,
            Text::OpenMetrics => text.strip_suffix("# EOF\n").expect("it ends as it should"),
        };
        assert!(body.ends_with('\n'), "the last line has its end");
        let mut families: Vec<Family> = Vec::new();
        for line in body.lines() {
            assert!(!line.is_empty() && !line.contains(['\r', '\0']), "{line:?}");
            if let Some(comment) = line.strip_prefix("# ") {
                read_comment(comment, form, &mut families);
            } else {
                assert!(!line.starts_with('#'), "{line}");
                let family = families.last_mut().expect("a family before its samples");
                assert!(!family.kind.is_empty(), "a type before samples: {line}");
                family.samples.push(read_sample(line));
            }
        }
        let mut names = HashSet::new();
        for family in &families {
            assert!(names.insert(family.name.clone()), "{} twice", family.name);
            family.check(form);
        }
        Self(families)
    }

    /// The value of the only sample of that name that has these labels, and perhaps others.
    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let fits = |sample: &&Sample| {
            sample.name == name && labels.iter().all(|(key, value)| sample.labels.get(*key).is_some_and(|v| v == value))
        };
        let found: Vec<_> = self.0.iter().flat_map(|family| &family.samples).filter(fits).collect();
        assert!(found.len() < 2, "{name} {labels:?}: {found:?}");
        found.first().map(|sample| sample.value)
    }
}

/// HELP, TYPE, UNIT, in this order, each once.
fn read_comment(comment: &str, form: Text, families: &mut Vec<Family>) {
    let mut words = comment.splitn(3, ' ');
    let (what, name) = (words.next().unwrap(), words.next().expect("a name"));
    let rest = words.next().expect("something about it");
    assert!(is_name(name), "{comment}");
    match what {
        "HELP" => {
            assert!(!rest.trim().is_empty() && !rest.contains(['\\', '"']), "{comment}");
            let (name, kind) = (name.to_owned(), String::new());
            families.push(Family { name, kind, unit: None, samples: Vec::new() });
        }
        "TYPE" => {
            let family = families.last_mut().expect("help before the type");
            assert!(family.name == name && family.kind.is_empty() && family.samples.is_empty(), "{comment}");
            assert!(["counter", "gauge", "histogram"].contains(&rest), "{comment}");
            family.kind = rest.to_owned();
        }
        "UNIT" => {
            assert_eq!(form, Text::OpenMetrics, "{comment}");
            let family = families.last_mut().expect("help before the unit");
            assert!(family.name == name && family.unit.is_none() && family.samples.is_empty(), "{comment}");
            assert!(name.ends_with(&format!("_{rest}")), "{comment}");
            family.unit = Some(rest.to_owned());
        }
        _ => panic!("{comment}"),
    }
}

fn is_name(text: &str) -> bool {
    let first = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    first && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn read_sample(line: &str) -> Sample {
    let end = line.find(['{', ' ']).unwrap_or_else(|| panic!("{line}"));
    let (name, mut rest) = line.split_at(end);
    assert!(is_name(name), "{line}");
    let mut labels = BTreeMap::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        loop {
            let (label, after) = rest.split_once("=\"").unwrap_or_else(|| panic!("{line}"));
            assert!(is_name(label), "{line}");
            let mut value = String::new();
            let mut chars = after.char_indices();
            let close = loop {
                match chars.next().unwrap_or_else(|| panic!("{line}")) {
                    (at, '"') => break at,
                    (_, '\\') => value.push(match chars.next() {
                        Some((_, '\\')) => '\\',
                        Some((_, '"')) => '"',
                        Some((_, 'n')) => '\n',
                        other => panic!("no such escape, {other:?}: {line}"),
                    }),
                    (_, c) => value.push(c),
                }
            };
            assert!(labels.insert(label.to_owned(), value).is_none(), "{label} twice: {line}");
            rest = &after[close + 1..];
            match rest.strip_prefix(',') {
                Some(more) => rest = more,
                None => break,
            }
        }
        rest = rest.strip_prefix('}').unwrap_or_else(|| panic!("{line}"));
    }
    let value = rest.strip_prefix(' ').unwrap_or_else(|| panic!("{line}"));
    assert!(value.bytes().all(|b| b.is_ascii_digit() || b"+-.e".contains(&b)), "no plain number: {line}");
    Sample { name: name.to_owned(), labels, value: value.parse().unwrap_or_else(|_| panic!("{line}")) }
}

impl Family {
    fn check(&self, form: Text) {
        let Self { name, kind, samples, .. } = self;
        // What there may be none of has no sample then.
        assert!(!samples.is_empty() || kind != "histogram", "{name}");
        assert!(name.starts_with("typingd_") || name.starts_with("process_"), "{name}");
        let mut series = HashSet::new();
        for sample in samples {
            assert!(series.insert((&sample.name, &sample.labels)), "twice: {sample:?}");
            assert!(sample.value.is_finite() && sample.value >= 0.0, "{sample:?}");
        }
        let all_named = |expected: &str| samples.iter().all(|sample| sample.name == expected);
        match (kind.as_str(), form) {
            ("counter", Text::Prometheus) => assert!(name.ends_with("_total") && all_named(name), "{self:?}"),
            ("counter", Text::OpenMetrics) => {
                assert!(!name.ends_with("_total") && all_named(&format!("{name}_total")), "{self:?}");
            }
            ("gauge", _) => assert!(!name.ends_with("_total") && all_named(name), "{self:?}"),
            _ => self.check_histogram(),
        }
    }

    fn check_histogram(&self) {
        let mut points: BTreeMap<BTreeMap<String, String>, Vec<&Sample>> = BTreeMap::new();
        let mut last = None;
        for sample in &self.samples {
            let mut labels = sample.labels.clone();
            labels.remove("le");
            if last.as_ref() != Some(&labels) {
                assert!(!points.contains_key(&labels), "the samples of a histogram stand together: {sample:?}");
                last = Some(labels.clone());
            }
            points.entry(labels).or_default().push(sample);
        }
        for samples in points.values() {
            let one = |suffix: &str| {
                let mut found = samples.iter().filter(|sample| sample.name == format!("{}_{suffix}", self.name));
                let only = found.next().unwrap_or_else(|| panic!("no {suffix}: {samples:?}"));
                assert!(found.next().is_none() && !only.labels.contains_key("le"), "{samples:?}");
                only.value
            };
            let (count, sum) = (one("count"), one("sum"));
            let buckets: Vec<_> =
                samples.iter().filter(|sample| sample.name == format!("{}_bucket", self.name)).collect();
            assert_eq!(buckets.len() + 2, samples.len(), "{samples:?}");
            let bounds: Vec<f64> = buckets
                .iter()
                .map(|bucket| match bucket.labels["le"].as_str() {
                    "+Inf" => f64::INFINITY,
                    bound => bound.parse().unwrap(),
                })
                .collect();
            assert!(bounds.is_sorted_by(|a, b| a < b) && bounds.last() == Some(&f64::INFINITY), "{bounds:?}");
            assert!(buckets.is_sorted_by(|a, b| a.value <= b.value), "{buckets:?}");
            assert_eq!(buckets.last().map(|bucket| bucket.value), Some(count));
            assert!(count > 0.0 || sum == 0.0, "{samples:?}");
        }
    }
}
