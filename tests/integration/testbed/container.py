# SPDX-License-Identifier: LGPL-2.1-or-later
"""One machine of the test bed: a namespace container with systemd, udevd, dbus-daemon, polkitd and logind."""

import os
import pathlib
import secrets
import shlex
import signal
import subprocess
import sys

from testbed import keeper, paths
from testbed.terminal import Terminal

USERS = {"alice": 3001, "bob": 3002, "carol": 3003}

# How each user is logged in unless a test says otherwise: in front of the machine, on another terminal of it
# that is not shown, and over the network.
SESSIONS = {
    "seat": {"XDG_SEAT": "seat0", "XDG_VTNR": "1"},
    "inactive": {"XDG_SEAT": "seat0", "XDG_VTNR": "2"},
    "remote": {},
}
USUAL_SESSION = {"alice": "seat", "bob": "inactive", "carol": "remote"}

BASE_ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
    "LANG": "C.UTF-8",
    "TERM": "xterm",
}


class StackError(Exception):
    pass


class Session:
    """A logind session: its leader sleeps, commands join its scope."""

    def __init__(self, user, kind, cgroup, environment):
        self.user, self.kind, self.cgroup, self.environment = user, kind, cgroup, environment

    @property
    def id(self):
        return self.environment["XDG_SESSION_ID"]


class Stack:
    def __init__(self, name, owner=None):
        self.name = name
        self.owner = owner
        self.state = paths.STATE / name
        self.sessions = {}

    # ---- beginning and end

    @classmethod
    def boot(cls, name=None, install=True, stage="", owned=True):
        """Boots a machine. `install`: with what was built. `stage`: shell commands for its root before systemd
        runs. `owned`: it dies with this process."""
        if os.geteuid() != 0:
            raise StackError("the test bed needs root")
        name = name or f"m{os.getpid()}-{secrets.token_hex(2)}"
        state = paths.STATE / name
        if install:
            stage = install_script() + stage
        try:
            state.mkdir(parents=True)
        except FileExistsError:
            with keeper.Exclusive():
                keeper.others_live("")
            try:
                state.mkdir(parents=True)
            except FileExistsError:
                raise StackError(f"a stack named {name} is running") from None
        read_end, write_end = os.pipe()
        report_read, report_write = os.pipe()
        passed = [report_write] + ([read_end] if owned else [])
        subprocess.Popen(
            [sys.executable, keeper.__file__, name, "set -eu\n" + stage if stage else "", str(read_end if owned else -1),
             str(report_write)],
            pass_fds=passed, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=open(state / "keeper.log", "wb"), start_new_session=True,
        )
        os.close(read_end)
        os.close(report_write)
        with os.fdopen(report_read, "rb") as report:
            answer = report.readline()
            if answer != b"ready\n":
                raise StackError("it did not boot:\n" + (answer + report.read()).decode(errors="replace"))
        if not owned:
            os.close(write_end)
            write_end = None
        return cls(name, write_end)

    def down(self):
        """Ends it and waits until nothing of it is left."""
        if self.owner is not None:
            os.close(self.owner)
            self.owner = None
        else:
            os.kill(int((self.state / "keeper").read_text()), signal.SIGTERM)
        self.wait_gone()

    def wait_gone(self):
        import fcntl
        try:
            with open(self.state / "lock") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
        except FileNotFoundError:
            pass
        with keeper.Exclusive():
            keeper.others_live("")

    # ---- what is inside

    @property
    def pid(self):
        try:
            return int((self.state / "pid").read_text())
        except FileNotFoundError:
            raise StackError(f"there is no stack named {self.name}") from None

    @property
    def root(self):
        """Its root directory as seen from the host. Writing through it is fine."""
        return pathlib.Path(f"/proc/{self.pid}/root")

    @property
    def sticks(self):
        return paths.sticks() / self.name

    def session(self, user, kind=None):
        """The session of that kind of a user, opened at first use."""
        kind = kind or USUAL_SESSION[user]
        if (user, kind) not in self.sessions:
            leader = self.open_session(user, kind)
            cgroup = next(line[3:] for line in self.run(["cat", f"/proc/{leader}/cgroup"]).stdout.splitlines()
                          if line.startswith("0::"))
            environment = dict(
                entry.split("=", 1)
                for entry in self.run(["cat", f"/proc/{leader}/environ"]).stdout.split("\0") if "=" in entry)
            environment = {k: v for k, v in environment.items()
                           if k.startswith("XDG_") or k == "DBUS_SESSION_BUS_ADDRESS"}
            if not cgroup.endswith(".scope"):
                raise StackError(f"{user} got no session: {cgroup}")
            self.sessions[user, kind] = Session(user, kind, cgroup, environment)
        return self.sessions[user, kind]

    def open_session(self, user, kind):
        """Returns the pid, inside, of a session's leader. It tells through a FIFO that PAM is done with it:
        Type=exec would wait for PAM's own process."""
        unit = f"testbed-{user}-{kind}.service"
        leader = self.run(["systemctl", "show", "-P", "MainPID", unit]).stdout.strip()
        if leader not in ("", "0"):
            return leader
        fifo = f"/run/testbed/{unit}"
        settings = shlex.join(f"--setenv={k}={v}" for k, v in SESSIONS[kind].items())
        return self.shell(f"""
            rm -f {fifo}; mkfifo -m 666 {fifo}
            systemd-run --quiet --collect --unit={unit} --uid={user} --property=PAMName=login \
                --setenv=XDG_SESSION_TYPE=tty --setenv=XDG_SESSION_CLASS=user {settings} \
                /bin/sh -c 'echo $$$$ >{fifo}; exec sleep infinity'
            timeout 30 cat {fifo}
            rm {fifo}""").stdout.strip()

    def command(self, arguments, user=None, kind=None, env=None, cwd=None):
        """The host's argument vector that runs `arguments` inside."""
        environment = dict(BASE_ENVIRONMENT)
        prefix = ["nsenter", "-t", str(self.pid), "-m", "-p", "-i", "-u", "-n", "-C", "-r", "-w", "--"]
        script = ""
        if user is None or user == "root":
            environment |= {"HOME": "/root", "USER": "root", "LOGNAME": "root"}
        else:
            session = self.session(user, kind)
            home = f"/home/{user}"
            environment |= session.environment | {"HOME": home, "USER": user, "LOGNAME": user}
            script = f"echo 0 >/sys/fs/cgroup{session.cgroup}/cgroup.procs && "
            arguments = ["setpriv", f"--reuid={USERS[user]}", f"--regid={USERS[user]}", "--init-groups",
                         *arguments]
            cwd = cwd or home
        environment |= env or {}
        if cwd:
            script += f"cd {shlex.quote(os.fspath(cwd))} && "
        assignments = [f"{k}={v}" for k, v in environment.items()]
        return prefix + ["/bin/sh", "-c", script + 'exec env -i "$@"', "sh", *assignments, *arguments]

    def popen(self, arguments, user=None, kind=None, env=None, cwd=None, **options):
        # A session of its own: ^C at pytest is pytest's; a test ends a whole tree by os.killpg().
        options.setdefault("start_new_session", True)
        options.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.Popen(self.command(arguments, user, kind, env, cwd), **options)

    def run(self, arguments, user=None, kind=None, env=None, cwd=None, input=None, check=True, timeout=60,
            text=True, pass_fds=()):
        """Runs it to its end; returns a CompletedProcess with its output."""
        arguments = [os.fsencode(a) if isinstance(a, (str, os.PathLike)) else a for a in arguments]
        process = self.popen(
            arguments, user, kind, env, cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=text,
            stdin=subprocess.PIPE if input is not None else subprocess.DEVNULL, pass_fds=pass_fds,
            **({"errors": "surrogateescape"} if text else {}))
        try:
            out, err = process.communicate(input, timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
            raise StackError(f"{arguments} took more than {timeout} s\nstdout: {out}\nstderr: {err}") from None
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
        result = subprocess.CompletedProcess(arguments, process.returncode, out, err)
        if check and process.returncode:
            raise StackError(f"{arguments} exited {process.returncode}\nstdout: {out}\nstderr: {err}")
        return result

    def shell(self, script, arguments=(), **options):
        """Runs a shell script; `arguments` are its $1 and so on."""
        return self.run(["/bin/sh", "-euc", script, "sh", *arguments], **options)

    def terminal(self, arguments, user=None, kind=None, env=None, cwd=None):
        """Runs it on a pseudo-terminal of this machine."""
        command = self.command(arguments, user, kind, env, cwd)
        # The terminal is the program's alone: a ^C typed at it must not end nsenter.
        inside = command.index("--") + 1
        return Terminal(self.root / "dev/pts", command[:inside] + ["setsid", "--ctty", *command[inside:]])

    def settle(self):
        self.run(["udevadm", "settle", "--timeout=60"], timeout=90)

    def journal(self, unit="usbcryptd.service"):
        return self.run(["journalctl", "--no-pager", "-o", "cat", "-u", unit]).stdout

    @property
    def bus_address(self):
        return f"unix:path={self.root}/run/dbus/system_bus_socket"


def install_script():
    """Shell commands that install what was built into a root."""
    sanitize = os.environ.get("SANITIZE", "")
    arguments = ["make", "-s", "-C", str(paths.SOURCE), f"O={paths.build()}", "DESTDIR=", "PREFIX=/usr",
                 "install"] + ([f"SANITIZE={sanitize}"] if sanitize else [])
    script = f"{shlex.join(arguments)} >&2\nsystemd-sysusers >&2\n"
    if sanitize:
        script += SANITIZER_DROPINS
    return script


# A sanitizer's shadow needs terabytes of address space, writes its reports itself, and LeakSanitizer traces.
SANITIZER_DROPINS = r"""
mkdir -p /etc/systemd/system/usbcryptd.service.d
cat >/etc/systemd/system/usbcryptd.service.d/sanitizer.conf <<'END'
[Service]
Environment=ASAN_OPTIONS=detect_leaks=0:abort_on_error=0:exitcode=99:log_path=/var/log/usbcrypt-sanitizer/report
Environment=UBSAN_OPTIONS=print_stacktrace=1:log_path=/var/log/usbcrypt-sanitizer/report
MemoryDenyWriteExecute=no
SystemCallFilter=
ReadWritePaths=/var/log/usbcrypt-sanitizer
LimitAS=infinity
END
mkdir -p -m 1777 /var/log/usbcrypt-sanitizer
"""
