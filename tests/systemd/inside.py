"""Runs in the daemon's place, under the daemon's directives, and tries what they forbid."""

import ctypes, mmap, os, resource, socket, stat, sys

libc = ctypes.CDLL(None, use_errno=True)
complaints = []


def succeeds(attempt):
    try:
        attempt()
        return True
    except (OSError, ValueError):
        return False


def forbidden(what, attempt):
    if succeeds(attempt):
        complaints.append(f"{what} is possible")


def allowed(what, attempt):
    if not succeeds(attempt):
        complaints.append(f"{what} is impossible")


def system_call(number, *arguments):
    if libc.syscall(number, *arguments) == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def write(directory):
    path = f"{directory}/inside-{os.getpid()}"
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
    os.unlink(path)


# Every directory down to the third level, and every mount point: what can be written, and nothing else.
places = {line.split()[4] for line in open("/proc/self/mountinfo")} | {"/"}
for top in ("/", "/dev", "/run", "/var", "/etc", "/usr"):
    for place, directories, _ in os.walk(top):
        places.add(place)
        if place.count("/") > 2 or place.startswith(("/proc", "/sys")):
            directories.clear()
expected = {"/var/lib/typingd", "/run/typingd", "/tmp", "/var/tmp"}
writable = {place for place in places if os.path.isdir(place) and succeeds(lambda: write(place))}
if writable != expected:
    complaints.append(f"can be written: {sorted(writable)}, expected {sorted(expected)}")

for path in ("/home/file", "/root/file", "/etc/shadow", "/etc/credstore/typingd.pem", "/dev/kmsg"):
    forbidden(f"reading {path}", lambda: open(path).read())
for path in ("/etc/typingd/typingd.toml", "/etc/ssl/certs/ca-certificates.crt", os.environ["CREDENTIALS_DIRECTORY"] + "/typingd.pem"):
    allowed(f"reading {path}", lambda: open(path).read())
forbidden("writing the credential", lambda: open(os.environ["CREDENTIALS_DIRECTORY"] + "/typingd.pem", "w"))

for name, family in (("netlink", 16), ("packet", 17), ("crypto", 38), ("vsock", 40), ("bluetooth", 31)):
    forbidden(f"a {name} socket", lambda: socket.socket(family, socket.SOCK_RAW))
for family in (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6):
    allowed(f"a socket of {family.name}", lambda: socket.socket(family, socket.SOCK_STREAM).close())

# By their numbers on x86-64; elsewhere the rest must do.
if os.uname().machine == "x86_64":
    for name, number, *arguments in (
        ("ptrace", 101, 0, 0, 0, 0), ("personality", 135, 0x0400008), ("setpriority", 141, 0, 0, 5), ("chroot", 161, b"/tmp"),
        ("settimeofday", 164, (ctypes.c_long * 2)(1, 0), None), ("mount", 165, b"none", b"/tmp", b"tmpfs", 0, None), ("swapon", 167, b"/x", 0),
        ("reboot", 169, 0, 0, 0, None), ("sethostname", 170, b"x", 1), ("init_module", 175, None, 0, b""), ("kexec_load", 246, 0, 0, None, 0),
        ("perf_event_open", 298, None, 0, -1, -1, 0), ("bpf", 321, 0, None, 0),
        *((f"unshare {flag:#x}", 272, flag) for flag in (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000)),
    ):
        forbidden(name, lambda: system_call(number, *arguments))


def set_user_id():
    path = "/var/lib/typingd/inside"
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT))
    try:
        os.chmod(path, 0o4755)
    finally:
        os.unlink(path)


forbidden("a file that changes the user", set_user_id)
forbidden("a device", lambda: os.mknod("/var/lib/typingd/device", 0o600 | stat.S_IFCHR, os.makedev(1, 3)))
forbidden("realtime scheduling", lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)))
forbidden("a higher limit", lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (20_000, 20_000)))
forbidden("memory to write and to execute", lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC))

status = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
for name, value in (("NoNewPrivs", "1"), ("Seccomp", "2"), ("CapEff", "0" * 16), ("CapBnd", "0" * 16), ("CapPrm", "0" * 16), ("CapAmb", "0" * 16)):
    if status[name].strip() != value:
        complaints.append(f"{name} is {status[name].strip()}, expected {value}")
others = [name for name in os.listdir("/proc") if name == "1"]
if others or os.path.exists("/proc/sys/kernel"):
    complaints.append("processes of others and the kernel's settings are seen")
if os.umask(0) != 0o77:
    complaints.append("files are open to others")

print("; ".join(complaints) or "everything holds", flush=True)
sys.exit(bool(complaints))
