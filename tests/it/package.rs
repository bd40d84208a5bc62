//! What the packages are made of: the container's recipe, the example for Kubernetes.

use std::path::Path;

use toml::Value;

use crate::key;
use crate::process::{run_with, typingd};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap()
}

fn manifest() -> Value {
    Value::Table(text("Cargo.toml").parse().unwrap())
}

#[test]
fn the_container_is_built_by_a_compiler_that_will_do_and_runs_as_nobody_in_particular() {
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

#[test]
fn the_sidecar_s_configuration_is_right() {
    let example = text("systemd/kubernetes/sidecar.yaml");
    let mut lines = example.lines().skip_while(|line| line.trim() != "typingd.toml: |").skip(1);
    let block: Vec<_> = lines.by_ref().take_while(|line| line.is_empty() || line.starts_with("    ")).collect();
    assert!(block.len() > 15, "{block:?}");
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("typingd.toml"), block.join("\n")).unwrap();
    std::fs::write(directory.path().join("typingd.pem"), key::private()).unwrap();
    std::fs::write(directory.path().join("ingest-token"), "s3cret").unwrap();
    let mut command = typingd(&["check"]);
    command.env("TYPINGD_CONFIG", directory.path().join("typingd.toml"));
    command.env("CREDENTIALS_DIRECTORY", directory.path());
    let said = run_with(command, "");
    assert_eq!(said.code, Some(0), "{said:?}");
}
