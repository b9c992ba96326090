# SPDX-License-Identifier: LGPL-2.1-or-later
"""The figures as a table and as a picture. Each workload has the day, the machine and its load beside it: they may be
measured one at a time, and what was measured before stays."""

import datetime
import html
import json
import os
import platform
import re

LEFT, BAR, RIGHT, LINE = 330, 300, 190, 20
CLIP = 2  # a bar ends at so many times its goal
BEGIN, END = "<!-- make bench writes this table -->", "<!-- the table ends -->"


def machine():
    text = open("/proc/cpuinfo", encoding="ascii").read()
    model = re.search(r"model name\s*: (.*)", text)
    memory = int(re.search(r"MemTotal:\s+(\d+)", open("/proc/meminfo", encoding="ascii").read()).group(1))
    return {"date": datetime.date.today().isoformat(), "cores": os.cpu_count(), "kernel": platform.release().split("-")[0],
            "processor": model.group(1) if model else platform.machine(), "memory": f"{memory / (1 << 20):.0f} GiB",
            "load": round(os.getloadavg()[0], 1)}


def about(machine_):
    return f"{machine_['cores']} cores ({machine_['processor']}), {machine_['memory']}, Linux {machine_['kernel']}"


def when(machine_):
    return machine_["date"] + (f", beside other work: load {machine_['load']}" if machine_["load"] > 0.5 else "")


def text_of(figure, key):
    value = figure[key]
    if value is None:
        return ""
    return (f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}") + figure["unit"]


def goal_of(figure):
    return "" if figure["goal"] is None else ("≥ " if figure["at_least"] else "≤ ") + text_of(figure, "goal")


VERDICT = {True: "met", False: "missed", None: ""}


def verdict(figure):
    why = f": {figure['note']}" if figure["met"] is False and figure["note"] else ""
    return VERDICT[figure["met"]] + why


def table(works):
    rows = ["| figure | measured | goal | |", "|---|---|---|---|"]
    for work in works.values():
        rows.append(f"| **{work['title']}** ({when(work['machine'])}) | | | |")
        rows += [f"| {f['name']} | {text_of(f, 'value')} | {goal_of(f)} | {verdict(f)} |" for f in work["figures"]]
    machines = sorted({about(work["machine"]) for work in works.values()})
    return "\n".join([*rows, "", *(f"{m}." for m in machines)]) + "\n"


def bar(figure, y):
    """A figure as a part of its goal, which is the line in the middle."""
    if figure["at_least"]:
        share = figure["goal"] / figure["value"] if figure["value"] else CLIP
    else:
        share = figure["value"] / figure["goal"] if figure["goal"] else figure["value"] + 1
    length = max(2, min(CLIP, share) * BAR / CLIP)
    colour = "#3a7d44" if figure["met"] else "#c1553b"
    return (f'<text x="{LEFT - 8}" y="{y + 13}" text-anchor="end" fill="#222">{html.escape(figure["name"])}</text>'
            f'<rect x="{LEFT}" y="{y + 2}" width="{length:.0f}" height="{LINE - 6}" fill="{colour}"/>'
            f'<text x="{LEFT + BAR + 8}" y="{y + 13}" fill="#222">{html.escape(text_of(figure, "value"))} '
            f'({html.escape(goal_of(figure))})</text>')


def picture(works):
    parts, y = [], 28
    for work in works.values():
        figures = [f for f in work["figures"] if f["goal"] is not None]
        if not figures:
            continue
        parts.append(f'<text x="10" y="{y + 15}" font-weight="bold" fill="#222">{html.escape(work["title"])}</text>')
        y += LINE + 2
        for figure in figures:
            parts.append(bar(figure, y))
            y += LINE
        y += 6
    middle, width, height = LEFT + BAR // CLIP, LEFT + BAR + RIGHT, y + 8
    head = (f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
            'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="#fff"/>')
    line = (f'<text x="{middle}" y="18" text-anchor="middle" fill="#222">goal</text>'
            f'<line x1="{middle}" x2="{middle}" y1="24" y2="{height - 4}" stroke="#222" stroke-dasharray="3 3"/>')
    return "\n".join([head, *parts, line, "</svg>"]) + "\n"


def write(folder, readme, measured, order):
    """Puts what was measured now beside what was measured before, and all of it into the README."""
    folder.mkdir(exist_ok=True)
    kept = folder / "figures.json"
    works = json.loads(kept.read_text()) if kept.exists() else {}
    works |= measured
    works = {work: works[work] for work in order if work in works}
    kept.write_text(json.dumps(works, indent=1, ensure_ascii=False) + "\n")
    (folder / "figures.svg").write_text(picture(works))
    before, _, rest = readme.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    readme.write_text(f"{before}{BEGIN}\n{table(works)}{END}{after}")
