# SPDX-License-Identifier: LGPL-2.1-or-later
"""Plug in, a prompt appears, type, unlocked: the agent with Debian's pinentry on a pseudo-terminal."""

import contextlib
import os
import socket

import pytest

from testbed.drive import DONE, PASSPHRASE, Drive

AGENT = ["usbctl", "agent", "--pinentry", "pinentry-curses"]


@contextlib.contextmanager
def running(machine, user):
    """An agent on a terminal of the user's, registered: it tells whoever started it, as systemd would be told."""
    path = f"/run/testbed/agent-{user}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(f"{machine.root}{path}")
        os.chmod(f"{machine.root}{path}", 0o666)
        notify.settimeout(20)
        try:
            with machine.terminal(AGENT, user=user, env={"NOTIFY_SOCKET": path}) as terminal:
                assert b"READY=1" in notify.recv(4096)
                yield terminal
        finally:
            os.unlink(f"{machine.root}{path}")


@pytest.fixture
def agent(machine):
    with running(machine, "alice") as terminal:
        yield terminal


@pytest.fixture
def carried(make_drive):
    """An enrolled drive of alice's, unplugged."""
    drive = make_drive()
    drive.enroll()
    drive.stick.unmount()
    drive.stick.unplug()
    return drive


def type_passphrase(terminal, text):
    terminal.expect(rb"Passphrase:")
    terminal.wait_echo_off()
    terminal.send(text.encode() + b"\r")


def test_plug_in_type_unlocked(agent, carried):
    carried.plug()
    prompt = agent.expect(rb"Please enter the passphrase")
    assert prompt
    type_passphrase(agent, PASSPHRASE)
    carried.wait("it is unlocked", lambda p: not p["Locked"])
    assert PASSPHRASE.encode() not in agent.seen


def test_a_typing_error_is_asked_again(agent, carried):
    carried.plug()
    type_passphrase(agent, "not 7 this battery")
    agent.expect(rb"does not open")
    type_passphrase(agent, PASSPHRASE)
    carried.wait("it is unlocked", lambda p: not p["Locked"])


def test_cancelling_leaves_it_locked_and_asks_no_more(agent, carried):
    carried.plug()
    agent.expect(rb"Passphrase:")
    agent.wait_echo_off()
    agent.send(b"\t\t\r")  # to the button, and press it
    agent.expect(rb"left locked")
    assert carried.properties["Locked"]


def test_pulling_it_out_takes_the_prompt_away(agent, carried):
    carried.stick.plug(yankable=True)
    carried.stick.mount()
    agent.expect(rb"Passphrase:")
    carried.stick.yank()
    carried.plug()
    # A fresh prompt, for the drive that is there now.
    type_passphrase(agent, PASSPHRASE)
    carried.wait("it is unlocked", lambda p: not p["Locked"])


def test_a_drive_that_is_not_enrolled_is_no_question(agent, make_drive, carried):
    make_drive()
    carried.plug()
    shown = agent.expect(rb"\((/dev/\w+)")
    assert shown[1].decode() == carried.stick.device
    type_passphrase(agent, PASSPHRASE)
    carried.wait("it is unlocked", lambda p: not p["Locked"])


def test_another_users_drive_is_no_question(machine, agent, make_stick, carried, bus):
    stick = make_stick("exfat", owner="bob")
    other = Drive(stick, bus).plug()
    other.enroll(user="root")
    other.lock(user="root")
    other.replug()
    carried.plug()
    shown = agent.expect(rb"\((/dev/\w+)")
    assert shown[1].decode() == carried.stick.device
    type_passphrase(agent, PASSPHRASE)
    carried.wait("it is unlocked", lambda p: not p["Locked"])
    assert other.properties["Locked"]


def test_one_agent_for_each_user(machine, agent):
    second = machine.run(AGENT, user="alice", check=False, timeout=20)
    assert second.returncode == DONE and "Another agent" in second.stderr
    # Another user's does not stand in its way.
    with running(machine, "bob"):
        pass


def test_the_user_unit_is_a_good_one(machine):
    machine.run(["systemd-analyze", "verify", "--user", "usbcrypt-agent.service"], user="alice")


UNIT = "usbcrypt-agent.service"

# What a desktop's own units do: graphical-session.target is not for starting by hand. It is up after the agent is, if
# the agent is to come up with it.
DESKTOP = f"""[Unit]
BindsTo=graphical-session.target
After=graphical-session.target {UNIT}
"""


@pytest.fixture
def user_manager(machine):
    """alice's own systemd, and a terminal of hers on which nothing else reads; the agent's unit as it is installed."""
    def systemctl(*arguments, **options):
        return machine.run(["systemctl", "--user", *arguments], user="alice", **options)

    units = "/home/alice/.config/systemd/user"
    machine.shell(f'mkdir -p {units}; printf %s "$1" >{units}/desktop.target', arguments=[DESKTOP], user="alice")
    with machine.terminal(["sleep", "infinity"], user="alice") as terminal:
        systemctl("daemon-reload")
        systemctl("set-environment", f"GPG_TTY={terminal.name}")
        try:
            yield systemctl, terminal
        finally:
            systemctl("stop", "desktop.target", "graphical-session.target", UNIT)
            systemctl("disable", UNIT)
            systemctl("unset-environment", "GPG_TTY")
            machine.run(["rm", "-r", units], user="alice")
            systemctl("daemon-reload")
            systemctl("reset-failed")


def is_prompted(machine, terminal, drive):
    """Plugs it in: the prompt appears on the terminal; typed into, it unlocks."""
    drive.plug()
    shown = terminal.expect(rb"\((/dev/\w+)")
    assert shown[1].decode() == drive.stick.device
    type_passphrase(terminal, PASSPHRASE)
    drive.wait("it is unlocked", lambda p: not p["Locked"])
    assert "horse battery" not in machine.run(["journalctl", "--no-pager", "-o", "export"]).stdout
    return True


def test_the_user_unit_asks_once_it_is_enabled_and_started(machine, user_manager, carried):
    """As README.md has it."""
    systemctl, terminal = user_manager
    systemctl("enable", "--now", UNIT)
    assert is_prompted(machine, terminal, carried)
    # A second agent leaves it to this one; as a service it would not be started again and again.
    second = machine.run(["systemd-run", "--user", "--wait", "--collect", "--quiet", "--property=Type=notify", "usbctl",
                          "agent"], user="alice", check=False)
    assert second.returncode == DONE


def test_the_user_unit_comes_and_goes_with_the_desktop(machine, user_manager, carried):
    systemctl, terminal = user_manager
    systemctl("enable", UNIT)
    assert systemctl("is-active", UNIT, check=False).stdout.strip() == "inactive"
    systemctl("start", "desktop.target")
    assert systemctl("is-active", UNIT).stdout.strip() == "active"
    assert is_prompted(machine, terminal, carried)
    systemctl("stop", "graphical-session.target")
    assert systemctl("is-active", UNIT, check=False).stdout.strip() == "inactive"
