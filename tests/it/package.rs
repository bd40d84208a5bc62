//! What the packages are made of: the Debian package's table, the container's recipe, the example for Kubernetes.

use std::path::{Path, PathBuf};

use toml::Value;

use crate::process::{run_with, typingd};
use crate::{https, key};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap()
}

fn manifest() -> Value {
    Value::Table(text("Cargo.toml").parse().unwrap())
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn the_debian_package_holds_exactly_what_is_shipped() {
    let manifest = manifest();
    let deb = &manifest["package"]["metadata"]["deb"];
    let assets = deb["assets"].as_array().unwrap().iter().map(|asset| {
        let field = |index: usize| asset[index].as_str().unwrap().to_owned();
        (field(0), field(1), field(2))
    });
    let assets: Vec<_> = assets.collect();
    let has = |source: &str| {
        assets.iter().any(|(name, ..)| {
            name == source || name.strip_suffix('*').is_some_and(|directory| source.starts_with(directory))
        })
    };
    let units = deb["systemd-units"]["unit-scripts"].as_str().unwrap();
    let scripts = deb["maintainer-scripts"].as_str().unwrap();
    for path in files(&root().join("systemd")) {
        let name = path.strip_prefix(root()).unwrap().to_str().unwrap();
        let taken = [".service", ".socket", ".sysusers"].iter().any(|kind| name.ends_with(kind));
        let unit = taken && name.starts_with(units);
        assert!(unit || name.starts_with(scripts) || has(name), "{name} is in no package");
    }
    for (source, destination, mode) in &assets {
        // What is generated is made by the script that builds the package.
        if !source.starts_with("target/") {
            let path = root().join(source.split('*').next().unwrap());
            assert!(path.exists(), "{source} is not there");
        }
        assert!(mode == "644" || (mode == "755" && destination == "usr/bin/"), "{destination}: {mode}");
    }
    // What an operator changes is no file of the package: no update asks about it.
    assert!(!assets.iter().any(|(_, destination, _)| destination.starts_with("etc/")), "{assets:?}");
    // The addresses stay open over an update.
    let kept = ["restart-after-upgrade", "stop-on-upgrade"].map(|key| deb["systemd-units"][key].as_bool());
    assert_eq!(kept, [Some(false); 2]);
    let (version, changes) = (manifest["package"]["version"].as_str().unwrap(), text("systemd/debian/changelog"));
    assert!(changes.starts_with(&format!("typingd ({version}-1) ")), "{changes}");
}

#[test]
fn the_container_builds_and_runs_without_privileges() {
    let recipe = text("systemd/container/Containerfile");
    let version = &manifest()["package"]["rust-version"];
    assert!(recipe.contains(&format!("\nARG RUST={}\n", version.as_str().unwrap())), "{version:?}");
    let user = recipe.lines().filter_map(|line| line.strip_prefix("USER ")).next_back().unwrap();
    assert!(user.split(':').all(|id| id.parse::<u32>().is_ok_and(|id| id > 0)), "{user}");
    // The words of its commands are typingd's.
    for line in recipe.lines().filter_map(|line| line.split_once("CMD [").map(|(_, words)| words)) {
        let words = line.trim_end_matches(']').replace("\"/usr/bin/typingd\", ", "").replace(['"', ','], "");
        let words: Vec<_> = words.split_whitespace().chain(["--help"]).collect();
        assert_eq!(run_with(typingd(&words), "").code, Some(0), "{words:?}");
    }
}

/// Checks the configuration that an example brings: the indented lines after `head`.
fn checked(example: &str, head: &str, indent: &str) {
    let lines = example.lines().skip_while(|line| line.trim() != head).skip(1);
    let block: Vec<_> = lines.take_while(|line| line.is_empty() || line.starts_with(indent)).collect();
    assert!(block.len() > 15, "{block:?}");
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("typingd.toml"), block.join("\n")).unwrap();
    std::fs::write(directory.path().join("typingd.pem"), key::private()).unwrap();
    std::fs::write(directory.path().join("ingest-token"), "s3cret").unwrap();
    std::fs::write(directory.path().join("store-password"), "s3cret").unwrap();
    std::fs::write(directory.path().join("store-ca.pem"), https::FarSide::start(&["h2"]).certificate).unwrap();
    let mut command = typingd(&["check"]);
    command.env("TYPINGD_CONFIG", directory.path().join("typingd.toml"));
    command.env("CREDENTIALS_DIRECTORY", directory.path());
    let said = run_with(command, "");
    assert_eq!(said.code, Some(0), "{said:?}");
}

#[test]
fn configurations_for_kubernetes_are_right() {
    for example in ["sidecar", "replicas"].map(|name| text(&format!("systemd/kubernetes/{name}.yaml"))) {
        assert!(
            example.contains("\n      enableServiceLinks: false\n"),
            "a service named typingd would set TYPINGD_PORT"
        );
        checked(&example, "typingd.toml: |", "    ");
    }
}

#[test]
fn the_compose_file_s_configuration_is_right() {
    let example = text("systemd/container/compose.yaml");
    // Compose puts a dollar sign where it reads two; one alone would be a variable of its own.
    assert!(!example.replace("$$", "").contains('$'), "a dollar sign that is not doubled");
    checked(&example.replace("$$", "$"), "content: |", "      ");
    // Whoever shares the socket is one user, and the grace is longer than the daemon's.
    assert_eq!(example.matches("user: \"65532:65532\"").count(), 2);
    assert!(example.contains("stop_grace_period: 15s") && example.contains("shutdown_grace = \"10s\""));
    assert_eq!(example.matches("typingd-socket:/run/typingd").count(), 2);
}

#[test]
fn a_release_builds_what_ci_tries() {
    let [ci, release] = ["ci", "release"].map(|name| text(&format!(".github/workflows/{name}.yml")));
    let run = text(".ci/run");
    assert!(ci.lines().any(|line| line.trim() == ".ci/run"), "{ci}");
    assert!(release.contains("uses: ./.github/workflows/ci.yml"), "{release}");
    for made in [".ci/package", "--file systemd/container/Containerfile", "target/release typingd", "SHA256SUMS"] {
        assert!(release.contains(made), "{made}");
    }
    let version = |text: &str| {
        let (_, rest) = text.split_once("cargo install cargo-deb --version ").expect("it installs cargo-deb");
        rest.split_whitespace().next().unwrap().to_owned()
    };
    assert_eq!(version(&release), version(&run), "the package is built with what was tried");
}
