# SPDX-License-Identifier: LGPL-2.1-or-later
"""How soon usbcryptd answers while two drives are being encrypted and decrypted: the worst of many property reads."""

import contextlib
import os
import pathlib
import statistics
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration"))

READS = 20000
DRIVES = 2
FILES = [8192] * 1000 + [16 << 20]
OWNER = 3001


class Runs(threading.Thread):
    """Encrypts and decrypts a drive in turns, until it is told to stop."""

    def __init__(self, drive):
        super().__init__(daemon=True)
        self.drive, self.stopped, self.ended, self.failure = drive, threading.Event(), 0, None

    def run(self):
        try:
            while not self.stopped.is_set():
                for verb in (self.drive.encrypt, self.drive.decrypt):
                    verb(timeout=1800)
                    self.ended += 1
        except BaseException as error:  # pylint: disable=broad-exception-caught
            self.failure = error


def names(bus):
    """Every property of every drive and of every transaction that runs: (path, interface, name)."""
    from testbed.bus import DRIVE, TRANSACTION  # pylint: disable=import-outside-toplevel
    found = []
    for path, interfaces in bus.objects().items():
        for interface in (DRIVE, TRANSACTION):
            properties = interfaces.get(interface, {})
            if properties.get("State") != "ended":
                found += [(path, interface, name) for name in properties]
    return found


def read(bus, runs):
    """The seconds that each of READS reads took; and as many questions to the bus itself, which tell what of it is the
    machine's: whoever is asked has to wait for a processor."""
    times, bus_times = [], []
    with bus.connection() as connection:
        while len(times) < READS:
            # Transactions come and go: which there are is looked up now and then.
            for path, interface, name in names(bus) * 20:
                begin = time.monotonic()
                connection.get(path, interface, name)
                between = time.monotonic()
                connection.ping()
                times.append(between - begin)
                bus_times.append(time.monotonic() - between)
            for run in runs:
                if run.failure:
                    raise run.failure
    return times, bus_times


def summary(times):
    times = sorted(t * 1000 for t in times)
    return {"questions": len(times), "median": statistics.median(times), "99.9 %": times[len(times) * 999 // 1000],
            "worst": times[-1], "worst ten": times[-10:]}


def under_load(stack, plug):
    from testbed import tree  # pylint: disable=import-outside-toplevel
    from testbed.bus import Bus  # pylint: disable=import-outside-toplevel
    from testbed.drive import Drive  # pylint: disable=import-outside-toplevel
    from testbed.stick import MIB, Stick  # pylint: disable=import-outside-toplevel

    bus, runs = Bus(stack), []
    with contextlib.ExitStack() as sticks:
        for i in range(DRIVES):
            stick = Stick.make(stack, f"busy{i}", "ext4", 128 * MIB)
            sticks.callback(stick.discard)
            drive = Drive(stick, bus).plug(**plug)
            for number, size in enumerate(FILES):
                tree.write(drive.files, f"folder {number // 100}/file {number}", os.urandom(size))
            tree.give(drive.files, OWNER)
            drive.enroll()
            runs.append(Runs(drive))
        for run in runs:
            run.start()
        times, bus_times = read(bus, runs)
        for run in runs:
            run.stopped.set()
        for run in runs:
            run.join()
            assert run.ended, "nothing was being encrypted"
    return {"usbcryptd": summary(times), "the bus": summary(bus_times), "runs": [run.ended for run in runs]}


def measure(table, build):
    os.environ["O"] = str(build)
    from testbed.container import Stack  # pylint: disable=import-outside-toplevel
    from testbed.stick import SLOW  # pylint: disable=import-outside-toplevel

    raw = {}
    stack = Stack.boot()
    try:
        for device, plug in (("memory", {}), ("slow sticks", SLOW)):
            raw[device] = under_load(stack, plug)
            own, bus = raw[device]["usbcryptd"], raw[device]["the bus"]
            table.add(f"{device}: median of {own['questions']:,}", own["median"], unit=" ms")
            table.add(f"{device}: 99.9 %", own["99.9 %"], unit=" ms")
            table.add(f"{device}: worst", own["worst"], 50, " ms", note="waiting for a processor: see the bus alone")
            table.add(f"{device}: worst of the bus alone, to compare", bus["worst"], unit=" ms")
    finally:
        stack.down()
    return raw
