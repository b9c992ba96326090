# SPDX-License-Identifier: LGPL-2.1-or-later
"""A stick and the people who use it: usbctl as one of them, and what the bus says of it."""

import json

from testbed.bus import NOT_KNOWN

PASSPHRASE = "correct 7 horse battery"

# usbctl's exit codes, which scripts rely on.
DONE, FAILED, USAGE, WRONG_PASSPHRASE, NOT_AUTHORIZED, PARTIAL, INTERRUPTED, NO_SUCH_DRIVE, UNREACHABLE, \
    CANCELLED = range(10)


class Result:
    """How a usbctl --json ended. `document` is its last line, `progress` the lines before it."""

    def __init__(self, done):
        self.code, self.out, self.err = done.returncode, done.stdout, done.stderr
        lines = [json.loads(line) for line in self.out.splitlines() if line.strip()]
        self.document = lines[-1] if lines else {}
        self.progress = lines[:-1]

    @property
    def result(self):
        return self.document.get("result")

    @property
    def counts(self):
        return self.document.get("counts", {})

    @property
    def failures(self):
        """{path: reason}; paths that are not UTF-8 are bytes."""
        return {bytes.fromhex(f["path_bytes"]) if "path_bytes" in f else f["path"]: f["reason"]
                for f in self.document.get("failures", [])}

    def __repr__(self):
        return f"exit {self.code}\n{self.out}\n{self.err}"


def usbctl(stack, *arguments, user="alice", kind=None, passphrase=None, expect=DONE, timeout=120, **options):
    """Runs usbctl --json to its end and checks its exit code (`expect` None: any)."""
    command = ["usbctl", *arguments, "--json"]
    if passphrase is not None:
        command += ["--passphrase-file", "-"]
    done = stack.run(command, user=user, kind=kind, input=passphrase, check=False, timeout=timeout, **options)
    result = Result(done)
    assert expect is None or result.code == expect, f"{command}: expected exit {expect}, got {result}"
    return result


class Drive:
    def __init__(self, stick, bus):
        self.stick, self.bus = stick, bus

    # ---- the bus

    @property
    def properties(self):
        return self.bus.drive(self.stick.device)

    def wait(self, what, condition, timeout=30):
        """Waits until the drive's properties meet a condition."""
        def met():
            properties = self.properties
            return properties if properties and condition(properties) else None
        return self.bus.wait(what, met, timeout)

    def wait_known(self):
        """Waits until the daemon has looked at the mounted drive."""
        return self.wait("the drive is mounted and was looked at",
                         lambda p: p["MountPoints"] and p["Owner"] != NOT_KNOWN)

    def wait_running(self, done=1, timeout=60):
        """Waits until a run on it is in full swing: at least that many files are done."""
        begun = []

        def met():
            transaction = self.bus.transaction(self.stick.device)
            if transaction:
                begun.append(transaction)
                return transaction if transaction["FilesDone"] >= done else None
            assert not begun, f"it was over before it could be caught; last seen: {begun[-1]}"
            return None
        return self.bus.wait(f"a run has done {done} files", met, timeout)

    # ---- the stick

    @property
    def files(self):
        return self.stick.files

    def plug(self, mount=None, **options):
        self.stick.plug(**options)
        self.stick.mount(**(mount or {}))
        self.wait_known()
        return self

    def replug(self, mount=None, **options):
        self.stick.unmount()
        self.stick.unplug()
        return self.plug(mount, **options)

    # ---- usbctl

    def usbctl(self, verb, *arguments, **options):
        return usbctl(self.stick.stack, verb, self.stick.device, *arguments, **options)

    def enroll(self, *arguments, passphrase=PASSPHRASE, **options):
        return self.usbctl("enroll", *arguments, passphrase=passphrase, **options)

    def unlock(self, *arguments, passphrase=PASSPHRASE, **options):
        return self.usbctl("unlock", *arguments, passphrase=passphrase, **options)

    def lock(self, *arguments, **options):
        return self.usbctl("lock", *arguments, **options)

    def encrypt(self, *arguments, **options):
        return self.usbctl("encrypt", *arguments, **options)

    def decrypt(self, *arguments, **options):
        return self.usbctl("decrypt", *arguments, **options)

    def recover(self, mode, *arguments, **options):
        return self.usbctl("recover", f"--{mode}", *arguments, **options)

    def verify(self, *arguments, **options):
        return self.usbctl("verify", *arguments, **options)

    def begin(self, verb, *arguments, user="alice", **options):
        """Starts a usbctl and leaves it running; its result comes from end()."""
        import subprocess
        return self.stick.stack.popen(["usbctl", verb, self.stick.device, *arguments, "--json"], user=user,
                                      stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def end(process, expect=None, timeout=60):
    out, err = process.communicate(timeout=timeout)
    process.stdout, process.stderr = out, err
    result = Result(process)
    assert expect is None or result.code == expect, f"expected exit {expect}, got {result}"
    return result
