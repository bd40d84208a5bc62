//! `typingd man`: manual pages, from clap's commands, the table of keys, and the tables of exit codes and variables.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::CommandFactory;
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

use super::exit::{EXIT_CODES, FILES, SIGNALS, VARIABLES};
use super::{Cli, Failure};
use crate::base::build_info;
use crate::config::keys::{Absent, KEYS, Key};

#[derive(Debug, clap::Args)]
pub(super) struct ManArgs {
    /// The page of this command, or typingd.toml for the configuration [default: typingd itself]
    #[arg(value_name = "COMMAND", conflicts_with = "dir")]
    page: Option<String>,
    /// Write all pages to this directory, one file each, and print their paths
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// One page.
struct Page {
    name: String,
    section: &'static str,
    text: Vec<u8>,
}

pub(super) fn run(args: &ManArgs) -> Result<(), Failure> {
    let pages = pages()?;
    let mut stdout = io::stdout().lock();
    match (&args.dir, &args.page) {
        (Some(dir), _) => {
            let failed = |path: &PathBuf, e| format!("{}: can't be written: {e}", path.display());
            fs::create_dir_all(dir).map_err(|e| failed(dir, e))?;
            for page in &pages {
                let path = dir.join(format!("{}.{}", page.name, page.section));
                fs::write(&path, &page.text).map_err(|e| failed(&path, e))?;
                writeln!(stdout, "{}", path.display())?;
            }
        }
        (None, wanted) => {
            let wanted = wanted.as_deref().unwrap_or(PROGRAM);
            let of_command = |page: &&Page| page.name == wanted || page.name == format!("{PROGRAM}-{wanted}");
            let Some(page) = pages.iter().find(of_command) else {
                let names: Vec<_> = pages.iter().map(|page| page.name.trim_start_matches("typingd-")).collect();
                let what = format!("there is no page `{}`; there are {}", wanted.escape_debug(), names.join(", "));
                return Err(Failure::usage(vec![what]));
            };
            stdout.write_all(&page.text)?;
        }
    }
    stdout.flush()?;
    Ok(())
}

fn pages() -> io::Result<Vec<Page>> {
    let mut program = Cli::command().disable_help_subcommand(true);
    program.build();
    let mut pages = vec![of_program(&program)?];
    for command in program.get_subcommands().filter(|command| !command.is_hide_set()) {
        pages.push(of_command(command)?);
    }
    pages.push(of_configuration()?);
    Ok(pages)
}

fn of_program(program: &clap::Command) -> io::Result<Page> {
    let man = man(program.clone());
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    let mut roff = Roff::new();
    section(&mut roff, "DESCRIPTION");
    paragraphs(&mut roff, &DESCRIPTION);
    roff.to_writer(&mut text)?;
    man.render_options_section(&mut text)?;
    man.render_subcommands_section(&mut text)?;
    let mut roff = Roff::new();
    exit_status(&mut roff);
    section(&mut roff, "ENVIRONMENT");
    roff_table(&mut roff, &VARIABLES);
    section(&mut roff, "FILES");
    roff_table(&mut roff, &FILES);
    section(&mut roff, "SIGNALS");
    roff_table(&mut roff, &SIGNALS);
    section(&mut roff, "EXAMPLES");
    for (what, line) in EXAMPLES {
        roff.control("TP", []).text([roman(what)]).text([bold(line)]);
    }
    let commands = program.get_subcommands().filter(|command| !command.is_hide_set());
    let commands = commands.map(|command| (format!("{PROGRAM}-{}", command.get_name()), "1"));
    see_also(&mut roff, commands.chain([(CONFIGURATION.to_owned(), "5")]));
    roff.to_writer(&mut text)?;
    Ok(Page { name: PROGRAM.to_owned(), section: "1", text })
}

fn of_command(command: &clap::Command) -> io::Result<Page> {
    let name = format!("{PROGRAM}-{}", command.get_name());
    let man = man(command.clone());
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    let mut roff = Roff::new();
    exit_status(&mut roff);
    see_also(&mut roff, [(PROGRAM.to_owned(), "1"), (CONFIGURATION.to_owned(), "5")]);
    roff.to_writer(&mut text)?;
    Ok(Page { name, section: "1", text })
}

fn of_configuration() -> io::Result<Page> {
    let source = source();
    let mut roff = Roff::new();
    roff.control("TH", [CONFIGURATION, "5", "", source.as_str(), MANUAL]);
    section(&mut roff, "NAME");
    roff.text([roman("typingd.toml - the configuration of typingd")]);
    section(&mut roff, "DESCRIPTION");
    paragraphs(&mut roff, &CONFIGURATION_TEXT);
    section(&mut roff, "KEYS");
    let mut table = "";
    for key in KEYS.iter().filter(|key| key.lacks.is_none()) {
        if key.table() != table {
            table = key.table();
            roff.control("SS", [format!("[{table}]").as_str()]);
        }
        describe(&mut roff, key);
    }
    roff.control("SS", [r#"[channels."<to>"]"#]);
    let own: Vec<_> = KEYS.iter().filter(|key| key.per_channel).map(Key::name).collect();
    roff.text([roman(format!("One channel, by its address. It may set {}, for that channel alone.", own.join(", ")))]);
    section(&mut roff, "FILES");
    roff_table(&mut roff, &FILES);
    see_also(
        &mut roff,
        [(PROGRAM.to_owned(), "1"), (format!("{PROGRAM}-check"), "1"), (format!("{PROGRAM}-schema"), "1")],
    );
    let mut text = Vec::new();
    roff.to_writer(&mut text)?;
    Ok(Page { name: CONFIGURATION.to_owned(), section: "5", text })
}

fn describe(roff: &mut Roff, key: &Key) {
    let absent = match key.absent {
        Absent::Default(value) => vec![roman(" Default: "), bold(value), roman(".")],
        Absent::Unset(meaning) => vec![roman(format!(" Not set: {meaning}."))],
        Absent::Required(example) => vec![roman(" For example "), bold(example), roman(".")],
    };
    let what: Vec<Inline> = [roman(key.doc)].into_iter().chain(absent).collect();
    roff.control("TP", []).text([bold(key.name())]).text(what);
}

fn man(command: clap::Command) -> Man {
    Man::new(command).source(source()).manual(MANUAL)
}

fn source() -> String {
    format!("{PROGRAM} {}", build_info::VERSION)
}

fn section(roff: &mut Roff, title: &str) {
    roff.control("SH", [title]);
}

fn paragraphs(roff: &mut Roff, texts: &[&str]) {
    for text in texts {
        roff.control("PP", []).text([roman(*text)]);
    }
}

fn roff_table<T: std::fmt::Display>(roff: &mut Roff, rows: &[(T, &str)]) {
    for (name, what) in rows {
        roff.control("TP", []).text([bold(name.to_string())]).text([roman(*what)]);
    }
}

fn exit_status(roff: &mut Roff) {
    section(roff, "EXIT STATUS");
    roff_table(roff, &EXIT_CODES);
}

fn see_also(roff: &mut Roff, pages: impl IntoIterator<Item = (String, &'static str)>) {
    section(roff, "SEE ALSO");
    let mut line = Vec::new();
    for (name, section) in pages {
        let gap = if line.is_empty() { "" } else { ", " };
        line.extend([roman(gap), italic(name), roman(format!("({section})"))]);
    }
    roff.text(line);
}

const PROGRAM: &str = "typingd";
const CONFIGURATION: &str = "typingd.toml";
const MANUAL: &str = "typingd manual";

const DESCRIPTION: [&str; 3] = [
    "typingd tells Salesforce when an end user is typing, in Bring Your Own Channel for Messaging. It runs beside a \
     connector: the connector reports keystrokes, and typingd sends the TypingStartedIndicator and TypingStoppedIndicator \
     requests to the Interaction Service. The agent's typing icon goes on at the first keystroke and off soon after the \
     user stops, even when requests fail, rate limits are hit, or the user disappears.",
    "Results go to standard output, everything else to standard error.",
    "Each command has a page of its own. Guides and the reference are in docs/ of the project, installed in \
     /usr/share/doc/typingd.",
];

const EXAMPLES: [(&str, &str); 3] = [
    ("The daemon, with a built-in stand-in for Salesforce:", "typingd run --sandbox"),
    ("Validate a configuration, and print the settings in force:", "typingd check --config typingd.toml"),
    ("What each setting costs and gives on recorded typing:", "typingd tune trace.ndjson"),
];

const CONFIGURATION_TEXT: [&str; 4] = [
    "A file of TOML. Every key has a default but those of [upstream], which name the org. An unknown key is an error; \
     typingd check reports all errors at once.",
    "Flags override environment variables, which override the file. A key's variable is its path in capitals, with two \
     underscores for each dot: TYPINGD_TIMING__CHECK_INTERVAL=10s. [channels] has no variables.",
    "Times have a unit (h, m, s, ms): \"1500ms\", \"1.5s\", \"1m30s\". Sizes have one too (B, KiB, MiB, GiB). Relative \
     paths are relative to the file's directory; ${CREDENTIALS_DIRECTORY} is understood in paths.",
    "Exactly one of upstream.auth.token_file and [upstream.auth.jwt_bearer] is needed, or none with \
     drop_in.borrow_credentials.",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_has_its_page_and_each_key_its_place() {
        let pages = pages().unwrap();
        let text = |name: &str| {
            let page = pages.iter().find(|page| page.name == name).unwrap();
            String::from_utf8(page.text.clone()).unwrap()
        };
        for command in Cli::command().get_subcommands() {
            let page = text(&format!("typingd-{}", command.get_name()));
            assert!(page.contains(".SH SYNOPSIS") && page.contains(".SH \"EXIT STATUS\""), "{page}");
        }
        let configuration = text(CONFIGURATION);
        for key in KEYS.iter().filter(|key| key.lacks.is_none()) {
            assert!(configuration.contains(&format!("\\fB{}\\fR", key.name())), "{}: {configuration}", key.path);
        }
    }
}
