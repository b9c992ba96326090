# SPDX-License-Identifier: LGPL-2.1-or-later
"""A virtual machine with a USB bus. Booted once, then restored from a snapshot for every test."""

import base64
import concurrent.futures as futures
import os
import pathlib
import secrets
import socket
import subprocess
import time

from machine import paths
from machine.agent import Agent, AgentError
from machine.qmp import Qmp, QmpError
from machine.stick import Stick

MEMORY = "1024M"
# Emulated AVX2 makes the key derivation four times slower than emulated SSE.
CPU = "max,-avx,-avx2"
BOOT_SECONDS_MAX = 240
CONFIGURATION = "KdfMemory=64M\nPassphraseAttempts=50\n"


def wait_socket(path, process, timeout):
    """Waits until QEMU listens there."""
    deadline = time.monotonic() + timeout
    while process.poll() is None and time.monotonic() < deadline:
        probe = socket.socket(socket.AF_UNIX)
        try:
            probe.connect(str(path))
            return
        except OSError:
            try:
                process.wait(0.02)
            except subprocess.TimeoutExpired:
                pass
        finally:
            probe.close()
    raise QmpError("QEMU did not start")


class Vm:
    def __init__(self, folder, stage=None, state=None, display=()):
        """Boots (state None) or restores. `stage`: what `make install` made."""
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.sticks = []
        self.reusable = True
        self.state = state
        image = paths.image()
        qmp, agent = self.folder / "qmp", self.folder / "agent"
        command = [
            "nice", "-n", "5", "qemu-system-x86_64", "-M", "q35", "-accel", "tcg,thread=multi,tb-size=512", "-cpu", CPU,
            "-smp", "2", "-m", MEMORY, "-nodefaults", "-no-user-config", "-no-reboot",
            "-display", "none", "-serial", f"file:{self.folder}/console",
            "-kernel", str(image / "vmlinuz"), "-initrd", str(image / "initrd"),
            "-append", "console=ttyS0 panic=1 quiet loglevel=4 systemd.show_status=0 rd.systemd.show_status=0 "
                       "secretmem.enable=1 mitigations=off nowatchdog",
            "-drive", f"if=none,id=root,format=raw,readonly=on,file={image}/root.squashfs",
            "-device", "virtio-blk-pci,drive=root", "-device", "virtio-rng-pci",
            "-device", "virtio-serial-pci", "-chardev", f"socket,id=agent,path={agent},server=on,wait=off",
            "-device", "virtserialport,chardev=agent,name=agent",
            "-fsdev", f"local,id=stage,path={stage or self.folder},security_model=none,readonly=on",
            "-device", "virtio-9p-pci,fsdev=stage,mount_tag=stage",
            "-device", "qemu-xhci,id=xhci,p2=8,p3=8",
            "-chardev", f"socket,id=qmp,path={qmp},server=on,wait=off", "-mon", "chardev=qmp,mode=control",
        ]
        if state:
            command += ["-incoming", "defer"]
        with open(self.folder / "qemu.log", "ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_socket(qmp, self.process, 60)
        self.qmp = Qmp(qmp)
        if state:
            self.resume()
        self.agent = Agent(agent)
        try:
            self.wake(BOOT_SECONDS_MAX)
        except BaseException as error:
            console = (self.folder / "console").read_text(errors="replace")[-3000:]
            self.kill()
            if not isinstance(error, Exception):  # ^C
                raise
            raise AgentError(f"no answer from the machine: {error}\n{console}") from error

    def resume(self):
        """It was saved while it stood still: waits until it is read, and lets it run."""
        self.qmp.run("migrate-set-capabilities", capabilities=[{"capability": "events", "state": True}])
        self.qmp.run("migrate-incoming", uri=f"exec:cat {self.state}")
        while self.qmp.wait_event("MIGRATION", 60)["status"] != "completed":
            pass
        self.qmp.run("cont")

    def wake(self, timeout):
        self.agent.begin("wake", time_now=time.time_ns(), entropy=base64.b64encode(os.urandom(64)).decode()) \
            .result(timeout)

    # ---- beginning and end

    @classmethod
    def boot(cls, folder, stage):
        """Boots, and installs the product as a user would."""
        vm = cls(folder, stage)
        vm.agent.shell("""
            mkdir -p /mnt/stage
            mount -t 9p -o trans=virtio,version=9p2000.L,ro,msize=262144 stage /mnt/stage
            cp -a /mnt/stage/. /
            umount /mnt/stage
            printf "$1" >/etc/usbcrypt/usbcryptd.conf
            systemd-sysusers
            systemctl daemon-reload
            udevadm control -R
            busctl call org.freedesktop.DBus /org/freedesktop/DBus org.freedesktop.DBus ReloadConfig
            """, CONFIGURATION.replace("\n", "\\n"))
        return vm

    def prepare(self):
        """What costs time in every test and changes nothing for it: people logged in, services that run anyway."""
        for user in ("alice", "bob"):
            self.agent.begin("session", user=user).result(120)
        self.agent.run(["systemctl", "start", "polkit", "udisks2"])
        for filesystem in ("vfat", "exfat"):  # modules and programs that are read from the slow disk once
            stick = Stick.make(self.folder / filesystem, filesystem)
            stick.plug(self)
            stick.mount_by_udisks()
            self.agent.run(["usbctl", "list", "--json"], user="alice")
            self.agent.run(["udisksctl", "unmount", "-b", stick.node], user="alice")
            stick.pull()
            os.unlink(stick.image)
        # It starts by itself when a stick is plugged in.
        self.agent.shell("systemctl stop usbcryptd; systemctl is-system-running --wait", check=False)

    def save(self, state):
        """Saves it to a file, and ends it."""
        self.qmp.run("stop")
        self.qmp.run("migrate-set-capabilities", capabilities=[{"capability": "events", "state": True}])
        self.qmp.run("migrate-set-parameters", max_bandwidth=1 << 40)
        self.qmp.run("migrate", uri=f"exec:cat >{state}.new")
        while (status := self.qmp.wait_event("MIGRATION", 120)["status"]) not in ("completed", "failed"):
            pass
        if status != "completed":
            raise QmpError(f"no snapshot: {self.qmp.run('query-migrate')}")
        self.kill()
        os.rename(f"{state}.new", state)

    def kill(self):
        """The power goes: what QEMU was given to write is in the images, what the guest had in memory is not."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for stick in self.sticks[:]:
            stick.forget()
        for end in (getattr(self, "qmp", None), getattr(self, "agent", None)):
            if end:
                end.close()

    def reset(self):
        """Takes out its sticks, and everything else that a test has left."""
        for stick in self.sticks[:]:
            stick.pull()
        self.call("reset")

    @property
    def alive(self):
        return self.process.poll() is None

    # ---- shorthands

    def run(self, *arguments, **options):
        return self.agent.run(*arguments, **options)

    def shell(self, *arguments, **options):
        return self.agent.shell(*arguments, **options)

    def call(self, *arguments, **options):
        return self.agent.call(*arguments, **options)

    def journal(self):
        return self.shell("journalctl --no-pager -o short-monotonic -b | grep -v 'vm kernel: ' | tail -n 60", check=False).out

    def kernel_messages(self):
        """What the kernel said that bodes ill of a filesystem."""
        return self.run(["dmesg", "--notime"]).out


class Factory:
    """Machines for a test session, all from one snapshot. One that a test has left in order serves the next one: emulation
    is quickest with code that it has translated already."""

    def __init__(self, folder, stage, shared):
        """`folder`: for this process alone; `shared`: with the others, the snapshot is made once."""
        self.folder, self.stage, self.shared = pathlib.Path(folder), stage, shared
        self.state = shared.folder / "state"
        self.machines, self.idle = [], []

    def boot(self):
        vm = Vm.boot(self.folder / "first", self.stage)
        self.machines.append(vm)
        vm.prepare()
        vm.save(self.state)
        self.machines.remove(vm)

    def make(self):
        self.shared.get("booted", self.boot)
        if self.idle:
            vm = self.idle.pop()
            vm.qmp.run("cont")
            vm.wake(60)
        else:
            vm = Vm(self.folder / secrets.token_hex(4), self.stage, self.state)
        self.machines.append(vm)
        return vm

    def release(self, vm):
        """It is not needed any more. Stands still until it is."""
        self.machines.remove(vm)
        try:
            if vm.reusable:
                vm.reset()
                vm.qmp.run("stop")
                self.idle.append(vm)
                return
        except (AgentError, QmpError, OSError, futures.TimeoutError):  # its power was cut, or it hangs
            pass
        vm.kill()

    def clear(self):
        for vm in self.machines + self.idle:
            vm.kill()
        self.machines.clear()
        self.idle.clear()
