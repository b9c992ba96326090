# SPDX-License-Identifier: LGPL-2.1-or-later
"""A stick in a machine, as the person who plugged it in sees it."""

import json

PASSPHRASE = "correct 7 horse battery"
DONE, FAILED, USAGE, WRONG_PASSPHRASE, NOT_AUTHORIZED, PARTIAL, INTERRUPTED, NO_SUCH_DRIVE, UNREACHABLE, \
    CANCELLED = range(10)


class Result:
    """How a usbctl --json ended."""

    def __init__(self, done):
        self.done, self.code = done, done.code
        lines = [json.loads(line) for line in done.out.splitlines() if line.strip()]
        self.document = lines[-1] if lines else {}

    @property
    def counts(self):
        return self.document.get("counts", {})

    @property
    def result(self):
        return self.document.get("result")

    @property
    def failures(self):
        return {failure.get("path", failure.get("path_bytes")): failure["reason"]
                for failure in self.document.get("failures", [])}

    def __repr__(self):
        return str(self.done)


class Run:
    """A usbctl that is under way."""

    def __init__(self, future):
        self.future = future

    def end(self, expect=None, timeout=300):
        result = Result(self.future.result(timeout))
        assert expect is None or result.code == expect, f"expected exit {expect}: {result}"
        return result


class Drive:
    def __init__(self, stick, by_udisks=False, options=None):
        self.stick, self.by_udisks, self.options = stick, by_udisks, options
        self.point = None

    @property
    def vm(self):
        return self.stick.vm

    # ---- plug, mount

    def plug(self, vm, mount=True, **options):
        self.stick.plug(vm, **options)
        if mount:
            self.mount()
        return self

    def mount(self, wait=True):
        self.point = self.stick.mount_by_udisks() if self.by_udisks else \
            self.stick.mount_by_root(options=self.options)
        if wait:
            self.wait(Size=None)
        return self

    def unmount(self):
        if self.by_udisks:
            self.vm.run(["udisksctl", "unmount", "--block-device", self.stick.node, "--no-user-interaction"],
                        user="alice")
        else:
            self.vm.run(["umount", self.point])

    def unplug(self):
        """Unmounts it and takes it out, as one should."""
        self.unmount()
        self.stick.pull()
        return self

    def yank(self):
        self.stick.pull()
        return self

    def carry_to(self, vm, **options):
        self.unplug()
        return self.plug(vm, **options)

    # ---- files

    def call(self, function, *arguments, **options):
        return self.vm.call(function, self.point, *arguments, **options)

    def snapshot(self):
        return self.call("snapshot")

    def names(self):
        return self.call("names")

    # ---- the daemon

    def wait(self, timeout=60, **properties):
        """Waits until the daemon's drive has these properties; None: any that is true."""
        return self.vm.call("wait_drive", self.stick.node, properties, timeout)

    @property
    def properties(self):
        return self.vm.call("drive_properties", self.stick.node)

    # ---- usbctl

    def begin(self, verb, *arguments, user="alice", passphrase=None, timeout=300):
        command = ["usbctl", verb, self.stick.node, *arguments, "--json"]
        if passphrase is not None:
            command += ["--passphrase-file", "-"]
        return Run(self.vm.agent.start(command, user=user, input=passphrase, timeout=timeout))

    def usbctl(self, verb, *arguments, expect=DONE, timeout=300, **options):
        return self.begin(verb, *arguments, timeout=timeout, **options).end(expect, timeout + 30)

    def enroll(self, *arguments, passphrase=PASSPHRASE, **options):
        return self.usbctl("enroll", *arguments, passphrase=passphrase, **options)

    def unlock(self, *arguments, passphrase=PASSPHRASE, **options):
        return self.usbctl("unlock", *arguments, passphrase=passphrase, **options)

    def encrypt(self, *arguments, **options):
        return self.usbctl("encrypt", *arguments, **options)

    def decrypt(self, *arguments, **options):
        return self.usbctl("decrypt", *arguments, **options)

    def verify(self, *arguments, **options):
        return self.usbctl("verify", *arguments, **options)

    def recover(self, mode, *arguments, **options):
        return self.usbctl("recover", f"--{mode}", *arguments, **options)
