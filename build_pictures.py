"""Build the pictures of the documentation: `python build_pictures.py`, with the extra `dev`.

Writes docs/img, one SVG for light and one for dark pages. Terminal sessions are the output of the
real command in a pseudo-terminal, with a scripted provider; the events are those of a real stream;
the bars are the figures of benchmarks/results.json and account.json. `--check` compares instead of
writing.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any

import pyte

ROOT = Path(__file__).parent
IMAGES = ROOT / "docs" / "img"
sys.path[:0] = [str(ROOT / "src"), str(ROOT)]

from pipy_ai import faux, stream  # noqa: E402
from tests.support.doc_pages import scripted_elsewhere  # noqa: E402
from tests.support.terminal import Terminal  # noqa: E402

MONOSPACE = "ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace"
SANS = "system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif"
SCREEN_ROWS = 200
CHAR_WIDTH, LINE_HEIGHT, FONT_SIZE = 8.4, 20, 14  # px
LIGHT = {
    "page": "#ffffff", "panel": "#f6f8fa", "line": "#d0d7de", "default": "#1f2328",
    "muted": "#59636e", "accent": "#0a7d5a", "accent-panel": "#dff5ec", "bar": "#afb8c1",
    "black": "#24292f", "red": "#cf222e", "green": "#116329", "brown": "#7d4e00",
    "blue": "#0550ae", "magenta": "#8250df", "cyan": "#1b7c83", "white": "#57606a",
}  # fmt: skip
DARK = {
    "page": "#0d1117", "panel": "#161b22", "line": "#30363d", "default": "#e6edf3",
    "muted": "#9198a1", "accent": "#2fbf8f", "accent-panel": "#0f2e25", "bar": "#545d68",
    "black": "#6e7681", "red": "#ff7b72", "green": "#3fb950", "brown": "#d29922",
    "blue": "#79c0ff", "magenta": "#d2a8ff", "cyan": "#56d4dd", "white": "#b1bac4",
}  # fmt: skip
THEMES = {"light": LIGHT, "dark": DARK}


def svg(
    width: float, height: float, label: str, theme: dict[str, str], body: Iterable[str], font: str
) -> str:
    """Return an SVG file with a rounded background."""
    classes = "".join(
        f".{name}{{fill:{theme[name]}}}"
        for name in theme
        if name not in ("page", "panel", "line", "accent-panel", "bar")
    )
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}"'
            f' width="{width:g}" height="{height:g}" role="img">',
            f"<title>{escape(label, quote=False)}</title>",
            f"<style>text{{font:{FONT_SIZE}px {font};fill:{theme['default']}}}"
            f"{classes}.bold{{font-weight:700}}.dim{{fill:{theme['muted']}}}"
            ".italic{font-style:italic}.small{font-size:12px}.mid{text-anchor:middle}"
            ".end{text-anchor:end}</style>",
            f'<rect x=".5" y=".5" width="{width - 1:g}" height="{height - 1:g}" rx="8"'
            f' fill="{theme["page"]}" stroke="{theme["line"]}"/>',
            *body,
            "</svg>\n",
        ]
    )


# --- Terminal sessions


@dataclass(frozen=True)
class Session:
    """Commands in a terminal. The answers are expressions of `pipy_ai.faux`, one per request."""

    label: str
    commands: tuple[str, ...]  # the arguments of `pipy`, as in a shell
    answers: str = ""
    typed: tuple[str, ...] = ()  # at the prompt of the last command
    columns: int = 72
    files: dict[str, str] = field(default_factory=dict)


SESSIONS = {
    "ask": Session(
        "pipy answers in a terminal: rendered Markdown, highlighted code, tokens, cost and speed",
        ('-m sonnet "Group a CSV by day?"',),
        r"""reply("With **pandas**, in two lines:\n\n```python\nimport pandas as pd\n\n"
"sales = pd.read_csv(\"sales.csv\", parse_dates=[\"day\"])\n"
"print(sales.groupby(\"day\")[\"total\"].sum())\n```\n\n"
"| library | choose it when |\n| --- | --- |\n| `csv` | you want *no* dependencies |\n"
"| `pandas` | the file fits in memory |\n| `polars` | it does not, or speed matters |\n",
usage(14, 118))""",
    ),
    "chat": Session(
        "pipy chat: a conversation whose model changes half-way",
        ("chat -m sonnet",),
        """reply("The **Bora**: a cold, dry wind of the Adriatic coast.", usage(21, 18))
reply("About 200 km/h in gusts, near Karlobag.", usage(52, 15))""",
        ("Which wind is feared in Trieste?", "/model openai/gpt-5-mini", "How strong is it?"),
    ),
    "tools": Session(
        "pipy ask calls a Python function as a tool, and answers as JSON that fits a schema",
        (
            '-m sonnet --tool weather.py:forecast --yes "Umbrella in Rome?"',
            '-m sonnet --schema "name, age int" "Invent a dog."',
        ),
        """reply(tool("forecast", city="Rome"), usage(310, 42))
reply("No. It stays dry in Rome today, at 22 °C.", usage(371, 17))
reply('{"name": "Bo", "age": 3}', usage(190, 14))""",
        files={
            "weather.py": 'def forecast(city: str) -> str:\n    """Return a forecast."""\n'
            '    return f"dry, 22 °C in {city}"\n'
        },
    ),
    "models": Session(
        "pipy models lists models with prices and limits; pipy cost estimates a request",
        (
            "models --provider openai --sort in --limit 5 --min-context 200k",
            "cost claude-sonnet-4-5 --input 10k --output 2k",
        ),
    ),
}

VARYING = {
    r"\d+\.\d s(  \d+ tok/s)?(?=  |$)": "1.8 s  64 tok/s",
    r"\b\d{8}-\d{6}-[0-9a-f]{8}\b": "20261129-120000-1a2b3c4d",  # a conversation's id
}

Cell = tuple[str, tuple[str, ...]]  # a character and its CSS classes


def record(session: Session) -> list[list[Cell]]:
    """Run the commands of a session and return the rows of its screen."""
    rows: list[list[Cell]] = []
    outer = Path.cwd()
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory) / "you"
        home.mkdir()
        for name, text in session.files.items():
            (home / name).write_text(text)
        os.chdir(home)
        try:
            with scripted_elsewhere(session.answers) as (environment, unused):
                environment |= {"HOME": str(home), "PIPY_OFFLINE": "1"}
                for number, command in enumerate(session.commands):
                    typed = session.typed if command is session.commands[-1] else ()
                    rows += [[]] if number else []
                    if len(command) + 7 > session.columns:
                        raise AssertionError(f"{command} is too long")
                    rows.append([("$", ("accent",)), *((c, ("bold",)) for c in f" pipy {command}")])
                    rows += run_in_terminal(command, environment, session.columns, typed)
                if "".join(char for char, _ in rows[-1]).strip() == ">":
                    rows.pop()  # the prompt at which Ctrl-D was pressed
                if unused():
                    raise AssertionError(f"{session.label}: {unused()} unused answers")
        finally:
            os.chdir(outer)
    return rows


def run_in_terminal(
    command: str, environment: dict[str, str], columns: int, typed: Sequence[str]
) -> list[list[Cell]]:
    """Run `pipy` in a pseudo-terminal and return the rows of the screen with their styles."""
    arguments = ("-c", f"import os; os.execvp('sh', ['sh', '-c', {'pipy ' + command!r}])")
    with Terminal(*arguments, columns=columns, rows=40, env=environment) as terminal:
        for number, line in enumerate([*typed, "\x04"] if typed else []):
            while sum(row.startswith(">") for row in terminal.screen) <= number:
                if not terminal.read(30):
                    raise AssertionError(terminal.text)
            terminal.send(line if line == "\x04" else f"{line}\r")
        if code := terminal.wait():
            raise AssertionError(f"pipy {command}: exit code {code}\n{terminal.text}")
        output = terminal.raw
    # pyte has no dim text, and nothing here blinks.
    output = re.sub(rb"\x1b\[2(?=[m;])", b"\x1b[5", output)
    screen = pyte.Screen(columns, SCREEN_ROWS)
    pyte.ByteStream(screen).feed(output)
    rows = []
    for y in range(screen.cursor.y):
        cells = [cell_of(screen.buffer[y][x]) for x in range(columns)]
        text = "".join(char for char, _ in cells).rstrip()
        rows.append(with_fixed_values(cells[: len(text)]))
    return rows


def cell_of(char: Any) -> Cell:
    """Return a character with the CSS classes of its style."""
    names = [char.fg.removeprefix("bright")] if char.fg != "default" else []
    flags = {"bold": char.bold, "italic": char.italics, "dim": char.blink}
    return char.data, (*names, *(name for name, on in flags.items() if on))


def with_fixed_values(row: list[Cell]) -> list[Cell]:
    """Replace what differs each time by constant values."""
    for pattern, constant in VARYING.items():
        text = "".join(char for char, _ in row)
        if match := re.search(pattern, text):
            classes = row[match.start()][1]
            replaced = [(char, classes) for char in constant]
            row = row[: match.start()] + replaced + row[match.end() :]
    return row


def terminal_svg(label: str, rows: list[list[Cell]], columns: int, theme: dict[str, str]) -> str:
    """Draw the rows of a terminal."""
    left, top = 18, 52
    body = [
        f'<path d="M1 32H{columns * CHAR_WIDTH + 2 * left - 1:g}" stroke="{theme["line"]}"/>',
        *(f'<circle cx="{20 + 18 * n}" cy="17" r="5" fill="{theme["line"]}"/>' for n in range(3)),
    ]
    for y, row in enumerate(rows):
        spans, x = [], 0
        for classes, cells in groupby(row, key=lambda cell: cell[1]):
            text = "".join(char for char, _ in cells)
            for word in re.finditer(r"\S+(?: \S+)*", text):  # two spaces would become one
                # The browser's font may be wider or narrower: `textLength` keeps the columns.
                length = len(word[0]) * CHAR_WIDTH
                spans.append(
                    f'<tspan x="{left + (x + word.start()) * CHAR_WIDTH:g}" textLength="{length:g}"'
                    + (f' class="{" ".join(classes)}"' if classes else "")
                    + f">{escape(word[0], quote=False)}</tspan>"
                )
            x += len(text)
        if spans:
            body.append(f'<text y="{top + y * LINE_HEIGHT}">{"".join(spans)}</text>')
    width, height = columns * CHAR_WIDTH + 2 * left, top + len(rows) * LINE_HEIGHT
    return svg(width, height, label, theme, body, MONOSPACE)


# --- Diagrams


def box(
    x: float, y: float, width: float, height: float, theme: dict[str, str], *lines: str,
    accent: bool = False,
) -> list[str]:  # fmt: skip
    """Draw a box with a title and small lines below it."""
    fill = theme["accent-panel" if accent else "panel"]
    stroke = theme["accent" if accent else "line"]
    styles = ["bold", *["small dim"] * (len(lines) - 1)]
    center, first = x + width / 2, y + height / 2 - 9 * (len(lines) - 1) + 5
    return [
        f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="6" fill="{fill}"'
        f' stroke="{stroke}"/>',
        *(
            f'<text x="{center:g}" y="{first + 18 * n:g}" class="mid {style}">'
            f"{escape(line, quote=False)}</text>"
            for n, (line, style) in enumerate(zip(lines, styles, strict=True))
        ),
    ]


def arrow(x: float, y: float, to_y: float, theme: dict[str, str], label: str = "") -> list[str]:
    """Draw a vertical arrow with a label beside it."""
    tip = 5 if to_y > y else -5
    return [
        f'<path d="M{x:g} {y:g}V{to_y:g}m-4 {-tip}l4 {tip}l4 {-tip}" fill="none"'
        f' stroke="{theme["muted"]}"/>',
        *(
            [f'<text x="{x + 8:g}" y="{(y + to_y) / 2 + 4:g}" class="small dim">{label}</text>']
            if label
            else []
        ),
    ]


def architecture_svg(theme: dict[str, str]) -> str:
    """Draw the parts of the package and the way of a request through them."""
    body = [
        *box(20, 20, 290, 44, theme, "Your Python code"),
        *box(330, 20, 290, 44, theme, "pipy", "ask, chat, batch, models, …"),
        *arrow(165, 64, 96, theme, "messages, tools, options"),
        *arrow(475, 96, 64, theme, "events, cost"),
        *box(20, 96, 600, 54, theme, "complete · stream · run_tools · complete_many",
             "and their async versions; structured output; the tool loop; batches"),
        *arrow(165, 150, 182, theme, "request"),
        *arrow(475, 182, 150, theme, "13 kinds of events"),
        *box(20, 182, 400, 74, theme, "Engine", "timeouts, retries, fallbacks, cancellation",
             "deltas become events; cost and budgets as they arrive", accent=True),
        *box(440, 182, 180, 74, theme, "Catalogue", "models.dev: prices,", "limits, routes, keys"),
        *arrow(107, 256, 290, theme, "direct"),
        *arrow(320, 256, 290, theme, "on demand"),
        *arrow(533, 256, 290, theme),
        *box(20, 290, 190, 112, theme, "Direct transport", "Chat Completions, Responses,",
             "Messages, Gemini, Converse,", "Cohere, Ollama; also on",
             "Azure, Bedrock and Vertex", accent=True),
        *box(225, 290, 190, 112, theme, "LiteLLM", "imported when needed:",
             "watsonx, SageMaker, OCI,", "its Router"),
        *box(430, 290, 190, 112, theme, "In your process", "local/smollm2, faux (tests),",
             "providers you register"),
    ]  # fmt: skip
    label = "Architecture: the API, the engine with the catalogue, and three kinds of providers"
    return svg(640, 422, label, theme, body, SANS)


def request_events() -> list[tuple[str, str, str]]:
    """Return each event of a scripted answer: its type, what it carries, and the blocks so far."""
    answer = faux.reply(
        faux.thinking("Rome?"),
        "Let me see.",
        faux.tool("weather", city="Rome"),
        faux.usage(310, 42),
    )
    events: list[tuple[str, str, str]] = []
    with faux.script(answer), stream("faux/any", "Is it warm in Rome?") as running:
        for event in running:
            carries = repr(delta) if (delta := getattr(event, "delta", "")) else ""
            if event.type == "toolcall_end":
                carries = f"{event.tool_call.name}({event.tool_call.arguments})"
            if event.type == "done":
                usage = event.message.usage
                carries = f"{event.reason}, {usage.total_tokens} tokens"
            message = event.message if event.type == "done" else event.partial
            blocks = [part.type for part in message.content]
            events.append((event.type, carries, " + ".join(blocks)))
    return events


def events_svg(theme: dict[str, str]) -> str:
    """Draw the life of a request: what happens before its events, and the events."""
    phases = ("resolve", "prepare", "send", "stream", "finish")
    notes = (
        "name → route, key",
        "options, messages",
        "retry, fall back",
        "deltas → events",
        "cost, stop reason",
    )
    width = 116
    body: list[str] = []
    for n, (phase, note) in enumerate(zip(phases, notes, strict=True)):
        x = 20 + n * (width + 5)
        body += box(x, 20, width, 50, theme, phase, note, accent=phase == "stream")
    y = 104
    for name, x in (("event", 20), ("it carries", 190), ("blocks of event.partial", 420)):
        body.append(f'<text x="{x}" y="{y}" class="small dim">{name}</text>')
    for kind, carries, blocks in request_events():
        y += 22
        color = "accent" if kind.endswith("delta") else "default"
        body.append(
            f'<text y="{y}"><tspan x="20" class="{color}">{kind}</tspan>'
            f'<tspan x="190">{escape(carries, quote=False)}</tspan>'
            f'<tspan x="420" class="dim">{blocks}</tspan></text>'
        )
    return svg(
        640, y + 20, "Life of a request: its phases and the events of a stream", theme, body, SANS
    )


def bars_svg(title: str, unit: str, values: dict[str, float], theme: dict[str, str]) -> str:
    """Draw horizontal bars, the smallest first."""
    left, right, longest = 170, 90, max(values.values())
    body = [f'<text x="20" y="32" class="bold">{title}</text>']
    for n, (name, value) in enumerate(sorted(values.items(), key=lambda item: item[1])):
        y, ours = 48 + 26 * n, name == "pipy-ai"
        bold = "bold" if ours else ""
        length = max(2.0, (640 - left - right) * value / longest)
        body += [
            f'<text x="{left - 10}" y="{y + 14}" class="end {bold}">{name}</text>',
            f'<rect x="{left}" y="{y}" width="{length:.1f}" height="18" rx="2"'
            f' fill="{theme["accent" if ours else "bar"]}"/>',
            f'<text x="{left + length + 8:.1f}" y="{y + 14}" class="{bold}">'
            f"{value:,.{0 if value > 30 else 1}f} {unit}</text>",
        ]
    return svg(640, 58 + 26 * len(values), title, theme, body, SANS)


def waiting_svg(theme: dict[str, str]) -> str:
    """Draw the table of docs/scale.md: requests per second, and what the streams wait for."""
    text = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
    header, _, *rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text[text.index("| | requests/s") :].split("\n\n")[0].splitlines()
    ]
    parts = dict(zip(header[3:6], ("accent", "brown", "blue"), strict=True))
    left, length, y = 230, 290, 32
    body = [f'<text x="20" y="{y}" class="bold">What 4,000 streams spend their time on</text>']
    x = 20.0
    for name, color in parts.items():
        body.append(f'<rect x="{x:g}" y="46" width="12" height="12" fill="{theme[color]}"/>')
        body.append(
            f'<text x="{x + 18:g}" y="57" class="small dim">{name.removeprefix("for ")}</text>'
        )
        x += 36 + 7 * len(name)
    for n, (name, rate, _, *shares) in enumerate(rows):
        name = name.replace("waiting the 60 s they ask for", "waiting 60 s")
        y, x = 72 + 26 * n, float(left)
        body.append(f'<text x="{left - 10}" y="{y + 14}" class="end small">{name}</text>')
        for share, color in zip(shares, parts.values(), strict=False):
            width = length * int(share.rstrip("%")) / 100
            bar = f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="18"'
            body += [f'{bar} fill="{theme[color]}"/>'] if width else []
            x += width
        rate_x = left + length + 10
        body.append(f'<text x="{rate_x}" y="{y + 14}" class="small">{rate} requests/s</text>')
    label = "What 4,000 streams spend their time on, by deployment, and requests per second"
    return svg(640, y + 36, label, theme, body, SANS)


def account_svg(account: dict[str, Any], theme: dict[str, str]) -> str:
    """Draw the parts of a streamed delta, each where the one before it ends, and those of httpx."""
    title = "Instructions of a streamed delta, in thousands"
    left, length, y = 190, 370, 32
    body = [f'<text x="20" y="{y}" class="bold">{title}</text>']
    for name in ("burst", "paced"):
        parts, httpx = account[name]["parts"], account[name]["httpx"]
        y, start, scale = y + 36, 0, length / httpx
        heading = "In a burst" if name == "burst" else "Paced, one delta per read"
        body.append(f'<text x="20" y="{y}" class="dim">{heading}</text>')
        rows = [*parts.items(), ("pipy-ai", sum(parts.values())), ("raw httpx", httpx)]
        for part, count in rows:
            start = start if part in parts else 0
            x, width = left + start * scale, max(1.0, count * scale)
            y += 22
            bold = "bold" if part == "pipy-ai" else ""
            color = {"raw httpx": "bar", "pipy-ai": "accent"}.get(part, "blue")
            body += [
                f'<text x="{left - 10}" y="{y}" class="end small {bold}">{part}</text>',
                f'<rect x="{x:.1f}" y="{y - 12}" width="{width:.1f}" height="15"'
                f' fill="{theme[color]}"/>',
                f'<text x="{x + width + 8:.1f}" y="{y}" class="small {bold}">'
                f"{count / 1000:.1f}</text>",
            ]
            start += count
    return svg(640, y + 20, title, theme, body, SANS)


def pictures() -> Iterator[tuple[str, str]]:
    """Yield the file name and text of each picture."""
    recorded = {name: record(session) for name, session in SESSIONS.items()}
    charts = json.loads((ROOT / "benchmarks" / "results.json").read_text(encoding="utf-8"))[
        "charts"
    ]
    account = json.loads((ROOT / "benchmarks" / "account.json").read_text(encoding="utf-8"))
    for mode, theme in THEMES.items():
        for name, session in SESSIONS.items():
            svg_text = terminal_svg(session.label, recorded[name], session.columns, theme)
            yield f"{name}-{mode}.svg", svg_text
        yield f"architecture-{mode}.svg", architecture_svg(theme)
        yield f"events-{mode}.svg", events_svg(theme)
        yield f"waiting-{mode}.svg", waiting_svg(theme)
        yield f"delta-{mode}.svg", account_svg(account, theme)
        for name, chart in charts.items():
            yield f"{name}-{mode}.svg", bars_svg(**chart, theme=theme)


def main() -> int:
    """Write or compare all pictures."""
    kept = {"PATH", "HOME", "TMPDIR", "VIRTUAL_ENV"}
    for name in set(os.environ) - kept:  # keys and settings must not show
        del os.environ[name]
    check, stale = "--check" in sys.argv[1:], []
    IMAGES.mkdir(exist_ok=True)
    current = {path.name for path in IMAGES.glob("*.svg")}
    for name, text in pictures():
        path = IMAGES / name
        if name not in current or path.read_text(encoding="utf-8") != text:
            stale.append(name)
            if not check:
                path.write_text(text, encoding="utf-8")
        current.discard(name)
    if check and (stale or current):
        print("stale pictures, run python build_pictures.py:", *stale, *sorted(current))
        return 1
    print(f"{len(stale)} of the pictures changed" if stale else "the pictures are current")
    return 0


if __name__ == "__main__":
    sys.exit(main())
