//! The way to Salesforce: through a proxy, or to an address that no name service tells.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use typingd::base::clock;

use crate::bench::Daemon;
use crate::connector::{Connector, read_until};
use crate::far_side::FarSide as PlainFarSide;
use crate::https::{Came, FarSide, NAME};
use crate::key;
use crate::process::{Process, run_with, typingd, until};

/// A proxy that leads every tunnel to one place, and keeps what it was asked for.
struct TunnelProxy {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl TunnelProxy {
    /// `answer` is the status line to a CONNECT; one without 200 ends the connection, an empty one says nothing.
    fn start(target: SocketAddr, answer: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        std::thread::spawn(move || {
            for mut client in listener.incoming().map_while(Result::ok) {
                let log = Arc::clone(&log);
                std::thread::spawn(move || {
                    let Ok(head) = read_until(&mut client, b"\r\n\r\n") else { return };
                    log.lock().unwrap().push(String::from_utf8(head).unwrap());
                    if answer.is_empty() {
                        let _ = client.read(&mut [0]);
                        return;
                    }
                    let _ = client.write_all(format!("HTTP/1.1 {answer}\r\n\r\n").as_bytes());
                    if !answer.starts_with("200") {
                        return;
                    }
                    let server = TcpStream::connect(target).unwrap();
                    let back = (server.try_clone().unwrap(), client.try_clone().unwrap());
                    for (mut from, mut to) in [(client, server), back] {
                        std::thread::spawn(move || {
                            let _ = std::io::copy(&mut from, &mut to);
                            let _ = to.shutdown(std::net::Shutdown::Both);
                        });
                    }
                });
            }
        });
        Self { address, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn daemon(far_side: &FarSide, settings: &str) -> Daemon {
    let auth = format!("drop_in.enabled = true\nupstream.ca_file = 'root.pem'\n{settings}");
    Daemon::start_with(&format!("https://{NAME}"), &auth, "", |directory| {
        std::fs::write(directory.path().join("root.pem"), &far_side.certificate).unwrap();
    })
}

/// A message passes, and typingd's own request arrives; all of them with the name of `base_url`.
fn assert_delivers(daemon: &Daemon, far_side: &FarSide) {
    let connector = Connector::new(&daemon.address, "t");
    let before = far_side.came().len();
    assert_eq!(connector.message("u").status, 202);
    assert_eq!(connector.started("v").status, 202);
    until("typingd's own request", || far_side.came()[before..].iter().any(Came::is_own));
    for came in &far_side.came()[before..] {
        assert_eq!(came.authority.as_deref(), Some(NAME), "{came:?}");
        assert!(came.headers.get("proxy-authorization").is_none(), "{came:?}");
    }
}

#[test]
fn connect_to_replaces_the_address_and_keeps_the_name() {
    for protocols in [&["h2", "http/1.1"][..], &[]] {
        let far_side = FarSide::start(protocols);
        let mut daemon = daemon(&far_side, &format!("upstream.connect_to = '{}'", far_side.address));
        assert_delivers(&daemon, &far_side);
        // Another address holds from the next request on.
        let elsewhere = FarSide::start(protocols);
        std::fs::write(daemon.file("root.pem"), &elsewhere.certificate).unwrap();
        daemon.reconfigure(|text| text.replace(&far_side.address.to_string(), &elsewhere.address.to_string()));
        daemon.process.until_logged("configuration: upstream.connect_to: ");
        let before = far_side.came().len();
        assert_delivers(&daemon, &elsewhere);
        assert_eq!(far_side.came().len(), before);
    }
}

#[test]
fn a_proxy_gives_tunnels_and_its_password_stays_secret() {
    let far_side = FarSide::start(&["http/1.1"]);
    let proxy = TunnelProxy::start(far_side.address, "200 Connection established");
    let setting = format!("upstream.proxy = 'http://user:s3cret@{}'\nlog.level = 'trace'", proxy.address);
    let mut daemon = daemon(&far_side, &setting);
    assert_delivers(&daemon, &far_side);
    let asked = proxy.asked();
    assert!(asked.len() >= 2, "the connector's requests and typingd's own: {asked:?}");
    for head in asked {
        let expected = format!("CONNECT {NAME}:443 HTTP/1.1\r\n");
        assert!(head.starts_with(&expected), "{head}");
        assert!(head.to_ascii_lowercase().contains("proxy-authorization: basic dxnlcjpzm2nyzxq=\r\n"), "{head}");
    }
    daemon.process.stop();
    assert!(!daemon.process.log().contains("s3cret"), "{}", daemon.process.log());
}

#[test]
fn a_proxy_that_lets_nobody_through_is_named_in_the_answer() {
    let far_side = FarSide::start(&[]);
    for (answer, words) in [
        ("407 Proxy Authentication Required", "proxy authorization required"),
        ("403 Forbidden", "unsuccessful"),
        ("", "timed out"),
    ] {
        let proxy = TunnelProxy::start(far_side.address, answer);
        let setting =
            format!("upstream.proxy = 'http://user:s3cret@{}'\nupstream.request_timeout = '700ms'", proxy.address);
        let daemon = daemon(&far_side, &setting);
        let watch = clock::stopwatch();
        let told = Connector::new(&daemon.address, "t").message("u");
        assert!(watch.elapsed() < Duration::from_secs(10), "{:?}", watch.elapsed());
        assert_eq!(told.status, 502, "{told:?}");
        let problem = told.problem();
        let place = format!("no tunnel through upstream.proxy http://…@{}: ", proxy.address);
        assert!(problem.contains(&place) && problem.contains(words) && !problem.contains("s3cret"), "{problem}");
    }
    assert!(far_side.came().is_empty());
}

#[test]
fn proxies_of_the_environment_are_not_used_and_that_is_said() {
    let upstream =
        PlainFarSide::start(|_, stream| stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").is_ok());
    let trap = TunnelProxy::start("127.0.0.1:9".parse().unwrap(), "200 OK");
    let trap_url = format!("http://user:s3cret@{}", trap.address);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("typingd.toml");
    let start = |text: String| {
        std::fs::write(&file, text).unwrap();
        let command = |name| {
            let mut command = typingd(&[name, "--config", file.to_str().unwrap()]);
            for name in ["HTTPS_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
                command.env(name, &trap_url);
            }
            command
        };
        let said = run_with(command("check"), "");
        assert_eq!(said.code, Some(0), "{said:?}");
        let mut run = command("run");
        run.args(["--listen", "127.0.0.1:0"]);
        (said, Process::start(run))
    };
    // One for this machine alone.
    let own =
        format!("upstream.proxy = '{trap_url}'\nupstream.base_url = '{}'\ndrop_in.enabled = true\n", upstream.url());
    let (said, mut process) = start(own);
    let unused = format!("proxy http://…@{} is not used for {}", trap.address, upstream.url());
    assert!(said.stderr.contains(&unused) && !(said.stdout + &said.stderr).contains("s3cret"));
    let address = process.address();
    assert_eq!(address.get("/api/v1/x").status, 200);
    process.stop();
    assert_eq!(process.log().matches(&unused).count(), 1, "{}", process.log());

    // One of the environment.
    let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(directory.path().join("root.pem"), key.cert.pem()).unwrap();
    let far = "upstream.base_url = 'https://scrt.invalid'\nupstream.ca_file = 'root.pem'\ndrop_in.enabled = true\n";
    let (said, mut process) = start(far.to_owned());
    let unused = "HTTPS_PROXY is set in the environment, and not used";
    assert_eq!(said.stderr.matches(unused).count(), 1, "{said:?}");
    let address = process.address();
    assert_eq!(address.get("/api/v1/x").status, 502);
    process.stop();
    assert_eq!(process.log().matches(unused).count(), 1, "{}", process.log());
    assert!(!process.log().contains("s3cret"), "{}", process.log());
    assert_eq!(trap.asked(), Vec::<String>::new());
}

#[test]
fn what_is_on_the_way_is_blamed_with_its_place() {
    let far_side = FarSide::start(&[]);
    let proxy = TunnelProxy::start(far_side.address, "407 Proxy Authentication Required");
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    write("token", "t0ken");
    write("key.pem", &key::private());
    write("root.pem", &rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap().cert.pem());
    let file = directory.path().join("typingd.toml").display().to_string();
    let token = "upstream.auth.token_file = 'token'";
    let jwt = "upstream.auth.jwt_bearer = { token_url = 'https://login.invalid/services/oauth2/token', \
               consumer_key = 'k', subject = 's', audience = 'https://login.salesforce.com', private_key_file = 'key.pem' }";
    let base = format!("https://{NAME}");
    for (way, auth, blamed) in [
        (
            format!("proxy = 'http://user:s3cret@{}'", proxy.address),
            token,
            vec![format!("{file}:5: upstream.proxy http://…@{} makes no tunnel: ", proxy.address)],
        ),
        (
            "proxy = 'http://127.0.0.1:1'".to_owned(),
            jwt,
            vec![
                format!("typingd: {file}:5: upstream.proxy http://127.0.0.1:1 can't be reached: "),
                format!("there is no token: {file}:5: upstream.proxy http://127.0.0.1:1 can't be reached: "),
            ],
        ),
        (
            "connect_to = '127.0.0.1:1'".to_owned(),
            jwt,
            vec![
                format!("{file}:5: upstream.connect_to 127.0.0.1:1 can't be reached: "),
                format!("{file}:4: upstream.auth.jwt_bearer.token_url https://login.invalid/"),
            ],
        ),
        (
            format!("connect_to = '{}'", far_side.address),
            token,
            vec![format!(
                "{file}:1: upstream.base_url {base}, at upstream.connect_to ({file}:5) {}: ",
                far_side.address
            )],
        ),
    ] {
        write(
            "typingd.toml",
            &format!(
                "upstream.base_url = '{base}'\nupstream.org_id = '00DXX0000000001'\n\
                 upstream.authorization_context = 'A_B'\n{auth}\nupstream.{way}\nupstream.ca_file = 'root.pem'\n"
            ),
        );
        let online = run_with(typingd(&["check", "--online", "--config", &file]), "");
        assert_eq!(online.code, Some(1), "{online:?}");
        for words in &blamed {
            assert!(online.stderr.contains(words) && !online.stderr.contains("s3cret"), "{words}: {online:?}");
        }
        assert_eq!(online.stderr.matches("upstream.base_url").count(), blamed[0].matches("base_url").count());
        if auth == token {
            let probe = run_with(typingd(&["probe", "--config", &file, "--to", "c", "--from", "u"]), "");
            assert!(probe.code == Some(1) && probe.stdout.contains(&blamed[0]), "{blamed:?}: {probe:?}");
        }
        let mut process = Process::start(typingd(&["run", "--config", &file, "--listen", "127.0.0.1:0"]));
        let address = process.address();
        process.until_logged(&format!("not ready: {}", blamed[0].trim_start_matches("typingd: ")));
        // Of several reasons it names one.
        let reason = |ready: &str| blamed.iter().any(|why| ready.contains(why.rsplit("typingd: ").next().unwrap()));
        until("the reason", || {
            let ready = address.get("/readyz");
            ready.status == 503 && reason(&ready.problem())
        });
        process.stop();
    }
    assert!(far_side.came().is_empty());
}
