# SPDX-License-Identifier: LGPL-2.1-or-later
"""Does in the machine what a test on the host says: one JSON object a line, each answered when it is done.

    {"id": 1, "do": "run", "arguments": [...], "user": "alice", "input": base64, "timeout": seconds}
    {"id": 2, "do": "call", "function": "snapshot", "arguments": [...]}

Requests run side by side, so that a test can pull the stick while usbctl runs.
"""

import base64
import fcntl
import json
import os
import signal
import struct
import subprocess
import sys
import threading
import time
import traceback

import functions
from uevent import Uevents

USERS = {"alice": 3001, "bob": 3002, "carol": 3003}
SESSIONS = {  # in front of the machine; on another terminal of it, not shown; over the network
    "alice": {"XDG_SEAT": "seat0", "XDG_VTNR": "1"},
    "bob": {"XDG_SEAT": "seat0", "XDG_VTNR": "2"},
    "carol": {},
}
BASE_ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "LANG": "C.UTF-8", "TERM": "xterm"}
RNDADDENTROPY, RNDRESEEDCRNG = 0x40085203, 0x5207


def encode(data):
    return base64.b64encode(data).decode()


class Sessions:
    """A logind session for each user, opened at first use: its leader sleeps, commands join its scope."""

    def __init__(self):
        self.lock = threading.Lock()
        self.known = {}

    def get(self, user):
        with self.lock:
            if user not in self.known:
                self.known[user] = self.open(user)
            return self.known[user]

    @staticmethod
    def open(user):
        fifo = f"/run/session-{user}"
        os.mkfifo(fifo)
        os.chmod(fifo, 0o666)
        settings = [f"--setenv={key}={value}" for key, value in SESSIONS[user].items()]
        subprocess.run(
            ["systemd-run", "--quiet", "--collect", f"--unit=session-{user}", f"--uid={user}",
             "--property=PAMName=login", "--setenv=XDG_SESSION_TYPE=tty", "--setenv=XDG_SESSION_CLASS=user",
             *settings, "/bin/sh", "-c", f"echo $$$$ >{fifo}; exec sleep infinity"],
            check=True, stdin=subprocess.DEVNULL)
        with open(fifo) as reading:
            leader = reading.read().strip()
        with open(f"/proc/{leader}/cgroup") as file:
            cgroup = next(line[3:].strip() for line in file if line.startswith("0::"))
        with open(f"/proc/{leader}/environ") as file:
            environment = dict(entry.split("=", 1) for entry in file.read().split("\0") if "=" in entry)
        if not cgroup.endswith(".scope"):
            raise RuntimeError(f"{user} got no session: {cgroup}")
        kept = {k: v for k, v in environment.items() if k.startswith("XDG_") or k == "DBUS_SESSION_BUS_ADDRESS"}
        return f"/sys/fs/cgroup{cgroup}/cgroup.procs", kept


class Agent:
    def __init__(self, port):
        self.port = port
        self.lock = threading.Lock()
        self.sessions = Sessions()

    def answer(self, answer):
        data = json.dumps(answer).encode() + b"\n"
        with self.lock:
            while data:
                data = data[os.write(self.port, data):]

    # ---- what can be asked

    def wake(self, time_now, entropy):
        """After a snapshot was restored: this machine's clock and random numbers are those of its siblings."""
        time.clock_settime_ns(time.CLOCK_REALTIME, time_now)
        pool = base64.b64decode(entropy)
        fd = os.open("/dev/urandom", os.O_RDWR | os.O_CLOEXEC)
        fcntl.ioctl(fd, RNDADDENTROPY, struct.pack("ii", len(pool) * 8, len(pool)) + pool)
        fcntl.ioctl(fd, RNDRESEEDCRNG)
        os.close(fd)

    def session(self, user):
        """Logs a user in, so that a snapshot holds the session."""
        self.sessions.get(user)

    def run(self, arguments, user=None, input=None, env=None, cwd=None, timeout=120):
        environment = dict(BASE_ENVIRONMENT)
        if user in (None, "root"):
            environment |= {"HOME": "/root", "USER": "root", "LOGNAME": "root"}
            become = None
        else:
            procs, session = self.sessions.get(user)
            home, uid = f"/home/{user}", USERS[user]
            environment |= session | {"HOME": home, "USER": user, "LOGNAME": user}
            cwd = cwd or home

            def become():
                with open(procs, "w") as file:
                    file.write("0")
                os.initgroups(user, uid)
                os.setgid(uid)
                os.setuid(uid)

        process = subprocess.Popen(
            [base64.b64decode(argument) for argument in arguments], env=environment | (env or {}), cwd=cwd,
            preexec_fn=become, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL if input is None else subprocess.PIPE)
        late = False
        try:
            out, err = process.communicate(None if input is None else base64.b64decode(input), timeout)
        except subprocess.TimeoutExpired:
            late = True
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
        return {"code": process.returncode, "out": encode(out), "err": encode(err), "late": late}

    @staticmethod
    def call(function, arguments):
        return getattr(functions, function)(*arguments)

    # ----

    def handle(self, request):
        number, what = request.pop("id"), request.pop("do")
        try:
            self.answer({"id": number, "result": getattr(self, what)(**request)})
        except BaseException:  # the test is to see it
            self.answer({"id": number, "error": traceback.format_exc()})

    def serve(self):
        buffer = b""
        while True:
            data = os.read(self.port, 1 << 20)
            if not data:
                # Nobody holds the other end. The port tells nobody when that changes, but poll() does.
                import select
                poll = select.poll()
                poll.register(self.port, select.POLLIN)
                poll.poll(200)
                continue
            buffer += data
            *lines, buffer = buffer.split(b"\n")
            for line in lines:
                if line.strip():
                    threading.Thread(target=self.handle, args=(json.loads(line),), daemon=True).start()


if __name__ == "__main__":
    functions.uevents = Uevents()
    Agent(os.open(sys.argv[1], os.O_RDWR | os.O_CLOEXEC)).serve()
