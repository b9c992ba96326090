# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who may do what: alice sits at the machine, bob is logged in elsewhere on it, carol came over the network."""

import json

import pytest

from testbed import tree
from testbed.bus import PATH
from testbed.drive import DONE, FAILED, NOT_AUTHORIZED, PASSPHRASE, WRONG_PASSPHRASE, usbctl
from testbed.stick import MIB

OTHERS = ["bob", "carol"]

# Every method with a side effect, as the interface has it; the passphrase is a pipe. Run as the user, inside.
WALK = r"""
import dbus, json, os, sys
drive, transaction, password = sys.argv[1:4]
bus = dbus.SystemBus()
name = "org.usbcrypt.UsbCrypt1"
none = dbus.Dictionary({}, signature="sv")
paths = dbus.Array([], signature="ay")

def passphrase():
    read, write = os.pipe()
    os.write(write, password.encode())
    os.close(write)
    return dbus.types.UnixFd(read)

calls = [
    (drive, "Drive", "Enroll", lambda: (passphrase(), none)),
    (drive, "Drive", "Unenroll", lambda: (passphrase(), none)),
    (drive, "Drive", "Unlock", lambda: (passphrase(), none)),
    (drive, "Drive", "Lock", lambda: (none,)),
    (drive, "Drive", "Survey", lambda: (none,)),
    (drive, "Drive", "Encrypt", lambda: (paths, none)),
    (drive, "Drive", "Decrypt", lambda: (paths, none)),
    (drive, "Drive", "Verify", lambda: (paths, none)),
    (drive, "Drive", "Recover", lambda: ("resume", none)),
    (transaction, "Transaction", "Cancel", lambda: (none,)),
    (transaction, "Transaction", "GetFailures", lambda: (dbus.UInt32(0), dbus.UInt32(10), none)),
]
answers = {}
for path, interface, member, arguments in calls:
    proxy = dbus.Interface(bus.get_object(name, path, introspect=False), f"{name}.{interface}")
    try:
        proxy.get_dbus_method(member)(*arguments())
        answers[f"{interface}.{member}"] = "allowed"
    except dbus.DBusException as error:
        answers[f"{interface}.{member}"] = error.get_dbus_name()
print(json.dumps(answers))
"""


def methods_of_the_interface(machine):
    """Every method that is on the bus, so that none is forgotten above."""
    import xml.etree.ElementTree as ElementTree
    from testbed.paths import SOURCE
    root = ElementTree.parse(SOURCE / "dbus/org.usbcrypt.UsbCrypt1.xml").getroot()
    return {f"{interface.get('name').rsplit('.', 1)[1]}.{method.get('name')}"
            for interface in root.findall("interface") for method in interface.findall("method")}


def ended_transaction(drive):
    tree.make(drive.files, sizes=[100])
    drive.usbctl("status")
    return next(path for path, interfaces in drive.bus.objects().items()
                if "org.usbcrypt.UsbCrypt1.Transaction" in interfaces
                and interfaces["org.usbcrypt.UsbCrypt1.Transaction"]["Drive"] == drive.properties["path"])


@pytest.mark.parametrize("user", OTHERS)
def test_nobody_else_may_use_any_method(machine, enrolled, user):
    transaction = ended_transaction(enrolled)
    before = tree.snapshot(enrolled.files)
    keys = {copy: (enrolled.files / f".usbcrypt/{copy}/drive.json").read_bytes() for copy in "ab"}
    answers = json.loads(machine.run(
        ["python3", "-c", WALK, enrolled.properties["path"], transaction, PASSPHRASE], user=user).stdout)
    assert set(answers) == methods_of_the_interface(machine) - \
        {"Manager.FindDrives", "Manager.RegisterAgent", "Manager.LockAll"}
    for member, answer in answers.items():
        assert answer == "org.usbcrypt.UsbCrypt1.Error.NotAuthorized", (member, answer)
    assert not enrolled.properties["Locked"], "bob must not be able to lock alice's drive"
    tree.assert_same(before, tree.snapshot(enrolled.files))
    assert keys == {copy: (enrolled.files / f".usbcrypt/{copy}/drive.json").read_bytes() for copy in "ab"}


@pytest.mark.parametrize("user", OTHERS)
def test_usbctl_says_not_authorised_with_exit_4(enrolled, user):
    enrolled.unlock(user=user, expect=NOT_AUTHORIZED)
    enrolled.encrypt(user=user, expect=NOT_AUTHORIZED)
    enrolled.lock(user=user, expect=NOT_AUTHORIZED)


def test_lock_all_of_another_user_locks_nothing_of_alices(machine, enrolled):
    usbctl(machine, "lock", "--all", user="bob", expect=None)
    assert not enrolled.properties["Locked"]


@pytest.mark.parametrize("user", OTHERS)
def test_a_drive_of_ones_own_needs_a_seat_too(make_drive, user):
    """The passphrase protects the drive, polkit the machine: who is not in front of it is asked for an
    administrator's password, and there is nobody to type it."""
    drive = make_drive(owner=user)
    drive.enroll(user=user, expect=NOT_AUTHORIZED)
    assert not (drive.files / ".usbcrypt").exists()


def test_with_a_seat_another_users_drive_is_refused_too(make_drive):
    drive = make_drive("exfat", owner="bob")
    drive.enroll(user="alice", expect=NOT_AUTHORIZED)


def test_a_rule_of_the_administrator_lets_bob_in(machine, make_drive):
    rule = machine.root / "etc/polkit-1/rules.d/10-testbed.rules"
    drive = make_drive(owner="bob")
    tree.write(drive.files, "file", b"bob's")
    tree.give(drive.files, 3002)
    staged = machine.root / "etc/polkit-1/.10-testbed.rules"
    staged.write_text("""polkit.addRule(function(action, subject) {
        if (action.id.indexOf("org.usbcrypt.usbcrypt1.") == 0 && subject.user == "bob") return "yes"; });""")
    staged.chmod(0o644)
    try:
        with PolkitChange(machine):
            staged.rename(rule)
        drive.enroll(user="bob")
        drive.encrypt(user="bob")
        assert not tree.plain(drive.files)
        drive.decrypt(user="bob")
        assert (drive.files / "file").read_bytes() == b"bob's"
    finally:
        with PolkitChange(machine):
            rule.unlink()


class PolkitChange:
    """Waits until polkit has noticed that its rules changed: it says so on the bus."""

    def __init__(self, machine):
        self.machine = machine

    def __enter__(self):
        import subprocess
        self.process = subprocess.Popen(
            ["busctl", f"--address={self.machine.bus_address}", "--json=short", "monitor", "--match",
             "type='signal',interface='org.freedesktop.PolicyKit1.Authority',member='Changed'"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert b"Monitoring" in self.process.stderr.readline()

    def __exit__(self, *_):
        import select
        try:
            assert select.select([self.process.stdout], [], [], 20)[0], "polkit did not notice"
        finally:
            self.process.kill()
            self.process.communicate()


def test_root_may_always(enrolled):
    enrolled.lock(user="root")
    enrolled.unlock(user="root")
    enrolled.unlock(user="root", passphrase="not 7 this battery", expect=WRONG_PASSPHRASE)


def test_what_runs_is_the_caller(machine, enrolled):
    """A run of alice's can only do what alice could: it says by name what that leaves out."""
    path = tree.write(enrolled.files, "roots own", b"not alice's", mode=0o600)
    tree.write(enrolled.files, "hers", b"alice's")
    import os
    os.chown(enrolled.files / "hers", 3001, 3001)
    result = enrolled.encrypt(expect=FAILED)
    assert result.result == "UnfitFiles"
    assert set(result.failures) == {"roots own"}
    assert (enrolled.files / "hers").exists(), "nothing is changed before that is clear"
    result = enrolled.encrypt("--skip-unfit", expect=5)
    assert set(result.failures) == {"roots own"}
    assert (enrolled.files / "hers.ucr").exists()
    assert open(path, "rb").read() == b"not alice's"


def test_failures_are_the_owners_and_roots_alone(machine, enrolled):
    tree.write(enrolled.files, "secret name", b"x", mode=0o600)
    enrolled.encrypt(expect=FAILED)
    objects = enrolled.bus.objects()
    path = max((p for p, i in objects.items() if "org.usbcrypt.UsbCrypt1.Transaction" in i),
               key=lambda p: int(p.rsplit("/", 1)[1]))
    call = ["busctl", "--json=short", "call", "org.usbcrypt.UsbCrypt1", path,
            "org.usbcrypt.UsbCrypt1.Transaction", "GetFailures", "uua{sv}", "0", "10", "0"]
    assert "not-writable" in machine.run(call, user="alice").stdout or \
        "unreadable" in machine.run(call, user="alice").stdout
    machine.run(call, user="root")
    for user in OTHERS:
        denied = machine.run(call, user=user, check=False)
        assert denied.returncode and "not allowed" in denied.stderr.lower() + denied.stdout.lower()


def test_counts_are_public_and_names_are_not(machine, enrolled):
    tree.write(enrolled.files, "a very secret name", b"x" * 100)
    tree.give(enrolled.files, 3001)
    enrolled.encrypt()
    public = machine.run(["busctl", "--json=short", "call", "org.usbcrypt.UsbCrypt1", PATH,
                          "org.freedesktop.DBus.ObjectManager", "GetManagedObjects"], user="carol").stdout
    assert "encrypted" in public and "secret name" not in public


def test_without_polkit_the_answer_is_no(machine, drive):
    machine.run(["systemctl", "mask", "--runtime", "--now", "polkit.service"])
    try:
        result = drive.enroll(expect=None)
        assert result.code != DONE
        assert not (drive.files / ".usbcrypt").exists()
    finally:
        machine.run(["systemctl", "unmask", "--runtime", "polkit.service"])
        machine.run(["systemctl", "start", "polkit.service"])
    drive.enroll()


def test_an_administrators_password_lets_carol_in(machine, make_drive):
    """The text agent that usbctl brings along, typed into."""
    drive = make_drive(owner="carol")
    machine.shell("echo root:the-roots-password | chpasswd")
    machine.shell('printf %s "$1" >/home/carol/secret; chown carol /home/carol/secret', arguments=[PASSPHRASE])
    with machine.terminal(["usbctl", "enroll", "--passphrase-file", "/home/carol/secret"], user="carol") as terminal:
        terminal.expect(rb"(?i)password: ?$")
        terminal.wait_echo_off()
        terminal.send(b"the-roots-password\n")
        terminal.expect(rb"is enrolled", timeout=60)
        assert terminal.finish() == DONE
    assert drive.properties["Enrolled"]


def test_a_client_that_leaves_while_polkit_asks_changes_nothing(machine, make_drive, bus):
    drive = make_drive(owner="carol")
    machine.shell('printf %s "$1" >/home/carol/secret; chown carol /home/carol/secret', arguments=[PASSPHRASE])
    machine.shell("echo root:the-roots-password | chpasswd")
    terminal = machine.terminal(["usbctl", "enroll", "--passphrase-file", "/home/carol/secret"], user="carol")
    with terminal:
        terminal.expect(rb"(?i)password: ?$")
        # While it asks, others are served.
        usbctl(machine, "list", timeout=5)
    usbctl(machine, "list")
    assert not drive.properties["Enrolled"] and not (drive.files / ".usbcrypt").exists()
    # And the drive is free again.
    drive.enroll(user="root")
