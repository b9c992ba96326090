# SPDX-License-Identifier: LGPL-2.1-or-later
"""The figures as a table and as a picture, with the day and the machine."""

import datetime
import html
import os
import platform
import re

BAR, LEFT, LINE = 300, 430, 20


def machine():
    text = open("/proc/cpuinfo", encoding="ascii").read()
    model = re.search(r"model name\s*: (.*)", text)
    memory = int(re.search(r"MemTotal:\s+(\d+)", open("/proc/meminfo", encoding="ascii").read()).group(1))
    return {"date": datetime.date.today().isoformat(), "cores": os.cpu_count(), "kernel": platform.release().split("-")[0],
            "processor": model.group(1) if model else platform.machine(), "memory": f"{memory / (1 << 20):.0f} GiB",
            "load": round(os.getloadavg()[1], 1)}


def headline(about):
    return (f"{about['date']}, {about['cores']} cores ({about['processor']}), {about['memory']}, Linux {about['kernel']}, "
            f"load {about['load']}")


def text_of(figure, key):
    return "" if figure[key] is None else f"{figure[key]:.3g}{figure['unit']}"


def goal_of(figure):
    return "" if figure["goal"] is None else ("≥ " if figure["at_least"] else "≤ ") + text_of(figure, "goal")


VERDICT = {True: "met", False: "missed", None: ""}


def table(figures, about):
    rows = [f"{headline(about)}\n", "| figure | measured | goal | |", "|---|---|---|---|"]
    rows += [f"| {f['name']} | {text_of(f, 'value')} | {goal_of(f)} | {VERDICT[f['met']]} |" for f in figures]
    return "\n".join(rows) + "\n"


def picture(figures, about):
    """Each measured figure as a part of its goal; the goal is the line in the middle."""
    shown = [f for f in figures if f["goal"]]
    width, height = LEFT + BAR + 150, 60 + LINE * len(shown)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
             'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="#fff"/>',
             f'<text x="10" y="20" fill="#444">{html.escape(headline(about))}</text>']
    middle = LEFT + BAR / 2
    for i, f in enumerate(shown):
        y = 35 + LINE * i
        share = f["goal"] / f["value"] if f["at_least"] and f["value"] else f["value"] / f["goal"]
        length = max(1, min(BAR, share * BAR / 2))
        colour = "#3a7d44" if f["met"] else "#c1553b"
        parts.append(f'<text x="{LEFT - 8}" y="{y + 13}" text-anchor="end" fill="#222">{html.escape(f["name"])}</text>'
                     f'<rect x="{LEFT}" y="{y + 2}" width="{length:.0f}" height="{LINE - 6}" fill="{colour}"/>'
                     f'<text x="{LEFT + BAR + 8}" y="{y + 13}" fill="#222">{text_of(f, "value")} '
                     f'({html.escape(goal_of(f))})</text>')
    parts.append(f'<line x1="{middle}" x2="{middle}" y1="30" y2="{height - 18}" stroke="#222" stroke-dasharray="3 3"/>'
                 f'<text x="{middle}" y="{height - 5}" text-anchor="middle" fill="#222">goal</text></svg>')
    return "\n".join(parts) + "\n"


def write(folder, figures, about):
    folder.mkdir(exist_ok=True)
    (folder / "figures.md").write_text(table(figures, about))
    (folder / "figures.svg").write_text(picture(figures, about))
