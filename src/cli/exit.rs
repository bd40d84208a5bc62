//! What the commands share with their surroundings: exit codes, environment variables, files and signals. The manual pages
//! are made of these tables, and the manual is held against them.

/// Done, and asked to do nothing wrong, and yet it failed.
pub(super) const FAILED: u8 = 1;
/// The command line can't be understood.
pub(super) const WRONG_USAGE: u8 = 2;
/// Nothing that was measured keeps the limits.
pub(super) const NONE_FITS: u8 = 3;
/// Another typingd holds the state directory (EX_CANTCREAT of sysexits.h).
pub(super) const HELD: u8 = 73;
/// The configuration is wrong (EX_CONFIG of sysexits.h).
pub(super) const MISCONFIGURED: u8 = 78;

/// Each exit code, and what it means.
pub(super) const EXIT_CODES: [(u8, &str); 6] = [
    (0, "Done."),
    (FAILED, "Failed; one line on the standard error says why."),
    (WRONG_USAGE, "Wrong usage."),
    (NONE_FITS, "tune found no setting within the limits, or the traces decide nothing."),
    (HELD, "Another typingd holds delivery.state_dir."),
    (MISCONFIGURED, "Wrong configuration: every problem is told, each on a line of its own."),
];

/// Each environment variable, and what it does.
pub(super) const VARIABLES: [(&str, &str); 9] = [
    ("TYPINGD_CONFIG", "The configuration, unless --config names it."),
    ("TYPINGD_<TABLE>__<KEY>", "Overrides a key of the file: TYPINGD_TIMING__CHECK_INTERVAL=10s."),
    ("TYPINGD_URL", "The daemon that is called, unless --url names it."),
    ("TYPINGD_TOKEN_FILE", "The token that a daemon is shown, unless --token-file names it."),
    ("CREDENTIALS_DIRECTORY", "Stands for ${CREDENTIALS_DIRECTORY} in paths of the configuration; systemd sets it."),
    ("NOTIFY_SOCKET", "The service manager that is told how the daemon does; systemd sets it."),
    ("WATCHDOG_USEC", "Within how long it is told that the loop goes round; systemd sets it."),
    (
        "JOURNAL_STREAM",
        "Set by systemd: tells whether the standard error is the journal, whose lines carry priorities.",
    ),
    ("NO_COLOR", "Unless it is empty: no colours in the log and in tap."),
];

/// Files and directories that the commands know by themselves.
pub(super) const FILES: [(&str, &str); 1] =
    [("/etc/typingd/typingd.toml", "The configuration, unless --config or TYPINGD_CONFIG names another.")];

/// What the daemon does on a signal.
pub(super) const SIGNALS: [(&str, &str); 2] = [
    (
        "SIGTERM, SIGINT",
        "Every icon is switched off and every caller answered within delivery.shutdown_grace, and it ends; messages go on \
         passing through the drop-in for drop_in.drain. A second one ends it at once.",
    ),
    ("SIGHUP", "The configuration is read again. A wrong one changes nothing, and the log says why."),
];
