"""What the checks stand on: commands, systemd's view of the units, calls, the upstream, load."""

import collections, contextlib, http.client, json, os, re, socket, subprocess, threading, time

CONFIGURATION = "/etc/typingd/typingd.toml"
SOCKET = "/run/typingd/typingd.sock"
UNITS = "typingd.socket typingd.service"
DROP_INS = "/etc/systemd/system/typingd.service.d"
LOG = open("/checks/log", "a", buffering=1)


class Failure(Exception):
    """A check does not hold."""


def must(condition, what):
    if not condition:
        raise Failure(what)


def equal(seen, expected, what=""):
    must(seen == expected, f"{what}: {seen!r}, expected {expected!r}")


def attempt(command, timeout=120):
    """Runs a shell command: its exit code, and all that it said."""
    began = time.monotonic()
    done = subprocess.run(["bash", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout, errors="replace")
    LOG.write(f"$ {command}  ({time.monotonic() - began:.1f} s, exit {done.returncode})\n{done.stdout}")
    return done.returncode, done.stdout.strip()


def run(command, timeout=120):
    """Runs a shell command that must succeed, and returns what it said."""
    code, said = attempt(command, timeout)
    must(code == 0, f"`{command}`: exit {code}: {said[-400:]}")
    return said


def state(unit="typingd.service", name="ActiveState"):
    return run(f"systemctl show -P {name} {unit}")


def process():
    return int(state(name="MainPID") or 0)


def until(what, condition, seconds=20):
    """How long it took until `condition` held."""
    began = time.monotonic()
    while not condition():
        must(time.monotonic() - began < seconds, f"not within {seconds} s: {what}")
        time.sleep(0.1)
    return time.monotonic() - began


@contextlib.contextmanager
def within(seconds, what):
    began = time.monotonic()
    yield
    took = time.monotonic() - began
    must(took < seconds, f"{what} took {took:.1f} s, expected less than {seconds} s")


def journal(since, *options):
    run("journalctl --sync")
    return run(f"journalctl --no-pager -o cat -u typingd.service --since '@{since:.6f}' {' '.join(options)}")


class OverUnix(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(SOCKET)


def connection(unix=False, port=7480):
    return OverUnix("localhost", timeout=30) if unix else http.client.HTTPConnection("127.0.0.1", port, timeout=30)


def call(method, path, body=None, token=None, **where):
    """An answer's status and text; of a call that got none the error's name. A `body` of bytes is of lines."""
    lines = isinstance(body, bytes)
    headers = {"content-type": "application/x-ndjson" if lines else "application/json"}
    if token:
        headers["authorization"] = f"Bearer {token}"
    with contextlib.closing(connection(**where)) as at:
        try:
            at.request(method, path, body if body is None or lines else json.dumps(body), headers)
            answer = at.getresponse()
            return answer.status, answer.read().decode()
        except (OSError, http.client.HTTPException) as error:
            return type(error).__name__, str(error)


def signal(user, kind="keystroke", **how):
    return call("POST", "/v1/signals", {"to": "support", "from": user, "signal": kind}, **how)[0]


def upstream(method, path, body=None):
    status, text = call(method, path, body, port=7481)
    must(status in (200, 204), f"upstream: {method} {path}: {status} {text}")
    return json.loads(text) if text.startswith("{") else {}


def faults(**what):
    upstream("DELETE", "/faults")
    if what:
        upstream("PUT", "/faults", what)


def no_token():
    """From now on Salesforce gives no token, and those that it has given are void."""
    faults(token="unavailable")
    upstream("DELETE", "/tokens")


def icons():
    return upstream("GET", "/icons?shown=true&limit=1000")["shown"]


def icons_on(count):
    for number in range(count):
        equal(signal(f"icon-{number}"), 202, "a keystroke")
    until(f"{count} icons are on", lambda: icons() == count)


def configure(*changes):
    """Writes the configuration: the one that was installed, with the org's values, and `changes`, each a pair of texts."""
    text = open("/checks/installed.toml").read()
    org = [("https://mydomain.my.salesforce-scrt.com", "http://127.0.0.1:7481"), ("https://login.salesforce.com/services", "http://127.0.0.1:7481/services")]
    for old, new in org + list(changes):
        must(old in text, f"the configuration that is installed lacks {old}")
        text = text.replace(old, new, 1)
    with open(CONFIGURATION, "w") as file:
        file.write(text)


LONG = ('#dismiss_after = "2s"', 'dismiss_after = "1m"')
TOKEN = ('#token_file = "${CREDENTIALS_DIRECTORY}/ingest-token"', 'token_file = "${CREDENTIALS_DIRECTORY}/ingest-token"')
WRONG = ('#check_interval = "5s"', 'check_interval = "often"')


def drop_in(text, unit="service"):
    directory = f"/etc/systemd/system/typingd.{unit}.d"
    os.makedirs(directory, exist_ok=True)
    with open(f"{directory}/check.conf", "w") as file:
        file.write(text)
    run("systemctl daemon-reload")


def fresh(*changes, secrets=False):
    """Everything as an operator would have it: configured, running, ready, nothing shown, no drop-in; with `secrets` those
    that are there, else no token of callers."""
    attempt(f"systemctl stop {UNITS}; systemctl unmask -q typingd.socket; rm -rf /etc/systemd/system/typingd.*.d; systemctl daemon-reload")
    if not secrets:
        run("rm -f /etc/credstore/ingest-token")
    faults()
    for what in ("icons", "requests"):
        upstream("DELETE", f"/{what}")
    configure(*changes)
    run(f"systemctl start {UNITS}")
    until("it is ready", lambda: call("GET", "/readyz")[0] == 200)


class Load:
    """Callers in a loop, for as long as the block lasts; afterwards what became of their calls."""

    def __init__(self, count, unix=False, kept=False):
        self.count, self.unix, self.kept = count, unix, kept
        self.outcomes = collections.Counter()
        self.answers = {}
        self.longest = 0.0
        self.stop = threading.Event()
        self.lock = threading.Lock()

    def __enter__(self):
        self.threads = [threading.Thread(target=self.calls, args=(number,)) for number in range(self.count)]
        for thread in self.threads:
            thread.start()
        until("the callers are answered", lambda: self.outcomes["202"] > 10 * self.count)
        return self

    def __exit__(self, *_):
        # What comes after counts, too.
        before = self.outcomes["202"]
        try:
            until("the callers are answered again", lambda: self.outcomes["202"] > before + 10 * self.count)
        finally:
            self.stop.set()
            for thread in self.threads:
                thread.join()
        LOG.write(f"load: {dict(self.outcomes)}, longest {self.longest:.2f} s, {self.answers}\n")

    def calls(self, number):
        held = None
        while not self.stop.is_set():
            began = time.monotonic()
            at = held or connection(unix=self.unix)
            reused, held = held is not None, None
            try:
                body = json.dumps({"to": "support", "from": f"load-{number}", "signal": ("keystroke", "message_sent")[number % 2]})
                at.request("POST", "/v1/signals", body, {"content-type": "application/json"})
                answer = at.getresponse()
                text, outcome = answer.read().decode(), str(answer.status)
                if self.kept and not answer.will_close:
                    held = at
            except (OSError, http.client.HTTPException) as error:
                text, outcome = str(error), type(error).__name__ + (" on a kept connection" if reused else "")
            if held is None:
                at.close()
            with self.lock:
                self.outcomes[outcome] += 1
                self.longest = max(self.longest, time.monotonic() - began)
                self.answers.setdefault(outcome, text[:200])
            time.sleep(0.005)

    def lost_nothing(self):
        lost = {outcome: (count, self.answers[outcome]) for outcome, count in self.outcomes.items() if outcome != "202"}
        must(not lost, f"of {sum(self.outcomes.values())} calls: {lost}")
        return f"{self.outcomes['202']} calls, longest {self.longest:.2f} s"
