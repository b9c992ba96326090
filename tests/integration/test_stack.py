# SPDX-License-Identifier: LGPL-2.1-or-later
"""The test bed itself leaves nothing behind on the machine it runs on, however it ends."""

import os
import pathlib
import signal
import subprocess
import sys

import pytest

from testbed import keeper, paths
from testbed.container import Stack
from testbed.stick import Stick

OWNER = """
import sys
sys.path.insert(0, sys.argv[1])
from testbed.container import Stack
from testbed.stick import Stick
stack = Stack.boot(name=sys.argv[2], install=False)
Stick.make(stack, "left").plug(yankable=True).mount()
Stick.make(stack, "too").plug()
print("up", flush=True)
sys.stdin.read()
"""


def left_behind(name):
    """What of a stack is still on the host."""
    found = []
    for backing in pathlib.Path("/sys/block").glob("loop*/loop/backing_file"):
        if f"/sticks/{name}/" in backing.read_text():
            found.append(str(backing))
    found += [line for line in open("/proc/self/mountinfo") if name in line]
    found += [str(path) for path in (paths.STATE / name, paths.sticks() / name,
                                     keeper.cgroup_root() / f"usbcrypt-testbed-{name}") if path.exists()]
    return found


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, None], ids=["crash", "interrupt", "end"])
def test_a_stack_ends_with_its_owner_and_leaves_nothing(how):
    name = f"test-{os.getpid()}-{how}"
    owner = subprocess.Popen([sys.executable, "-c", OWNER, paths.SOURCE / "tests/integration", name],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert owner.stdout.readline() == b"up\n"
    assert left_behind(name)
    if how:
        owner.send_signal(how)
    owner.communicate()
    Stack(name).wait_gone()
    assert not left_behind(name)


def test_two_machines_do_not_see_each_others_sticks(machine, make_stick, bus):
    other = Stack.boot()
    try:
        other.run(["systemctl", "start", "usbcryptd.service"])
        stick = Stick.make(other, "theirs").plug()
        listed = [subprocess.check_output(
            ["busctl", f"--address={stack.bus_address}", "tree", "--list", "org.usbcrypt.UsbCrypt1"], text=True)
            for stack in (machine, other)]
        assert stick.kernel_name not in listed[0] and stick.kernel_name in listed[1]
    finally:
        other.down()


def test_the_end_of_a_machine_leaves_the_others_disks_alone(machine, make_stick):
    """The kernel gives the number of a FUSE connection that is gone to the next one."""
    other = Stack.boot(install=False)
    try:
        pulled = Stick.make(other, "pulled").plug(yankable=True)
        number = os.minor(int(other.shell(f"stat -c %d {pulled.fuse}").stdout))
        pulled.yank()
        stick = make_stick().plug(yankable=True)
        if number != os.minor(int(machine.shell(f"stat -c %d {stick.fuse}").stdout)):
            pytest.skip("somebody else on this machine was given the number")
    finally:
        other.down()
    machine.run(["dd", f"if={stick.device}", "of=/dev/null", "bs=1M", "count=4", "iflag=direct"])


def test_users_are_logged_in_as_they_should_be(machine):
    expected = {"alice": ("yes", "seat0"), "bob": ("no", "seat0"), "carol": ("yes", "")}
    for user, (active, seat) in expected.items():
        session = machine.session(user).id
        shown = machine.run(["loginctl", "show-session", session, "-P", "Active", "-P", "Seat"]).stdout.split("\n")
        assert set(shown[:2]) >= {active} and (seat in shown), (user, shown)
        assert machine.run(["id", "-un"], user=user).stdout.strip() == user
