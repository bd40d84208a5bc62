//! The commands of the guide, run as a reader copies them.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use crate::process::{Process, exists, until};

/// The codes of a page, in their order.
fn codes(page: &str) -> Vec<String> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(page)).unwrap();
    let codes = text.split("```sh\n").skip(1);
    codes.map(|rest| rest.split_once("\n```").unwrap().0.to_owned()).collect()
}

#[test]
fn three_commands_of_the_guide_make_two_typingd_one() {
    if !exists("redis-server") || !exists("curl") || !exists("bash") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_typingd"), directory.path().join("typingd")).unwrap();
    let path = format!("{}:{}", directory.path().display(), std::env::var("PATH").unwrap());
    // Ports that the guide names, and free ones.
    let free: Vec<_> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let ports = free.iter().map(|listener| listener.local_addr().unwrap().port());
    let ports: Vec<_> = ["7399", "7480", "7580"].into_iter().zip(ports).collect();
    drop(free);
    let bash = |text: &str| {
        let text = ports.iter().fold(text.to_owned(), |text, (named, port)| text.replace(named, &port.to_string()));
        let mut command = Command::new("bash");
        // One command alone takes the shell's place.
        command.args(["-c", &text]).env_clear().env("PATH", &path).current_dir(directory.path());
        command
    };
    let [start, keys, ..] = &codes("docs/scale-out.md")[..] else { panic!("two blocks") };
    let starts: Vec<_> = start.lines().collect();
    assert_eq!(starts.len(), 3, "{start}");
    let mut started: Vec<_> = starts.iter().map(|line| Process::start(bash(line))).collect();
    for typingd in &mut started[1..] {
        typingd.until_logged("the store answers");
    }
    let said = bash(keys).output().unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    let owned = |count: u32| format!("2 typingd, {count} conversations are this one's");
    assert_eq!((said.matches(&owned(1)).count(), said.matches(&owned(0)).count()), (1, 1), "{said}");
    // The icon, and perhaps its end by now; the other sends nothing.
    let delivered = |count: u32| said.matches(&format!("deliveries     {count} delivered")).count();
    assert_eq!((delivered(1) + delivered(2), delivered(0)), (1, 1), "{said}");
    // The owner is killed, and the other lets no icon stay on.
    let owner = usize::from(said.find(&owned(1)) > said.find(&owned(0)));
    started[1 + owner].kill();
    let other = ports[2 - owner].1;
    until("the other has taken over", || {
        let status = bash(&format!("typingd status --url http://127.0.0.1:{other}")).output().unwrap();
        String::from_utf8(status.stdout).unwrap().contains("1 typingd, ")
    });
}
