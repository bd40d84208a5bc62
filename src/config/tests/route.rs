//! The way to Salesforce: a proxy, or the address that a host name is to have.

use super::*;

fn file(base_url: &str, lines: &str) -> File {
    File::new(UPSTREAM.replace("https://h", base_url) + lines)
}

#[test]
fn a_proxy_is_a_setting_and_its_password_is_not_shown() {
    let config = load(&file("https://h", "proxy = 'http://user:s3cret@proxy:3128'\n").overrides()).unwrap();
    let proxy = config.upstream.as_ref().unwrap().proxy.clone().unwrap();
    assert_eq!(proxy.expose(), "http://user:s3cret@proxy:3128/");
    let shown = config.effective();
    assert!(shown.contains("proxy = \"http://…@proxy:3128\"") && !shown.contains("s3cret"), "{shown}");
    let debug = format!("{config:?}");
    assert!(!debug.contains("s3cret"), "{debug}");
    let other = load(&file("https://h", "proxy = 'http://proxy:3129'\n").overrides()).unwrap();
    let changes: Vec<_> = config.changes(&other).iter().map(ToString::to_string).collect();
    assert_eq!(changes, ["upstream.proxy: \"http://…@proxy:3128\" -> \"http://proxy:3129\""]);

    for (base_url, address) in [
        ("https://h", "203.0.113.7:443"),
        ("https://h", "127.0.0.1:8443"),
        ("https://h:8443/base", "[2001:db8::7]:8443"),
        ("http://localhost", "127.0.0.1:8080"),
    ] {
        let config = load(&file(base_url, &format!("connect_to = '{address}'\n")).overrides()).unwrap();
        assert_eq!(config.upstream.as_ref().unwrap().connect_to, Some(address.parse().unwrap()));
        assert!(config.effective().contains(&format!("connect_to = \"{address}\"")), "{}", config.effective());
        assert_eq!(warnings(&config), Vec::<String>::new());
    }
}

#[test]
fn what_does_not_go_together_is_told_with_its_place() {
    for (base_url, lines, told) in [
        (
            "https://h",
            "proxy = 'socks5://user:s3cret@proxy'",
            "F:6: upstream.proxy = (not shown): expected the address of an HTTP proxy, such as http://proxy:3128",
        ),
        (
            "https://h",
            "proxy = 'proxy:3128'",
            "F:6: upstream.proxy = \"proxy:3128\": expected the address of an HTTP proxy, such as http://proxy:3128",
        ),
        (
            "https://h",
            "connect_to = 'real.example:443'",
            "F:6: upstream.connect_to = \"real.example:443\": expected an IP address with a port: 203.0.113.7:443 or [2001:db8::7]:443",
        ),
        (
            "https://h",
            "connect_to = '0.0.0.0:443'",
            "F:6: upstream.connect_to = \"0.0.0.0:443\": expected an IP address with a port: 203.0.113.7:443 or [2001:db8::7]:443",
        ),
        (
            "https://h",
            "connect_to = '203.0.113.7:443'\nproxy = 'http://p:1'",
            "F:6: upstream.connect_to = \"203.0.113.7:443\": upstream.proxy (F:7) finds the host by itself; expected one of the two",
        ),
        (
            "https://192.0.2.1",
            "connect_to = '203.0.113.7:443'",
            "F:6: upstream.connect_to = \"203.0.113.7:443\": upstream.base_url, https://192.0.2.1, is an address already; expected a host's name there",
        ),
        (
            "https://h:8443",
            "connect_to = '203.0.113.7:443'",
            "F:6: upstream.connect_to = \"203.0.113.7:443\": upstream.base_url, https://h:8443, has another port; expected the same, or none there",
        ),
        (
            "http://localhost",
            "connect_to = '203.0.113.7:80'",
            "F:6: upstream.connect_to = \"203.0.113.7:80\": upstream.base_url, http://localhost, is plain http; expected a loopback address, or https",
        ),
        (
            "https://h",
            "connect_to = '127.0.0.1:7480'\n[drop_in]\nenabled = true",
            "F:6: upstream.connect_to = \"127.0.0.1:7480\": typingd listens there itself, and would pass requests on to itself; expected the address of the Interaction Service",
        ),
    ] {
        let file = file(base_url, lines);
        assert_eq!(file.told(&file.overrides()), [told], "{base_url} {lines}");
    }
}

#[test]
fn a_proxy_that_is_not_used_is_pointed_out() {
    let jwt = "jwt_bearer={token_url='https://login.example/t',consumer_key='k',subject='s',audience='https://login.salesforce.com',private_key_file='/k'}";
    let told = |base_url: &str, lines: &str, variables: &[(&str, &str)]| {
        let file = file(base_url, lines);
        let mut overrides = file.overrides();
        overrides.environment.extend(variables.iter().map(|(name, value)| environment(name, value)));
        warnings(&load(&overrides).unwrap())
    };
    let none = Vec::<String>::new();
    assert_eq!(told("https://h", "proxy = 'http://p:1'", &[("HTTPS_PROXY", "http://x")]), none);
    let unused = "upstream.proxy http://…@p:1 is not used for https://localhost:8443: addresses of this machine are reached directly";
    let found = told("https://localhost:8443", "proxy = 'http://u:s3cret@p:1'", &[]);
    assert!(found.len() == 1 && found[0].ends_with(&format!("F:6: {unused}")), "{found:?}");
    for variable in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        let found = told("https://h", "", &[("HTTP_PROXY", "http://y"), (variable, "http://u:s3cret@x:1")]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with(&format!("upstream: {variable} is set in the environment, and not used; ")));
        assert!(!found[0].contains("s3cret"), "{found:?}");
    }
    // Nothing that a proxy is for, or no proxy.
    assert_eq!(told("http://127.0.0.1:1", "", &[("HTTPS_PROXY", "http://x")]), none);
    assert_eq!(told("https://h", "", &[("HTTPS_PROXY", ""), ("NO_PROXY", "*"), ("HTTP_PROXY", "http://x")]), none);
    // The token's endpoint counts, too.
    let file = File::new(
        UPSTREAM.replace("https://h", "http://127.0.0.1:1").replace("auth.token_file='/t'", &format!("auth.{jwt}")),
    );
    let mut overrides = file.overrides();
    overrides.environment.push(environment("https_proxy", "http://x"));
    assert_eq!(warnings(&load(&overrides).unwrap()).len(), 1);
    overrides.sandbox = true;
    assert_eq!(warnings(&load(&overrides).unwrap()), none);
}

#[test]
fn an_address_that_can_not_be_right_is_refused_or_warned_of() {
    for (base_url, told) in [
        (
            "https://https://h",
            "F:2: upstream.base_url = \"https://https://h\": expected \"https://\" once, at its beginning",
        ),
        (
            "https://h/api/v1/interactions",
            "F:2: upstream.base_url = \"https://h/api/v1/interactions\": expected it without /api/v1 and what follows, which \
             typingd adds: https://h",
        ),
        (
            "https://h/x/api",
            "F:2: upstream.base_url = \"https://h/x/api\": expected it without /api and what follows, which typingd adds: \
             https://h/x",
        ),
        (
            "https://h/API/v2",
            "F:2: upstream.base_url = \"https://h/API/v2\": expected it without /API/v2 and what follows, which typingd adds: \
             https://h",
        ),
        ("https:/h", "F:2: upstream.base_url = \"https:/h\": expected \"https://\" once, at its beginning"),
        ("https://h//x", "F:2: upstream.base_url = \"https://h//x\": expected a path without an empty part, //"),
        (
            "https://h.example.:8443",
            "F:2: upstream.base_url = \"https://h.example.:8443\": expected the host's name without the dot at its end",
        ),
    ] {
        let file = file(base_url, "");
        assert_eq!(file.told(&file.overrides()), [told]);
    }
    for (host, what, right) in [
        ("mydomain.my.salesforce.com", "own address", "mydomain.my.salesforce-scrt.com"),
        ("mydomain.my.salesforce.com:8443", "own address", "mydomain.my.salesforce-scrt.com:8443"),
        ("mydomain.lightning.force.com", "own address", "mydomain.my.salesforce-scrt.com"),
        ("mydomain--uat.sandbox.my.salesforce.com", "own address", "mydomain--uat.sandbox.my.salesforce-scrt.com"),
        ("mydomain.my.site.com", "sites", "mydomain.my.salesforce-scrt.com"),
        ("mydomain--c.vf.force.com", "Visualforce pages", "mydomain.my.salesforce-scrt.com"),
        ("mydomain--uat--c.sandbox.vf.force.com", "Visualforce", "mydomain--uat.sandbox.my.salesforce-scrt.com"),
        ("na1.salesforce.com", "another service", "<MyDomain>.my.salesforce-scrt.com"),
        ("mydomain.file.force.com", "another service", "<MyDomain>.my.salesforce-scrt.com"),
        ("login.salesforce.com", "where tokens come from", "<MyDomain>.my.salesforce-scrt.com"),
        ("test.salesforce.com", "where tokens come from", "<MyDomain>.my.salesforce-scrt.com"),
    ] {
        let warned = warnings(&load(&file(&format!("https://{host}"), "").overrides()).unwrap());
        let (key, none) = ("upstream.base_url", "there is no Interaction Service there");
        let place = warned[0].find(&format!("/F:2: {key} = \"https://{host}\": "));
        assert!(warned.len() == 1 && place.is_some() && warned[0].contains(what), "{warned:?}");
        assert!(warned[0].ends_with(&format!("{none}; expected https://{right}")), "{warned:?}");
    }
    let right = load(&file("https://mydomain.my.salesforce-scrt.com", "").overrides()).unwrap();
    assert_eq!(warnings(&right), Vec::<String>::new());
}

#[test]
fn an_audience_that_the_token_endpoint_refuses_is_warned_of() {
    let warned = |token_host: &str, audience: &str| {
        let path = if token_host.contains('/') { "" } else { "/services/oauth2/token" };
        let jwt = format!(
            "[upstream.auth.jwt_bearer]\ntoken_url = 'https://{token_host}{path}'\nconsumer_key = 'k'\n\
             subject = 's'\naudience = '{audience}'\nprivate_key_file = '/k'\n"
        );
        warnings(&load(&File::new(UPSTREAM.replace("auth.token_file='/t'\n", &jwt)).overrides()).unwrap())
    };
    let (login, test) = ("https://login.salesforce.com", "https://test.salesforce.com");
    for (token_host, audience) in [
        ("login.salesforce.com", login),
        ("test.salesforce.com", test),
        ("mydomain.my.salesforce.com", login),
        ("mydomain--uat.sandbox.my.salesforce.com", test),
        ("mydomain--uat.sandbox.my.salesforce.com", "https://mydomain--uat.sandbox.my.salesforce.com"),
        ("idp.example", login),
    ] {
        assert_eq!(warned(token_host, audience), Vec::<String>::new(), "{token_host} {audience}");
    }
    for (token_host, audience, words) in [
        ("test.salesforce.com", login, "expected https://test.salesforce.com"),
        ("login.salesforce.com", test, "expected https://login.salesforce.com"),
        ("mydomain--uat.sandbox.my.salesforce.com", login, "expected https://test.salesforce.com"),
        ("login.salesforce.com", "login.salesforce.com", "is no https address; expected https://login.salesforce.com"),
        ("login.salesforce.com", "http://login.salesforce.com", "is no https address"),
        (
            "login.salesforce.com",
            "https://login.salesforce.com/services/oauth2/token",
            "/F:9: upstream.auth.jwt_bearer.audience = \"https://login.salesforce.com/services/oauth2/token\": an audience \
             has no path; expected https://login.salesforce.com",
        ),
        (
            "login.salesforce.com:8443/",
            login,
            "/F:6: upstream.auth.jwt_bearer.token_url = \"https://login.salesforce.com:8443\": no tokens come from this path; \
             expected https://login.salesforce.com:8443/services/oauth2/token",
        ),
    ] {
        let warned = warned(token_host, audience);
        assert!(warned.len() == 1 && warned[0].contains(words), "{token_host} {audience}: {warned:?}");
    }
}

#[test]
fn addresses_of_other_services_are_warned_of_beside_errors() {
    let text = "[upstream]\nbase_url = 'https://d.salesforce-scrt.com'\norg_id = 'x'\n[upstream.auth.jwt_bearer]\n\
                token_url = 'https://d--uat.sandbox.lightning.force.com/services/oauth2/token'\n\
                [timing]\ndismiss_after = '900ms'\n[ingest]\nlisten = ['0.0.0.0:1']\n";
    let draft = |text: &str| Draft::read(&File::new(text).overrides());
    let told = draft(text).warnings();
    assert_eq!(told.len(), 3, "{told:#?}");
    assert!(told[0].starts_with("timing: the icon will blink"), "{told:?}");
    assert!(told[1].contains(":2: upstream.base_url = ") && told[1].ends_with("https://d.my.salesforce-scrt.com"));
    let endpoint = "https://d--uat.sandbox.my.salesforce.com/services/oauth2/token, or https://login.";
    assert!(told[2].contains(":5: upstream.auth.jwt_bearer.token_url = ") && told[2].contains(endpoint), "{told:?}");
    let service = text.replace("d--uat.sandbox.lightning.force.com", "d.my.salesforce-scrt.com");
    assert!(draft(&service).warnings()[2].contains("expected https://d.my.salesforce.com/services/oauth2/token"));
    // What a wrong value was meant to be is not known.
    let wrong = text.replace("[ingest]", "check_interval = 5\n[ingest]");
    assert_eq!(draft(&wrong).warnings(), told[1..]);
    assert_eq!(draft("[timing").warnings(), Vec::<String>::new());
}
