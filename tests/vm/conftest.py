# SPDX-License-Identifier: LGPL-2.1-or-later
"""One snapshot for the whole suite, machines that start from it, a table of what was seen at the end. As many processes
share the tests as there are processors (pytest-xdist): emulation of one machine keeps one of them busy."""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import pytest

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent), str(pathlib.Path(__file__).resolve().parent / "guest")]

from machine import paths
from machine.drive import Drive
from machine.shared import Shared
from machine.stick import Stick
from machine.vm import Factory

# filesystem in the table -> (filesystem, mounted by udisks2 with its options)
KINDS = {
    "vfat": ("vfat", False), "vfat+udisks": ("vfat", True),
    "exfat": ("exfat", False), "exfat+udisks": ("exfat", True),
    "ext4": ("ext4", False), "ntfs": ("ntfs", False), "ntfs+udisks": ("ntfs", True),
}


EXPLORER = ["tests/fault/worker.py", "daemon/util/outcome.h", "daemon/util/report.h", "daemon/protocol/record.h"]


def install(stage):
    """As a user would, for a package or an image: `make install DESTDIR=`."""
    shutil.rmtree(stage, ignore_errors=True)
    subprocess.run(["make", "-s", "-C", str(paths.SOURCE), f"O={paths.build()}", f"DESTDIR={stage}", "install"],
                   check=True, stdout=subprocess.DEVNULL)
    # What test_power_cuts.py needs to speak with a worker: not a part of the product.
    for name in EXPLORER:
        target = pathlib.Path(stage) / "usr/local/lib/explore" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(paths.SOURCE / name, target)


@pytest.fixture(scope="session")
def shared():
    return Shared(pathlib.Path(os.environ["VM_SCRATCH"]) / "shared")


@pytest.fixture(scope="session")
def factory(shared):
    if not (paths.image() / "initrd").exists():
        pytest.fail(f"there is no machine in {paths.image()}: make vm-image")
    stage = shared.folder / "stage"
    shared.get("installed", lambda: install(stage))
    factory = Factory(tempfile.mkdtemp(dir=os.environ["VM_SCRATCH"]), stage, shared)
    yield factory
    factory.clear()


@pytest.fixture
def make_vm(factory, request):
    """make_vm() -> a machine with no sticks in it. None that saw a failure is used again."""
    yield factory.make
    if getattr(request.node, "failed", False):
        factory.clear()
    for vm in factory.machines[:]:
        factory.release(vm)


@pytest.fixture
def vm(make_vm):
    return make_vm()


@pytest.fixture
def folder(factory, tmp_path_factory):
    """For images: in memory, emptied at the end."""
    path = factory.folder / "sticks"
    path.mkdir()
    yield path
    shutil.rmtree(path)


@pytest.fixture
def make_drive(folder, make_vm):
    """make_drive("vfat+udisks", ...) -> Drive, not plugged yet. Machines go before its image does."""
    drives = []

    def make(kind, options=None, **stick):
        filesystem, by_udisks = KINDS[kind]
        drives.append(Drive(Stick.make(folder / f"{len(drives)}.img", filesystem, label=f"STICK{len(drives)}", **stick),
                            by_udisks, options))
        return drives[-1]

    return make


class Templates:
    """Enrolled sticks with a tree on them, plain and encrypted: made once for each filesystem, copied for each test."""

    def __init__(self, factory):
        self.factory, self.folder = factory, factory.shared.folder

    def image(self, filesystem, encrypted):
        return self.folder / f"{filesystem}-{'encrypted' if encrypted else 'plain'}"

    def make(self, filesystem):
        """Returns what the tree must be when it is plain."""
        drive = Drive(Stick.make(self.image(filesystem, True), filesystem))
        drive.plug(vm := self.factory.make())
        drive.call("make_tree")
        drive.call("make_many", "album", 60, 20000, "photo", 60)
        drive.call("make_many", "letters", 40, 3000)
        drive.enroll()
        drive.unplug()
        self.copy(drive.stick.image, self.image(filesystem, False))
        drive.plug(vm)
        before = drive.snapshot()
        drive.unlock()
        drive.encrypt()
        drive.unplug()
        self.factory.release(vm)
        return before

    @staticmethod
    def copy(image, copy):
        subprocess.run(["cp", "--sparse=always", str(image), str(copy)], check=True)
        return copy

    def get(self, kind, encrypted, image):
        """Returns (Drive, what its tree must be when it is plain)."""
        filesystem, by_udisks = KINDS[kind]
        before = self.factory.shared.get(f"template-{filesystem}", lambda: self.make(filesystem))
        return Drive(Stick(self.copy(self.image(filesystem, encrypted), image), filesystem), by_udisks), before


@pytest.fixture(scope="session")
def templates(factory):
    return Templates(factory)


@pytest.fixture
def enrolled(templates, folder, make_vm):
    """enrolled("vfat+udisks", encrypted=True) -> (Drive, before): not plugged, enrolled, with a tree."""
    counter = iter(range(100))
    return lambda kind, encrypted=False: templates.get(kind, encrypted, folder / f"enrolled-{next(counter)}")


# ---- what is printed at the end; reports carry it from the process that ran the test to the one that prints

ORDER = ["roundtrip", "power_cuts", "interruptions", "costs", "suspend", "limits", "desktop", "sticks"]
KEEP = os.environ.get("VM_KEEP")  # a folder for what failed and what was measured
RESULTS = []  # (filesystem, scenario, result, seconds)
TABLES = []  # (title, the head's lines, rows): what tests measured


@pytest.fixture
def tables(request):
    request.node.tables = []
    return request.node.tables


def scenario_of(item):
    """Its row's name: (filesystem, what holds)."""
    values = dict(item.callspec.params) if hasattr(item, "callspec") else {}
    kind = values.pop("kind", None) or "-"
    more = [("nearly full" if value else "roomy") if name == "near_full" else str(value) for name, value in values.items()]
    return kind, item.originalname.removeprefix("test_").replace("_", " ") + (f" [{', '.join(more)}]" if more else "")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    report.scenario, report.tables = scenario_of(item), getattr(item, "tables", [])
    item.failed = getattr(item, "failed", False) or report.failed
    if report.failed and report.when == "call" and "factory" in item.fixturenames:
        for number, machine in enumerate(item.funcargs["factory"].machines):
            if machine.alive:
                try:
                    text = machine.journal() + "\n---- dmesg\n" + machine.kernel_messages()[-3000:]
                except Exception as error:  # it is wedged, and that is part of the failure
                    text = f"it does not answer: {error}"
                report.sections.append((f"machine {number}", text))


def pytest_runtest_logreport(report):
    if "PYTEST_XDIST_WORKER" in os.environ:  # told here too
        return
    if report.when == "call" or report.failed or report.skipped:
        # A process that died has its report made by xdist.
        scenario = getattr(report, "scenario", ("-", report.nodeid))
        RESULTS.append((*scenario, "passed" if report.passed else "skipped" if report.skipped else "FAILED",
                        report.duration))
    if report.when == "call":
        TABLES.extend(report.tables)
    if KEEP and (report.failed or report.when == "call" and report.tables):  # now: the end may be an hour away
        with open(os.path.join(KEEP, "log"), "a") as file:
            print(report.nodeid, report.outcome, report.longreprtext, *(text for _, text in report.sections), report.tables,
                  sep="\n", file=file)


def pytest_terminal_summary(terminalreporter, config):
    write = terminalreporter.write_line
    if not RESULTS:
        return
    terminalreporter.section("scenarios")
    width = max(len(scenario) for _, scenario, _, _ in RESULTS)
    write(f"{'filesystem':<14}{'scenario':<{width + 2}}{'result':<9}{'seconds':>7}")
    for kind, scenario, result, seconds in RESULTS:
        write(f"{kind:<14}{scenario:<{width + 2}}{result:<9}{seconds:7.1f}")
    for title in dict.fromkeys(title for title, _, _ in TABLES):
        write(f"\n{title}\n")
        for index, (_, head, rows) in enumerate(table for table in TABLES if table[0] == title):
            for line in () if index else head:
                write(line)
            for row in rows:
                write("| " + " | ".join(str(cell) for cell in row) + " |")


def pytest_collection_modifyitems(items):
    """What everybody does first, then what takes longest: so that two processes come to their ends together."""
    items.sort(key=lambda item: ORDER.index(item.path.stem.removeprefix("test_")))


def pytest_configure(config):
    config.addinivalue_line("markers", "long: not in CI's subset")
    if not os.environ.get("VM_LONG") and not config.option.markexpr:
        config.option.markexpr = "not long"
    if not hasattr(config, "workerinput"):  # the first process; the others inherit its environment
        os.environ["VM_SCRATCH"] = str(paths.scratch())


def pytest_unconfigure(config):
    if not hasattr(config, "workerinput"):
        shutil.rmtree(os.environ["VM_SCRATCH"], ignore_errors=True)
