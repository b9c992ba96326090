# SPDX-License-Identifier: LGPL-2.1-or-later
"""The daemon when there is nothing to do, and how soon it knows a new drive; udisksd beside it."""

import json
import os
import pathlib
import statistics
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration"))

MINUTE, PLUGS = 60, 5
WATCHDOG = "it tells systemd's watchdog that it lives"
DAEMONS = {
    "usbcryptd": ("usbcryptd.service", "org.usbcrypt.UsbCrypt1"),
    "udisksd": ("udisks2.service", "org.freedesktop.UDisks2"),
}


class Arrivals(threading.Thread):
    """When a program first said that something arrived: each line of its output with its time."""

    def __init__(self, process):
        super().__init__(daemon=True)
        self.process, self.lines, self.news = process, [], threading.Condition()
        self.start()

    def run(self):
        for line in self.process.stdout:
            with self.news:
                self.lines.append((time.monotonic(), line))
                self.news.notify_all()

    def wait(self, what, found, timeout=20):
        deadline = time.monotonic() + timeout
        with self.news:
            while True:
                for at, line in self.lines:
                    if found(line):
                        return at
                if not self.news.wait(deadline - time.monotonic()):
                    raise TimeoutError(f"nobody said: {what}")


def main_pid(stack, unit):
    return int(stack.run(["systemctl", "show", "-P", "MainPID", unit]).stdout)


def processes(stack, unit):
    group = stack.run(["systemctl", "show", "-P", "ControlGroup", unit]).stdout.strip()
    return [int(p) for p in stack.run(["cat", f"/sys/fs/cgroup{group}/cgroup.procs"]).stdout.split()]


def in_status(stack, unit, field):
    """A field of each thread of a unit's main process: {thread: value}. Their ids are the machine's own."""
    text = stack.shell('cat /proc/$1/task/*/status', arguments=[str(main_pid(stack, unit))]).stdout
    threads = (dict(line.split(":", 1) for line in ("Name:" + part).splitlines()) for part in text.split("Name:")[1:])
    return {thread["Pid"].strip(): int(thread[field].split()[0]) for thread in threads}


def measure(table, build):
    os.environ["O"] = str(build)
    from testbed.container import Stack  # pylint: disable=import-outside-toplevel
    from testbed.stick import Stick  # pylint: disable=import-outside-toplevel

    raw = {name: {} for name in DAEMONS}
    stack = Stack.boot()
    try:
        present = {}
        for name, (unit, bus_name) in DAEMONS.items():
            started = stack.run(["systemctl", "start", unit], check=False)
            if started.returncode == 0:
                present[name] = (unit, bus_name)
        for name, (unit, _) in present.items():
            raw[name]["rss"] = max(in_status(stack, unit, "VmRSS").values()) * 1024
            raw[name]["switches"] = in_status(stack, unit, "voluntary_ctxt_switches")
        time.sleep(MINUTE)  # the measurement itself: nothing happens, and how often do they wake?
        for name, (unit, _) in present.items():
            before = raw[name].pop("switches")  # of threads that have ended since nothing is known
            raw[name]["wakeups"] = sum(count - before.get(thread, 0) for thread, count in
                                       in_status(stack, unit, "voluntary_ctxt_switches").items())
        raw["plugs"] = [plug(stack, Stick, present, i) for i in range(PLUGS)]
    finally:
        stack.down()
    for name in present:
        own = name == "usbcryptd"
        table.add(f"{name}, idle: resident memory", raw[name]["rss"] / (1 << 20), unit=" MiB")
        table.add(f"{name}, idle: wake-ups in a minute", raw[name]["wakeups"], 0 if own else None, note=WATCHDOG)
        delays = [p[name] for p in raw["plugs"] if name in p]
        table.add(f"{name}: from udev's event to the object on the bus", statistics.median(delays) * 1000,
                  50 if own else None, " ms")
    return raw


def plug(stack, Stick, present, number):
    """The seconds between udev's event and each daemon's InterfacesAdded."""
    stick = Stick.make(stack, f"bench{number}")
    address = f"--address={stack.bus_address}"
    watchers = {}
    try:
        udev = Arrivals(stack.popen(["stdbuf", "-oL", "udevadm", "monitor", "--udev", "--subsystem-match=block"],
                                    stdout=subprocess.PIPE, text=True))
        for name, (_, bus_name) in present.items():
            watchers[name] = Arrivals(subprocess.Popen(
                ["busctl", address, "--json=short", "monitor", "--match",
                 f"type='signal',sender='{bus_name}',member='InterfacesAdded'"],
                stdout=subprocess.PIPE, text=True, stderr=subprocess.DEVNULL))
        udev.wait("udevadm listens", lambda line: "UDEV" in line)
        time.sleep(0.5)  # busctl says nothing when it begins to listen
        stick.plug()
        kernel_name = stick.kernel_name
        event = udev.wait("udev's event", lambda line: " add " in line and f"/{kernel_name} " in line)
        found = {}
        for name, watcher in watchers.items():
            found[name] = watcher.wait(name, lambda line: kernel_name in line and json.loads(line)) - event
        return found
    finally:
        for watcher in (*watchers.values(), udev):
            watcher.process.terminate()
            watcher.process.wait()
        if stick.loop:
            stick.unplug()
        stick.discard()
