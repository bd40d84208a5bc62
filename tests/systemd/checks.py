"""The checks, run inside the guest by its systemd. A line for each goes to standard output."""

import hashlib, os, re, sys, time, traceback

from guest import *

CHECKS = []
KEY = "/etc/credstore/typingd.pem"
COPIES = "/run/credentials/typingd.service"
# The check that the next boot goes on with.
GOES_ON = "/checks/goes-on"


def check(core=False, machine=False):
    """`machine`: it needs one of its own, for what it tries is the kernel's or the disk's."""

    def add(function):
        CHECKS.append((function, core, machine))
        return function

    return add


def after_the_next_boot(function, how):
    """Ends this boot, for `function` to go on in the next."""
    with open(GOES_ON, "w") as file:
        file.write(function.__name__)
    run("sync")
    how()
    time.sleep(60)
    raise Failure("it runs on")


# The guest has nothing but the package, which these two set up for all others; they always run.


@check(core=True)
def boots_and_installs():
    must(run("systemctl is-system-running --wait") == "running", run("systemctl --failed --no-legend"))
    run("dpkg -i /checks/typingd.deb")
    run(f"cp {CONFIGURATION} /checks/installed.toml")
    equal(run(f"stat -c '%a %U' {CONFIGURATION}"), "644 root")
    equal(attempt(f"systemctl is-enabled {UNITS}; systemctl is-active {UNITS}")[1].split(), ["disabled"] * 2 + ["inactive"] * 2)
    run("getent passwd typingd && getent group typingd")
    equal(run("systemd-analyze verify --man=no /usr/lib/systemd/system/typingd.service /usr/lib/systemd/system/typingd.socket"), "")
    run("openssl genrsa -out /checks/key.pem 2048 && openssl rsa -in /checks/key.pem -pubout -out /checks/public.pem")
    with open("/etc/systemd/system/upstream.service", "w") as file:
        file.write("[Service]\nExecStart=/checks/upstream sandbox --listen 127.0.0.1:7481 --public-key /checks/public.pem --strict-tokens\n[Install]\nWantedBy=multi-user.target\n")
    run("systemctl enable --now -q upstream.service")
    until("the upstream answers", lambda: call("GET", "/icons", port=7481)[0] == 200)


@check(core=True)
def a_wrong_configuration_answers_and_is_mended():
    """An operator in a hurry starts it as it was installed, while a connector calls already."""
    since = time.time()
    code, said = attempt("systemctl start typingd.service")
    must(code != 0, "it starts without a key")
    equal((state(name="ExecMainStatus"), state(name="NRestarts")), ("78", "0"))
    must("private_key_file" in journal(since, "-p err"), f"the reason is no error for the journal: {journal(since)}")
    since, seconds, answers = time.time(), 60 if ALL and not ONLY else 15, []
    while time.time() - since < seconds:
        answers.append(call("POST", "/v1/signals", {}, unix=len(answers) % 2 == 0))
        time.sleep(0.1)
    wrong = [answer for answer in answers if answer[0] != 503 or "not configured, see its log" not in answer[1]]
    must(not wrong, f"{len(wrong)} of {len(answers)} callers: {wrong[:3]}")
    starts = run(f"journalctl --no-pager -o cat -u typingd.service --since '@{since:.6f}'").count("Starting typingd.service")
    must(starts <= seconds / 3 + 2, f"{starts} starts in {seconds} s")
    equal(state("typingd.socket"), "active", "the socket")
    run(f"install -d -m 700 /etc/credstore && install -m 600 /checks/key.pem {KEY}")
    configure()
    run("CREDENTIALS_DIRECTORY=/etc/credstore typingd check --online")
    until("the next call is taken", lambda: signal("next") == 202, 5)
    run(f"systemctl start {UNITS}")
    return f"{len(answers)} callers, {starts} starts"


@check(core=True)
def starts_when_it_listens_whatever_salesforce_does():
    fresh()
    run("systemctl stop typingd.service")
    no_token()
    with within(5, "a start without a token"):
        run("systemctl start typingd.service")
    equal(signal("early"), 202, "a signal before there is a token")
    must(state(name="StatusText").startswith("Not ready ("), state(name="StatusText"))
    equal(call("GET", "/readyz")[0], 503, "/readyz")
    must(attempt("typingd wait --for 1s")[0] == 1, "typingd wait does not wait for a token")
    run("typingd wait --alive --for 1s")
    pid = process()
    with within(10, "a reload without a token"):
        run("systemctl reload typingd.service && systemctl daemon-reload")
    equal(process(), pid, "its process after a daemon-reload")
    faults()
    run("typingd wait --for 30s")
    until("STATUS says so", lambda: state(name="StatusText").startswith("Ready: "))
    equal(call("GET", "/readyz")[0], 200, "/readyz")


@check(core=True)
def credentials_and_tokens():
    fresh()
    digest = lambda path: hashlib.sha256(open(path, "rb").read()).hexdigest()
    equal(digest(f"{COPIES}/typingd.pem"), digest(KEY), "the copy of the key")
    must(attempt(f"setpriv --reuid=65534 --regid=65534 --clear-groups cat {COPIES}/typingd.pem")[0] != 0, "anybody reads the key")
    must(upstream("GET", "/requests?limit=1")["token_calls"] >= 1, "no token was asked for with it")
    run("echo t0ken-of-callers >/etc/credstore/ingest-token && chmod 600 /etc/credstore/ingest-token")
    configure(TOKEN)
    run("systemctl restart typingd.service")
    equal((signal("a"), signal("a", token="t0ken-of-callers")), (401, 202), "the token of callers")
    run("systemctl reload typingd.service")
    # A connector is a member of the group; it may connect, and not steer.
    as_connector = "setpriv --reuid=65534 --regid=65534 --groups=$(getent group typingd | cut -d: -f3)"
    code, said = attempt(f"{as_connector} typingd reload --url unix:{SOCKET}")
    must(code == 1 and "requires a bearer token" in said, f"a connector reloads: {code} {said}")
    run(f"{as_connector} typingd wait --url unix:{SOCKET} --for 5s")
    # With addresses of their own for operators, the reload is still the unit's.
    configure(TOKEN, ("#listen = []", 'listen = ["127.0.0.1:7482"]'))
    run("systemctl restart typingd.service && systemctl reload typingd.service")
    equal(signal("a", token="t0ken-of-callers", port=7482), 202, "a signal at the address of operators")


@check(core=True)
def new_credentials_and_a_reload():
    """Whether systemd copies credentials anew is a matter of its version. Either way nobody is left with the old one in silence."""
    run("echo t0ken-1 >/etc/credstore/ingest-token && chmod 600 /etc/credstore/ingest-token")
    fresh(TOKEN, secrets=True)
    since = time.time()
    run("echo t0ken-2 >/etc/credstore/ingest-token")
    code, _ = attempt("systemctl reload typingd.service")
    holds = signal("a", token="t0ken-2")
    if code == 0:
        equal((holds, signal("a", token="t0ken-1")), (202, 401), "a reload that succeeds")
    else:
        said = journal(since, "-p err")
        must("/etc/credstore/ingest-token has changed since the start" in said and "systemctl restart typingd.service" in said, said)
        run("systemctl restart typingd.service && systemctl reload typingd.service")
        equal(signal("a", token="t0ken-2"), 202, "after the restart")
    # A key that Salesforce doesn't know changes nothing, and the reload says so.
    run(f"openssl genrsa -out {KEY} 2048")
    try:
        must(attempt("systemctl reload typingd.service")[0] != 0, "a reload that keeps the old key succeeds in silence")
        equal((state(), signal("a", token="t0ken-2")), ("active", 202))
    finally:
        run(f"install -m 600 /checks/key.pem {KEY}")
    return "the reload takes them" if code == 0 else "the reload asks for a restart"


def restarts(times, **how):
    fresh(LONG)
    with Load(**how) as load:
        for _ in range(times):
            pid = process()
            run("systemctl restart typingd.service")
            must(process() not in (0, pid), "it was not restarted")
            time.sleep(0.3)
    return load.lost_nothing()


@check(core=True)
def a_restart_under_load_over_tcp():
    return restarts(4, count=8)


@check(core=True)
def a_restart_under_load_over_the_unix_socket():
    return restarts(4, count=8, unix=True)


@check(core=True)
def a_restart_under_load_on_kept_connections():
    return restarts(4, count=40, kept=True)


@check()
def many_restarts_under_load_while_salesforce_is_slow():
    fresh(LONG)
    faults(latency_ms=400)
    with Load(count=12, kept=True) as load, Load(count=6) as others:
        for _ in range(10):
            run("systemctl restart typingd.service")
            time.sleep(1)
    return f"{load.lost_nothing()}; {others.lost_nothing()}"


def next_package():
    """The same package with the next version and another sample."""
    if not os.path.exists("/checks/next.deb"):
        run(
            "rm -rf /checks/next && dpkg-deb -R /checks/typingd.deb /checks/next && cd /checks/next"
            " && sed -i 's/^Version: .*/Version: 0.1.1-1/' DEBIAN/control"
            " && echo '# new in 0.1.1' >>usr/share/doc/typingd/examples/typingd.toml"
            " && dpkg-deb -Zgzip -z1 -b . /checks/next.deb && rm -r /checks/next",
            300,
        )
    return "/checks/next.deb"


@check(core=True)
def an_upgrade_under_load():
    package = next_package()
    fresh(LONG)
    run(f"systemctl enable -q {UNITS}")
    pid, configuration = process(), open(CONFIGURATION).read()
    with Load(count=8) as load, Load(count=20, kept=True) as kept, Load(count=4, unix=True) as unix:
        # No question is asked, for nobody would answer it.
        run(f"dpkg -i {package} </dev/null")
        until("the new daemon runs", lambda: process() not in (0, pid) and state() == "active")
    equal([state(unit) for unit in UNITS.split()], ["active"] * 2)
    equal(open(CONFIGURATION).read(), configuration, "the configuration")
    equal(run("dpkg-query -W -f '${Version}' typingd"), "0.1.1-1")
    equal(run(f"systemctl is-enabled {UNITS}").split(), ["enabled"] * 2)
    return "; ".join(one.lost_nothing() for one in (load, kept, unix))


@check(core=True)
def an_upgrade_does_not_wait_for_salesforce():
    package = next_package()
    fresh()
    no_token()
    with within(20, "an upgrade without a token"):
        run(f"dpkg -i {package} </dev/null")
    equal(signal("u"), 202, "a signal after it")
    # What is stopped stays stopped.
    run(f"systemctl stop {UNITS} && dpkg -i /checks/typingd.deb </dev/null")
    equal([state(unit) for unit in UNITS.split()], ["inactive"] * 2)


@check(core=True)
def one_that_hangs_is_replaced():
    fresh(LONG)
    icons_on(3)
    pid = process()
    run(f"kill -STOP {pid}")
    took = until("another process", lambda: process() not in (0, pid) and state() == "active", 20)
    until("the icons are off", lambda: icons() == 0)
    return f"after {took:.1f} s"


@check(core=True)
def one_that_is_killed_leaves_no_icon_on():
    fresh(LONG)
    icons_on(5)
    pid = process()
    run(f"kill -KILL {pid}")
    until("the icons are off", lambda: icons() == 0)
    must(process() not in (0, pid), "it was not started again")
    # Again and again: nobody has to mend anything afterwards.
    for _ in range(12 if ALL else 4):
        pid = process()
        run(f"kill -KILL {pid}")
        until("another process", lambda: process() not in (0, pid))
    until("a signal is taken", lambda: signal("after") == 202)
    equal([state(unit) for unit in UNITS.split()], ["active"] * 2)


@check(core=True)
def a_reload_takes_what_is_right_and_refuses_the_rest():
    fresh()
    pid, since = process(), time.time()
    configure(('#check_interval = "5s"', 'check_interval = "7s"'))
    run("systemctl reload typingd.service")
    must('"7s"' in call("GET", "/v1/timing")[1], call("GET", "/v1/timing"))
    must("timing.check_interval" in journal(since), journal(since))
    configure(WRONG)
    must(attempt("systemctl reload typingd.service")[0] != 0, "a wrong configuration is reloaded")
    must(re.search(r"typingd\.toml:\d+.*check_interval", journal(since, "-p err")), journal(since))
    must('"7s"' in call("GET", "/v1/timing")[1], "it changes something")
    configure()
    run("systemctl reload typingd.service && systemctl kill -s HUP typingd.service")
    time.sleep(1)
    equal((state(), state(name="SubState"), process()), ("active", "running", pid))


@check(core=True)
def a_stop_turns_off_every_icon_first():
    fresh(LONG)
    icons_on(20)
    faults(latency_ms=1000)
    run(f"systemctl stop {UNITS}")
    equal((icons(), state(name="Result")), (0, "success"))
    must(not os.path.exists(SOCKET) and signal("x") == "ConnectionRefusedError", "the addresses are still there")


@check(core=True)
def the_next_caller_starts_what_was_stopped():
    fresh()
    for unix in (False, True):
        run("systemctl stop typingd.service 2>&1")
        equal(signal("waker", unix=unix), 202, f"a call, unix={unix}")


@check(core=True)
def addresses_that_are_restarted_or_masked():
    fresh()
    run("systemctl restart typingd.socket")
    equal((signal("r"), signal("r", unix=True)), (202, 202), "after systemctl restart typingd.socket")
    # Other addresses: what was edited is what is restarted.
    drop_in(f"[Socket]\nListenStream=\nListenStream=127.0.0.1:7999\nListenStream={SOCKET}\n", "socket")
    run("systemctl restart typingd.socket")
    equal((signal("r", port=7999), signal("r", unix=True), signal("r")), (202, 202, "ConnectionRefusedError"), "with a drop-in")
    fresh()
    run("systemctl stop typingd.service && systemctl mask --now -q typingd.socket && systemctl start typingd.service")
    equal((run(f"stat -c '%a %U:%G' {SOCKET}"), signal("m"), signal("m", unix=True)), ("660 typingd:typingd", 202, 202), "masked")
    run("systemctl stop typingd.service && systemctl unmask -q typingd.socket")


@check(core=True)
def files_and_directories_are_whose_they_should_be():
    fresh()
    seen = [run(f"stat -c '%a %U:%G' {path}") for path in (SOCKET, "/run/typingd", "/var/lib/typingd", "/etc/typingd")]
    equal(seen, ["660 typingd:typingd", "755 typingd:typingd", "700 typingd:typingd", "755 root:root"])
    limits = run(f"prlimit -p {process()} --output RESOURCE,SOFT,HARD --noheadings")
    must(re.search(r"NOFILE\s+16384\s+16384", limits) and re.search(r"CORE\s+0\s+0", limits), limits)


@check(core=True)
def the_sandbox_forbids_what_it_says():
    """Another program in the daemon's place, under the daemon's directives."""
    fresh()
    run(f"systemctl stop {UNITS}")
    text = open("/usr/lib/systemd/system/typingd.service").read()
    text = re.sub(r"^(Wants|After|PartOf|WatchdogSec|Restart|ExecReload)=.*\n", "", text, flags=re.M)
    text = text.replace("Type=notify", "Type=oneshot").replace("ExecStart=/usr/bin/typingd run", "ExecStart=/usr/bin/python3 /run/inside.py")
    with open("/run/systemd/system/inside.service", "w") as file:
        file.write(text)
    run("install -m 644 /checks/inside.py /run/inside.py && touch /home/file /root/file && systemctl daemon-reload")
    code, _ = attempt("systemctl start inside.service")
    run("journalctl --sync")
    said = run("journalctl --no-pager -o cat -u inside.service _COMM=python3")
    must(code == 0 and "everything holds" in said, said)
    level = re.search(r"exposure level for .*: ([\d.]+)", run("systemd-analyze security --no-pager typingd.service | tail -1"))
    must(level and float(level[1]) <= 1.1, level and level[0])


@check()
def a_stop_keeps_to_the_grace_while_salesforce_hangs():
    fresh(LONG)
    icons_on(3)
    faults(faults=["hang"])
    with within(15, "a stop"):
        run(f"systemctl stop {UNITS}")
    equal(state(name="Result"), "success")
    faults()
    run(f"systemctl start {UNITS}")
    until("the next run turns off what was left on", lambda: icons() == 0)
    # Beyond the unit's own time limit of 30 s.
    fresh(LONG, ('#shutdown_grace = "10s"', 'shutdown_grace = "40s"'), ('#request_timeout = "5s"', 'request_timeout = "60s"'))
    icons_on(1)
    faults(faults=["hang"])
    began = time.monotonic()
    run(f"systemctl stop {UNITS}")
    must(38 < time.monotonic() - began < 50, f"{time.monotonic() - began:.0f} s")
    equal(state(name="Result"), "success")


@check()
def an_encrypted_key():
    fresh()
    run("install -d -m 700 /etc/credstore.encrypted && systemd-creds encrypt --name=typingd.pem /checks/key.pem /etc/credstore.encrypted/typingd.pem")
    run(f"rm {KEY}")
    drop_in("[Service]\nLoadCredentialEncrypted=typingd.pem\n")
    try:
        run("systemctl restart typingd.service && typingd wait --for 10s && systemctl reload typingd.service")
    finally:
        run(f"rm -rf /etc/credstore.encrypted && install -m 600 /checks/key.pem {KEY}")


@check()
def a_start_without_a_token_waits_for_hours():
    """Longer than any time limit of a start."""
    fresh()
    run("systemctl stop typingd.service")
    no_token()
    run("systemctl start typingd.service")
    pid = process()
    time.sleep(100)
    run("systemctl daemon-reload")
    time.sleep(3)
    equal((process(), state(), state(name="NRestarts")), (pid, "active", "0"))
    # And one that hangs meanwhile is replaced.
    run(f"kill -STOP {pid}")
    until("another process", lambda: process() not in (0, pid))


@check()
def the_journal_has_reasons_and_no_secrets():
    fresh()
    run("echo t0ken-of-callers >/etc/credstore/ingest-token && chmod 600 /etc/credstore/ingest-token")
    configure(TOKEN)
    run("systemctl restart typingd.service")
    since, user = time.time(), "enduser-7f3a"
    faults(faults=["503"])
    for kind in ("keystroke", "message_sent", "nonsense"):
        signal(user, kind, token="t0ken-of-callers")
    time.sleep(3)
    no_token()
    signal(user + "b", token="t0ken-of-callers")
    time.sleep(2)
    faults()
    run("systemctl restart typingd.service")
    text = journal(since)
    must(not re.search(r"^<\d>|\x1b|^\d{4}-\d\d", text, re.M), text)
    must(journal(since, "-p warning"), "nothing is a warning")
    everything = run("journalctl --no-pager -o export -u typingd.service")
    key = open("/checks/key.pem").read().splitlines()[1]
    found = [secret for secret in (user, key, "t0ken-of-callers", "eyJ") if secret in everything]
    must(not found, f"in the journal: {found}")


@check(machine=True)
def the_limits_of_the_unit_hold():
    """A caller asks for what takes most memory; were it more than the unit allows, the kernel would kill the daemon."""
    fresh()
    pid, group = process(), "/sys/fs/cgroup" + state(name="ControlGroup")
    limits = {name: open(f"{group}/{name}").read().strip() for name in ("memory.max", "pids.max")}
    equal(limits, {"memory.max": str(1 << 30), "pids.max": "1024"})
    lines = [f'{{"to":"c","from":"{user}","signal":"keystroke","at":{user}}}\n' for user in range(1_000_000)]
    # Emulated, a slice is all that a caller's patience is good for.
    slices = (lines[first : first + 20_000] for first in range(0, len(lines), 20_000))
    for path, what, statuses in (("/v1/tune", [lines], (200, 413)), ("/v1/signals", slices, (202, 429))):
        for part in what:
            status, text = call("POST", path, "".join(part).encode())
            must(status in statuses, f"{path}: {status} {text[:200]}")
    events = open(f"{group}/memory.events").read()
    equal((process(), re.search(r"^oom_kill (\d+)", events, re.M)[1]), (pid, "0"), "the daemon")
    peak = int(open(f"{group}/memory.peak").read()) >> 20
    must(peak < 512, f"{peak} MiB")
    return f"at most {peak} MiB"


@check()
def a_reboot_while_salesforce_gives_no_token():
    if WENT_ON != "a_reboot_while_salesforce_gives_no_token":
        fresh(LONG)
        icons_on(3)
        run(f"systemctl enable -q {UNITS} && sed -i 's/ --strict-tokens/ --strict-tokens --token-fault unavailable/' /etc/systemd/system/upstream.service")
        after_the_next_boot(a_reboot_while_salesforce_gives_no_token, lambda: run("systemctl reboot"))
    until("multi-user.target", lambda: state("multi-user.target") == "active", 30)
    until("both are up", lambda: [state(unit) for unit in UNITS.split()] == ["active"] * 2, 10)
    must(state(name="StatusText").startswith("Not ready ("), state(name="StatusText"))
    run("sed -i 's/ --token-fault unavailable//' /etc/systemd/system/upstream.service && systemctl daemon-reload && systemctl restart upstream.service")
    run("typingd wait --for 60s")


@check(machine=True)
def a_power_cut_leaves_no_icon_on():
    """Whoever watches this guest from outside takes its power away; what was not on the disk is gone."""
    if WENT_ON != "a_power_cut_leaves_no_icon_on":
        fresh(LONG)
        run(f"systemctl enable -q {UNITS}")
        after_the_next_boot(a_power_cut_leaves_no_icon_on, shown_as_the_power_goes)
    # The upstream has lost its memory, too: what it is told of now it is told by the daemon of this boot.
    shown = {f"icon-{number}" for number in range(POWER_ICONS)}
    def stopped():
        requests = upstream("GET", "/requests?limit=1000")["requests"]
        return {request["from"] for request in requests if request["entry_type"] == "TypingStoppedIndicator"}
    took = until("a Stopped for each icon", lambda: shown <= stopped(), 30)
    return f"{len(shown)} icons, off {took:.1f} s after the check went on"


def shown_as_the_power_goes():
    icons_on(POWER_ICONS)
    # A record is on the disk within 0.1 s.
    time.sleep(0.5)
    print(POWER_CUT, flush=True)


@check()
def a_removal_keeps_what_is_the_operators():
    fresh(LONG)
    icons_on(3)
    run("dpkg -r typingd")
    equal((icons(), attempt("pgrep -x typingd")[0]), (0, 1), "icons and processes after the removal")
    must(os.path.exists(CONFIGURATION) and os.path.isdir("/var/lib/typingd"), "configuration and state are gone")
    run(f"dpkg -i /checks/typingd.deb && systemctl start {UNITS}")
    run("dpkg -P typingd")
    left = attempt("ls -d /etc/typingd /var/lib/typingd /run/typingd /usr/bin/typingd /etc/systemd/system/*typingd* /etc/systemd/system/*.wants/typingd* /usr/lib/systemd/system/typingd* 2>/dev/null")[1]
    equal((left, os.path.exists(KEY)), ("", True), "what is left, and the secret")


def main():
    wanted = [entry for entry in CHECKS if (ALL or entry[1]) and (MACHINE or not entry[2])]
    if ONLY:
        wanted = CHECKS[:2] + [entry for entry in wanted[2:] if re.search(ONLY, entry[0].__name__)]
    if WENT_ON:
        os.unlink(GOES_ON)
        wanted = wanted[[function.__name__ for function, *_ in wanted].index(WENT_ON) :]
    for function, *_ in wanted:
        name = function.__name__.replace("_", " ")
        LOG.write(f"\n==== {name}\n")
        began = time.monotonic()
        try:
            outcome = f"HOLDS {name}"
            detail = function()
        except Exception as error:
            outcome, detail = f"FAILS {name}", error
            LOG.write(traceback.format_exc())
            attempt("systemctl status --no-pager typingd.service typingd.socket; journalctl --no-pager -n 60 -o short-precise")
        detail = f": {detail}" if detail else ""
        print(f"{outcome} ({time.monotonic() - began:.0f} s){detail}".replace("\n", " | "), flush=True)
    print(f"END after {time.monotonic() - BEGAN:.0f} s", flush=True)
    os.system("systemctl poweroff")


BEGAN = time.monotonic()
WHICH, ONLY = open("/checks/wanted").read().split("\n")[:2]
ALL = WHICH == "all"
MACHINE = attempt("systemd-detect-virt --quiet --container")[0] != 0
WENT_ON = open(GOES_ON).read() if os.path.exists(GOES_ON) else None
# What the host waits for, on a line of its own, before it takes the power away.
POWER_CUT = "NOW the power goes"
POWER_ICONS = 200

if __name__ == "__main__":
    main()
