//! The commands of the guide, run as a reader copies them.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::process::{Process, exists, until};

/// The codes of a page, in their order.
fn codes(page: &str) -> Vec<String> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(page)).unwrap();
    let codes = text.split("```sh\n").skip(1);
    codes.map(|rest| rest.split_once("\n```").unwrap().0.to_owned()).collect()
}

/// A directory with the binary in it, and free ports in the place of those that the guide names.
struct Reader {
    directory: TempDir,
    ports: Vec<(&'static str, u16)>,
}

impl Reader {
    /// `None` where the guide's commands are not all installed.
    fn new() -> Option<Self> {
        if !exists("redis-server") || !exists("curl") || !exists("bash") {
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_typingd"), directory.path().join("typingd")).unwrap();
        let named = ["7399", "7480", "7580", "7490"];
        let free = named.map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
        let ports = free.iter().map(|listener| listener.local_addr().unwrap().port());
        Some(Self { directory, ports: named.into_iter().zip(ports).collect() })
    }

    fn bash(&self, text: &str) -> Command {
        let place = |text: String, (named, port): &(&str, u16)| text.replace(named, &port.to_string());
        let text = self.ports.iter().fold(text.to_owned(), place);
        let path = format!("{}:{}", self.directory.path().display(), std::env::var("PATH").unwrap());
        let mut command = Command::new("bash");
        // One command alone takes the shell's place.
        command.args(["-c", &text]).env_clear().env("PATH", path).current_dir(self.directory.path());
        command
    }

    fn start(&self, line: &str) -> Process {
        Process::start(self.bash(line))
    }

    fn said(&self, text: &str) -> String {
        String::from_utf8(self.bash(text).output().unwrap().stdout).unwrap()
    }

    /// Gives the keys, and kills the owner: which is asserted to be one, and the other to let no icon stay on.
    fn types(&self, nodes: &mut [Process], keys: &str) {
        for typingd in &mut *nodes {
            typingd.until_logged("the store answers");
        }
        let said = self.said(keys);
        let owned = |count: u32| format!("2 typingd, {count} conversations are this one's");
        assert_eq!((said.matches(&owned(1)).count(), said.matches(&owned(0)).count()), (1, 1), "{said}");
        // One of them shows the icon, and perhaps more by now; the other sends nothing.
        assert_eq!(said.matches("deliveries     0 delivered").count(), 1, "{said}");
        let posted = |count: u32| said.matches(&format!("{count} signals posted to other typingd")).count();
        assert_eq!((posted(3), posted(0)), (1, 1), "{said}");
        let owner = usize::from(said.find(&owned(1)) > said.find(&owned(0)));
        nodes[owner].kill();
        let other = ["7580", "7480"][owner];
        until("the other has taken over", || {
            self.said(&format!("typingd status --url http://127.0.0.1:{other}")).contains("1 typingd, ")
        });
    }
}

#[test]
fn three_commands_of_the_guide_make_two_typingd_one() {
    let Some(reader) = Reader::new() else { return };
    let [start, keys, ..] = &codes("docs/scale-out.md")[..] else { panic!("two blocks") };
    let starts: Vec<_> = start.lines().collect();
    assert_eq!(starts.len(), 3, "{start}");
    let mut started: Vec<_> = starts.iter().map(|line| reader.start(line)).collect();
    reader.types(&mut started[1..], keys);
}

#[test]
fn two_configurations_of_the_guide_share_an_upstream() {
    let Some(reader) = Reader::new() else { return };
    let [start, keys, write, restart, ..] = &codes("docs/scale-out.md")[..] else { panic!("four blocks") };
    let _redis = reader.start(start.lines().next().unwrap());
    assert!(reader.bash(write).output().unwrap().status.success());
    let mut started: Vec<_> = restart.lines().map(|line| reader.start(line)).collect();
    assert_eq!(started.len(), 3, "{restart}");
    reader.types(&mut started[1..], keys);
    until("the icon has come and gone", || {
        let icons = reader.said("curl -sS http://127.0.0.1:7490/icons");
        icons.contains("ann") && icons.contains("\"shown\":0")
    });
}
