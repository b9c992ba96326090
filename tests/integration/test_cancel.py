# SPDX-License-Identifier: LGPL-2.1-or-later
"""A run that is told to stop does so soon, and cleanly: every file is whole in one form, nothing is pending, nothing else
lies about."""

import time

import pytest

from testbed import tree
from testbed.bus import TRANSACTION
from testbed.drive import CANCELLED, DONE, INTERRUPTED, end

# A batch on the slow stick: a third of what is free there, in files of 80,000 bytes.
BATCH = 45


def stopped_cleanly(drive, before):
    assert drive.properties["Pending"] == ""
    tree.assert_whole(drive.files, before)
    assert tree.plain(drive.files) and tree.encrypted(drive.files), "that was no middle"
    drive.decrypt()
    tree.assert_same(before, tree.snapshot(drive.files))


@pytest.mark.parametrize("filesystem", ["ext4", "exfat"])
@pytest.mark.parametrize("verb", ["encrypt", "decrypt"])
def test_cancel_stops_within_a_batch(slow, bus, filesystem, verb):
    drive, before = slow(filesystem)
    if verb == "decrypt":
        drive.encrypt()
    running = drive.begin(verb)
    transaction = drive.wait_running(20)
    begin = time.monotonic()
    bus.call(transaction["path"], TRANSACTION, "Cancel", "a{sv}", "0")
    result = end(running, expect=CANCELLED)
    took = time.monotonic() - begin
    done = result.counts["encrypted" if verb == "encrypt" else "decrypted"]
    print(f"\n{filesystem}, {verb}: cancelled at {transaction['FilesDone']} of {transaction['FilesTotal']} files, ended after "
          f"{took:.2f} s with {done}")
    assert result.result == "Cancelled" and done <= transaction["FilesDone"] + BATCH
    stopped_cleanly(drive, before)


def test_ctrl_c_stops_it(machine, slow):
    drive, before = slow()
    with machine.terminal(["usbctl", "encrypt", drive.stick.device], user="alice") as terminal:
        drive.wait_running(10)
        terminal.send(b"\x03")
        terminal.expect(b"Cancelling; every file stays whole")
        assert terminal.finish() == CANCELLED
        assert b"Nothing is pending" in terminal.seen
    stopped_cleanly(drive, before)


def test_a_second_ctrl_c_leaves_it_to_itself(machine, slow, bus):
    """usbctl does not wait for a drive that does not answer. The run stops when it does again."""
    drive, before = slow()
    with machine.terminal(["usbctl", "encrypt", drive.stick.device], user="alice") as terminal:
        transaction = drive.wait_running(10)["path"]
        with drive.stick.standing_still():
            terminal.send(b"\x03")
            terminal.expect(b"Press Ctrl-C again to leave it to itself")
            terminal.send(b"\x03")
            assert terminal.finish() == CANCELLED
            assert b"The run goes on in the background" in terminal.seen
            assert bus.objects()[transaction][TRANSACTION]["State"] == "cancelling"

    def ended():
        properties = bus.objects()[transaction][TRANSACTION]
        return properties if properties["State"] == "ended" else None
    assert bus.wait("the run ends", ended, timeout=60)["Result"] == "Cancelled"
    stopped_cleanly(drive, before)


def test_a_terminated_client_cancels_its_run(machine, slow):
    """As when a session or a machine is shut down."""
    drive, before = slow()
    running = drive.begin("encrypt")
    drive.wait_running(10)
    machine.run(["pkill", "-TERM", "-x", "usbctl"])
    assert end(running, expect=CANCELLED).result == "Cancelled"
    stopped_cleanly(drive, before)


@pytest.mark.parametrize("mode", ["resume", "rollback"])
def test_a_cancelled_recovery_goes_on_later(machine, slow, bus, mode):
    """What was pending is pending still, or done; never lost."""
    drive, before = slow()
    running = drive.begin("encrypt")
    drive.wait_running(60)
    machine.run(["pkill", "-KILL", "-x", "usbcrypt-worker", "-u", "alice"])
    end(running, expect=INTERRUPTED)
    running = drive.begin("recover", f"--{mode}")
    transaction = drive.wait_running(5)
    bus.call(transaction["path"], TRANSACTION, "Cancel", "a{sv}", "0")
    result = end(running, expect=None)
    assert result.code in (CANCELLED, INTERRUPTED)
    assert (result.code == CANCELLED) == (drive.properties["Pending"] == "")
    if result.code == CANCELLED:
        tree.assert_whole(drive.files, before)
    drive.recover("settle")
    tree.assert_whole(drive.files, before)
    drive.decrypt()
    tree.assert_same(before, tree.snapshot(drive.files))
