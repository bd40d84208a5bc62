//! What valid settings do badly. Nothing here is an error.

use std::time::Duration;

use url::Url;

use super::Config;
use super::layers::Layers;
use crate::base::duration::Written;
use crate::engine::policy::{Mode, Policy, Rules};
use crate::salesforce::Proxy;
use crate::salesforce::settings::Auth;

/// A sentence for each thing that these settings do badly: blink, starve, or exceed the org's limit.
pub fn warnings(config: &Config) -> Vec<String> {
    let mut found = timing_warnings(config);
    of_delivery(config, &mut found);
    of_ingest(config, &mut found);
    if config.upstream.is_some() {
        of_addresses(&config.layers, &mut found);
    }
    of_proxy(config, &mut found);
    of_drop_in(config, &mut found);
    found
}

/// Those of a configuration that may be wrong: of its right settings, and of no table that has a wrong one.
pub(super) fn warnings_beside(layers: &Layers, sandbox: bool) -> Vec<String> {
    let mut found = Vec::new();
    if !sandbox {
        of_addresses(layers, &mut found);
    }
    let mut right = Layers::clone(layers);
    let wrong = right.take_out_wrong();
    // Where it listens, and with whom, has no warnings; what is wrong with it would keep the rest from being read.
    right.reset(|key| key.table() == "store" || key.name() == "listen");
    let Ok(config) = super::resolve(right, None, true) else { return found };
    let is_right = |table: &str| !wrong.iter().any(|wrong| *wrong == table);
    let timing = if is_right("timing") { timing_warnings(&config) } else { Vec::new() };
    found.splice(0..0, timing);
    if is_right("upstream") && is_right("delivery") {
        of_delivery(&config, &mut found);
    }
    if is_right("ingest") && is_right("admin") {
        of_ingest(&config, &mut found);
    }
    if is_right("drop_in") {
        of_drop_in(&config, &mut found);
    }
    found
}

/// Those that another timing would not have: of the timing by itself, and beside other settings.
pub(super) fn timing_warnings(config: &Config) -> Vec<String> {
    let mut found = Vec::new();
    for (scope, rules) in scopes(config) {
        of_timing(&scope, &rules, &mut found);
        of_activity(config, &scope, &rules, &mut found);
    }
    of_capacity(config, &mut found);
    found
}

/// How many people can type at a time before refreshes are shed, as a sentence; `None` where that is a warning.
pub fn capacity(config: &Config) -> Option<String> {
    let (people, sentence) = tightest(config);
    (people >= TYPING_AT_A_TIME)
        .then(|| format!("{sentence}; pauses add a Stopped and a Started each; both are counted below"))
}

/// How many people can type at a time, by the timing that allows the fewest, and the sentence on it.
fn tightest(config: &Config) -> (u64, String) {
    let rate = config.policy.delivery.requests_per_second_max;
    let (people, scope, check) = scopes(config)
        .map(|(scope, rules)| {
            let people = f64::from(rate) * rules.check_interval().as_secs_f64() / requests_per_check(&rules);
            (people as u64, scope, rules.check_interval())
        })
        .min_by_key(|(people, ..)| *people)
        .expect("the timing of [timing] is always there");
    let beyond = if people < ORG_SESSIONS_MAX { ", fewer than the 11000 sessions an org may have" } else { "" };
    let check = Written(check);
    let sentence = format!(
        "if no user paused, {people} people could type at a time before refreshes are shed{beyond} ({scope}: \
         check_interval {check}, {rate} requests a second)"
    );
    (people, sentence)
}

/// Too many requests for each person who is typing: the icons of the others are shed.
fn of_capacity(config: &Config, found: &mut Vec<String>) {
    let (people, sentence) = tightest(config);
    if people < TYPING_AT_A_TIME {
        found.push(format!("{sentence}; a longer check_interval leaves room for more"));
    }
}

/// The timing of all, and that of each channel that has another, each with its table.
pub fn scopes(config: &Config) -> impl Iterator<Item = (String, Rules)> {
    scopes_of(&config.policy)
}

pub(super) fn scopes_of(policy: &Policy) -> impl Iterator<Item = (String, Rules)> {
    let mut channels: Vec<_> = policy.channels.iter().collect();
    channels.sort_by_key(|(to, _)| *to);
    let own = channels.into_iter().filter(|(_, rules)| **rules != policy.rules);
    let own = own.map(|(to, rules)| (super::channel_table(to), *rules));
    std::iter::once(("timing".to_owned(), policy.rules)).chain(own)
}

/// The requests of unbroken typing: a refresh at each check, and a dismissal if the icon goes off in between.
fn requests_per_check(rules: &Rules) -> f64 {
    if gaps(rules) { 2.0 } else { 1.0 }
}

/// Whether the icon goes off between two checks although the user is typing.
fn gaps(rules: &Rules) -> bool {
    rules.mode == Mode::AfterShown && rules.dismiss_after() < rules.check_interval()
}

fn of_timing(scope: &str, rules: &Rules, found: &mut Vec<String>) {
    let (check, dismiss) = (Written(rules.check_interval()), Written(rules.dismiss_after()));
    if gaps(rules) {
        let percent = 100.0 * rules.dismiss_after().as_secs_f64() / rules.check_interval().as_secs_f64();
        found.push(format!(
            "{scope}: dismiss < check: the icon can be on at most {percent:.0} % of the time, {dismiss} of every {check}; \
             dismiss = \"idle\", or a dismiss_after of at least check_interval, keeps it on while the user is typing"
        ));
    }
    if rules.dismiss_after() < BLINK {
        found.push(format!(
            "{scope}: the icon will blink: dismiss_after {dismiss} is below {}, and people pause for longer than that \
             within a sentence",
            Written(BLINK)
        ));
    }
}

fn of_delivery(config: &Config, found: &mut Vec<String>) {
    let delivery = &config.policy.delivery;
    let rate = delivery.requests_per_second_max;
    if rate > ORG_REQUESTS_PER_SECOND_MAX {
        found.push(format!(
            "upstream: max_requests_per_second {rate} exceeds the {ORG_REQUESTS_PER_SECOND_MAX} that Salesforce allows \
             an org, all its connectors together; it rejects requests beyond that"
        ));
    }
    let answer = Duration::from_secs_f64(delivery.in_flight_max as f64 / f64::from(rate));
    if answer < ANSWER_USUAL {
        found.push(format!(
            "upstream: {} requests in flight carry {rate} a second only while an answer takes at most {} ms; \
             a greater max_in_flight, or a smaller max_requests_per_second, would fit better",
            delivery.in_flight_max,
            answer.as_millis()
        ));
    }
    if let Some(lifespan) = delivery.started_lifespan
        && lifespan < RATE_WINDOW
    {
        found.push(format!(
            "delivery: with started_lifespan {} a TypingStarted that has to wait is dropped; at the rate \
             limit that can take {}",
            Written(lifespan),
            Written(RATE_WINDOW)
        ));
    }
    let Some(upstream) = &config.upstream else { return };
    let timeout = upstream.request_timeout;
    if timeout >= delivery.stopped_lifespan {
        found.push(format!(
            "delivery: a TypingStopped that gets no answer is tried only once, because request_timeout {} is not below \
             stopped_lifespan {}",
            Written(timeout),
            Written(delivery.stopped_lifespan)
        ));
    }
    if config.shutdown_grace < timeout && config.state_dir.is_none() {
        found.push(format!(
            "delivery: a shutdown may leave icons on, because shutdown_grace {} is below request_timeout {}",
            Written(config.shutdown_grace),
            Written(timeout)
        ));
    }
}

fn of_ingest(config: &Config, found: &mut Vec<String>) {
    if config.ingest.recording {
        let who = match (&config.admin.token_file, &config.ingest.token_file) {
            (Some(_), _) => "any caller with the token of admin.token_file",
            (None, Some(_)) => "any caller with the token of ingest.token_file",
            (None, None) => "any caller, as no token is required,",
        };
        found.push(format!(
            "ingest: recording is on: {who} can record the times of your users' keystrokes, which may identify them; set \
             recording = false while no recording is needed"
        ));
    }
}

/// Addresses of Salesforce that are others than those that are meant.
fn of_addresses(layers: &Layers, found: &mut Vec<String>) {
    const TOKEN_URL: &str = "upstream.auth.jwt_bearer.token_url";
    const AUDIENCE: &str = "upstream.auth.jwt_bearer.audience";
    let mut warn = |key: &str, value: &str, what: &str| {
        found.push(layers.located(key, &format!("{key} = {value:?}: {what}")));
    };
    if let Some(base_url) = layers.global.get::<Url>("upstream.base_url")
        && let Some(what) = of_base_url(&base_url)
    {
        warn("upstream.base_url", shown(&base_url), &what);
    }
    let Some(token_url) = layers.global.get::<Url>(TOKEN_URL) else { return };
    if let Some(what) = of_token_url(&token_url) {
        warn(TOKEN_URL, shown(&token_url), &what);
    }
    if let Some(audience) = layers.global.get::<String>(AUDIENCE)
        && let Some(what) = of_audience(&audience, &token_url)
    {
        warn(AUDIENCE, &audience, &what);
    }
}

/// What is wrong with the address of the Interaction Service.
fn of_base_url(url: &Url) -> Option<String> {
    let host = url.host_str().unwrap_or_default();
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    if let Some((whose, domain)) = without_interaction_service(host) {
        return Some(format!(
            "{whose}: there is no Interaction Service there; expected https://{domain}{SERVICE_HOST}{port}"
        ));
    }
    if let Some(domain) = host.strip_suffix(SERVICE_DOMAIN).filter(|_| !host.ends_with(SERVICE_HOST)) {
        return Some(format!("there is no such address; expected https://{domain}{SERVICE_HOST}{port}"));
    }
    (host.ends_with(SERVICE_HOST) && url.path() != "/")
        .then(|| format!("the Interaction Service has no path before its own; expected https://{host}{port}"))
}

/// What is wrong with the address of the token endpoint.
fn of_token_url(url: &Url) -> Option<String> {
    let host = url.host_str().unwrap_or_default();
    let domain = [SERVICE_DOMAIN, ".lightning.force.com"].iter().find_map(|ending| host.strip_suffix(ending));
    if let Some(domain) = domain {
        let domain = domain.strip_suffix(".my").unwrap_or(domain);
        return Some(format!(
            "no tokens come from this host; expected https://{domain}{}{TOKEN_PATH}, or https://{LOGIN}{TOKEN_PATH}",
            ORG_HOSTS[0].0
        ));
    }
    (is_salesforce(host) && !url.path().ends_with(TOKEN_PATH)).then(|| {
        let mut right = url.clone();
        right.set_path(TOKEN_PATH);
        format!("no tokens come from this path; expected {right}")
    })
}

/// What is wrong with the audience of assertions for `token_url`.
fn of_audience(audience: &str, token_url: &Url) -> Option<String> {
    let token_host = token_url.host_str().unwrap_or_default();
    let login = |host: &str| {
        if host == TEST_LOGIN || TEST_MARKS.iter().any(|mark| host.contains(mark)) { TEST_LOGIN } else { LOGIN }
    };
    let audience = Url::parse(audience).ok().filter(|url| url.scheme() == "https");
    let host = audience.as_ref().and_then(Url::host_str);
    Some(match (host, &audience) {
        (Some(host), Some(_))
            if [LOGIN, TEST_LOGIN].contains(&host) && is_salesforce(token_host) && login(token_host) != host =>
        {
            let right = login(token_host);
            format!("it does not go with token_url {}, which refuses it; expected https://{right}", shown(token_url))
        }
        (Some(host), Some(url)) if is_salesforce(host) && url.path() != "/" => {
            format!("an audience has no path; expected https://{host}")
        }
        (Some(_), Some(_)) => return None,
        _ => format!("it is no https address; expected https://{LOGIN}, or https://{TEST_LOGIN} for a sandbox org"),
    })
}

/// What `host` is, if it is one of Salesforce's that has no Interaction Service, and the org's domain as far as it says
/// that.
fn without_interaction_service(host: &str) -> Option<(&'static str, String)> {
    if [LOGIN, TEST_LOGIN].contains(&host) {
        return Some(("this is where tokens come from", "<MyDomain>".to_owned()));
    }
    let org = ORG_HOSTS.iter().find_map(|(ending, whose)| Some((*whose, host.strip_suffix(ending)?)));
    let Some((whose, domain)) = org else {
        let other = OTHER_HOSTS.iter().any(|ending| host.ends_with(ending));
        return other.then(|| ("this is another service of Salesforce", "<MyDomain>".to_owned()));
    };
    let domain = match (whose, domain.split_once('.').unwrap_or((domain, ""))) {
        // What stands behind the last -- is a package, c for none.
        (VISUALFORCE, (first, rest)) => {
            let first = first.rsplit_once("--").map_or(first, |(domain, _)| domain);
            if rest.is_empty() { first.to_owned() } else { format!("{first}.{rest}") }
        }
        _ => domain.to_owned(),
    };
    Some((whose, domain))
}

fn is_salesforce(host: &str) -> bool {
    [LOGIN, TEST_LOGIN].contains(&host) || host.ends_with(ORG_HOSTS[0].0)
}

fn shown(url: &Url) -> &str {
    url.as_str().trim_end_matches('/')
}

fn of_proxy(config: &Config, found: &mut Vec<String>) {
    const KEY: &str = "upstream.proxy";
    let Some(upstream) = &config.upstream else { return };
    let token_url = match &upstream.auth {
        Auth::JwtBearer(jwt) => Some(&jwt.token_url),
        _ => None,
    };
    let mut urls = std::iter::once(&upstream.base_url).chain(token_url);
    match (&upstream.proxy, config.ambient_proxy) {
        (Some(proxy), _) => found.extend(urls.filter(|url| !Proxy::is_for(url)).map(|url| {
            let url = shown(url);
            let text = format!("{KEY} {proxy} is not used for {url}: addresses of this machine are reached directly");
            config.located(KEY, &text)
        })),
        (None, Some(variable)) if urls.any(Proxy::is_for) => found.push(format!(
            "upstream: {variable} is set in the environment, and not used; if Salesforce is to be reached through that \
             proxy, write it as proxy under [upstream]"
        )),
        (None, _) => {}
    }
}

/// What connectors report through the drop-in, beside the timing.
fn of_activity(config: &Config, scope: &str, rules: &Rules, found: &mut Vec<String>) {
    let Some(drop_in) = &config.drop_in else { return };
    let lasts = drop_in.activity_lasts + rules.dismiss_after();
    if lasts < CONNECTOR_SPACING {
        found.push(format!(
            "drop_in: the icon will blink while the user is typing: connectors report typing once in {}, and activity_lasts with dismiss_after ({scope}) is {}",
            Written(CONNECTOR_SPACING),
            Written(lasts)
        ));
    }
}

fn of_drop_in(config: &Config, found: &mut Vec<String>) {
    if config.drop_in.is_some_and(|drop_in| drop_in.settle.is_zero()) {
        found.push("drop_in: with settle 0s a message does not wait until its icon is off".to_owned());
    }
}

/// How the addresses of orgs end that people see in their browsers, and what they are.
const ORG_HOSTS: [(&str, &str); 6] = [
    (".my.salesforce.com", "this is the org's own address"),
    (".lightning.force.com", "this is the org's own address"),
    (".my.salesforce-setup.com", "this is the org's own address"),
    (".my.site.com", "this is the address of the org's sites"),
    (".my.salesforce-sites.com", "this is the address of the org's sites"),
    (".vf.force.com", VISUALFORCE),
];
/// How others of Salesforce's addresses end.
const OTHER_HOSTS: [&str; 4] = [".salesforce.com", ".force.com", ".site.com", ".documentforce.com"];
const VISUALFORCE: &str = "this is the address of the org's Visualforce pages";
/// Where the token endpoint is, behind whatever site.
const TOKEN_PATH: &str = "/services/oauth2/token";
/// How the address of an org's Interaction Service ends.
const SERVICE_HOST: &str = ".my.salesforce-scrt.com";
const SERVICE_DOMAIN: &str = ".salesforce-scrt.com";
/// Where tokens of production orgs, and of sandbox orgs, come from.
const LOGIN: &str = "login.salesforce.com";
const TEST_LOGIN: &str = "test.salesforce.com";
/// What the addresses of sandbox and scratch orgs have in their middle.
const TEST_MARKS: [&str; 3] = ["--", ".sandbox.", ".scratch."];
/// Salesforce's sample connector throttles to this.
const CONNECTOR_SPACING: Duration = Duration::from_secs(5);
/// Salesforce's documented limit, per org, all its connectors together.
const ORG_REQUESTS_PER_SECOND_MAX: u32 = 2_000;
/// Salesforce's documented limit of simultaneous active messaging sessions.
const ORG_SESSIONS_MAX: u64 = 11_000;
/// In a full org one session in ten may well have its user typing; a rate that is not enough for those sheds icons day in,
/// day out.
const TYPING_AT_A_TIME: u64 = ORG_SESSIONS_MAX / 10;
/// Typists pause for about that long between words and for longer between thoughts.
const BLINK: Duration = Duration::from_secs(1);
/// The rate is held over a window of one second, so that is how long a turn may be in coming.
const RATE_WINDOW: Duration = Duration::from_secs(1);
/// An answer across the internet rarely takes less; a pool that needs faster ones is the bottleneck.
const ANSWER_USUAL: Duration = Duration::from_millis(50);
