//! What the commands share with their environment: exit codes, environment variables, files and signals. The manual pages
//! and the reference are generated from these tables.

/// One line on standard error says why.
pub(super) const FAILED: u8 = 1;
/// The command line can't be understood.
pub(super) const WRONG_USAGE: u8 = 2;
/// No measured setting keeps the limits.
pub(super) const NONE_FITS: u8 = 3;
/// Another typingd holds the state directory (EX_CANTCREAT of sysexits.h).
pub(super) const HELD: u8 = 73;
/// The configuration is wrong (EX_CONFIG of sysexits.h).
pub(super) const MISCONFIGURED: u8 = 78;

/// The exit codes and their meanings.
pub const EXIT_CODES: [(u8, &str); 6] = [
    (0, "Done."),
    (
        FAILED,
        "Failed; a line on standard error says why: a port in use, a broken trace, a daemon out of reach, rejected signals \
         in a replay, a recording that broke off, a rejected change of the timing, not ready in time, icons left on by a \
         shutdown, an unacknowledged probe.",
    ),
    (WRONG_USAGE, "Wrong usage."),
    (NONE_FITS, "tune found no setting within the limits, or the traces decide nothing."),
    (HELD, "Another typingd holds delivery.state_dir."),
    (MISCONFIGURED, "Wrong configuration: every problem is reported, one a line. Also one that a reload rejected."),
];

/// The environment variables and their meanings.
pub const VARIABLES: [(&str, &str); 9] = [
    ("TYPINGD_CONFIG", "The configuration file, unless --config names it."),
    ("TYPINGD_<TABLE>__<KEY>", "Overrides a key of the file: TYPINGD_TIMING__CHECK_INTERVAL=10s."),
    ("TYPINGD_URL", "The daemon to call, unless --url names it."),
    ("TYPINGD_TOKEN_FILE", "The file with the token to show to the daemon, unless --token-file names it."),
    ("CREDENTIALS_DIRECTORY", "Replaces ${CREDENTIALS_DIRECTORY} in paths of the configuration; systemd sets it."),
    ("NOTIFY_SOCKET", "The service manager to notify of the daemon's state; systemd sets it."),
    ("WATCHDOG_USEC", "How often the service manager expects a sign of life, in microseconds; systemd sets it."),
    ("JOURNAL_STREAM", "Whether standard error is the journal, whose lines carry priorities; systemd sets it."),
    ("NO_COLOR", "Unless it is empty: no colours in the log and in tap."),
];

/// Files that the commands know by themselves.
pub const FILES: [(&str, &str); 1] =
    [("/etc/typingd/typingd.toml", "The configuration, unless --config or TYPINGD_CONFIG names another.")];

/// What the daemon does on a signal of the operating system.
pub const SIGNALS: [(&str, &str); 2] = [
    (
        "SIGTERM, SIGINT",
        "Turns off every icon and answers every caller, within delivery.shutdown_grace, and exits. Messages continue to \
         pass through the drop-in for drop_in.drain. A second signal ends the process at once.",
    ),
    ("SIGHUP", "Reads the configuration again. A wrong one changes nothing, and the log says why."),
];
