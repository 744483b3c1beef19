"""The report as one HTML page: no script, nothing fetched, light and dark, and it prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from html import escape
from typing import Any

_NUMBERS = (
    ("upstream_ids", "Listed"),
    ("database_ids", "Held"),
    ("missing", "Missing"),
    ("differing", "Differing"),
    ("gone", "Gone"),
    ("database_unfinished", "Unfinished"),
    ("rejected", "Rejected"),
    ("unlisted", "Unlisted"),
)
_FINDINGS = ("missing", "differing", "gone", "rejected", "unlisted")
_SIGNS = {"complete": "✓", "incomplete": "✗", "unproven": "?"}
_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #57606a; --line: #d0d7de;
  --paper: #ffffff; --band: #f6f8fa; --good: #116329; --bad: #a40e26; --doubt: #7d4e00; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9da7b3; --line: #3d444d;
  --paper: #0d1117; --band: #161b22; --good: #56d364; --bad: #ff7b72; --doubt: #e3b341; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 72rem; padding: 2rem 1.25rem; background: var(--paper);
  color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 .25rem; } h2 { font-size: 1.15rem; margin: 2.25rem 0 .5rem; }
p { margin: .25rem 0 .75rem; max-width: 48rem; } .soft { color: var(--soft); }
.verdict { font-weight: 600; white-space: nowrap; }
.complete { color: var(--good); } .incomplete { color: var(--bad); }
.unproven { color: var(--doubt); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--soft); padding: .25rem 0; }
th, td { padding: .35rem .6rem; border-bottom: 1px solid var(--line); text-align: right;
  vertical-align: top; }
th { font-weight: 600; } thead th { border-bottom-width: 2px; }
.left { text-align: left; } tbody th { white-space: nowrap; }
td.found { font-weight: 700; color: var(--bad); }
.why { text-align: left; min-width: 12rem; }
article { border: 1px solid var(--line); border-radius: 6px; padding: .75rem 1rem;
  margin: .75rem 0; }
article h3 { font-size: 1rem; margin: 0 0 .35rem; }
dl { margin: 0; display: grid; grid-template-columns: 9rem 1fr; gap: .25rem .75rem; }
dt { color: var(--soft); } dd { margin: 0; min-width: 0; }
code { font: 12.5px/1.45 ui-monospace, monospace; overflow-wrap: anywhere; }
pre { background: var(--band); border-radius: 6px; padding: .75rem 1rem; white-space: pre-wrap;
  overflow-wrap: anywhere; font: 12.5px/1.45 ui-monospace, monospace; }
@media (max-width: 40rem) { dl { grid-template-columns: 1fr; } }
@media print {
  @page { size: A4 landscape; margin: 14mm; }
  :root { color-scheme: light; --ink: #000; --soft: #444; --line: #999; --paper: #fff;
    --band: #f3f3f3; --good: #0b4d1f; --bad: #8a0c20; --doubt: #5f3b00; }
  body { max-width: none; padding: 0; font-size: 10.5pt; } .scroll { overflow: visible; }
  thead { display: table-header-group; } tr, article { break-inside: avoid; }
  h2 { break-after: avoid; } code, pre { font-size: 8pt; }
}
"""
_RECOUNT = """\
etl sql "<count>"
etl sql --format csv "<lines>" | tail -n +2 | tr -d '\\r' | LC_ALL=C sort | sha256sum"""

Told = Mapping[str, Any]
Examples = Mapping[str, Sequence[str]]


def page(
    windows: Sequence[tuple[Told, Examples]],
    failures: Mapping[str, str],
    *,
    made_at: str,
    database: str,
    version: str,
) -> str:
    """The whole document; `windows` are told by the names of `report.COLUMNS`."""
    names = list(dict.fromkeys([told["source"] for told, _ in windows] + list(failures)))
    body = [
        "<header><h1>Completeness of the copy</h1>",
        f'<p class="soft">Checked {_text(made_at)} · database {_text(database)} · '
        f"etl {_text(version)}</p>",
        f"<p>{_summary([told for told, _ in windows], failures)}</p></header><main>",
    ]
    for name in names:
        own = [(told, examples) for told, examples in windows if told["source"] == name]
        body.append(_source(name, own, failures.get(name)))
    body += [_method(), _details(windows), "</main>"]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Completeness of the copy, {_text(made_at)}</title><style>{_STYLE}</style></head>\n"
        f"<body>{chr(10).join(body)}</body>\n</html>\n"
    )


def _summary(told: Sequence[Told], failures: Mapping[str, str]) -> str:
    counts = {v: sum(each["verdict"] == v for each in told) for v in _SIGNS}
    parts = [f"{_verdict(word)}: {counts[word]}" for word in _SIGNS if counts[word]]
    parts += [f'<span class="verdict incomplete">failed: {len(failures)}</span>'] * bool(failures)
    return " · ".join(parts) or "Nothing was checked."


def _source(name: str, windows: Sequence[tuple[Told, Examples]], failure: str | None) -> str:
    api = f' <span class="soft">({_text(windows[0][0]["api"])})</span>' if windows else ""
    made = [f"<section><h2>{_text(name)}{api}</h2>"]
    if failure:
        made.append(f'<p class="incomplete">The check did not reach its end: {_text(failure)}</p>')
    if windows:
        heads = "".join(f'<th scope="col">{label}</th>' for _, label in _NUMBERS)
        made.append(
            f'<div class="scroll" role="region" aria-label="Windows of {_text(name)}" tabindex="0">'
            "<table><caption>Calendar months in UTC; listed: by the platform, held: in the "
            'database</caption><thead><tr><th scope="col" class="left">Window</th>'
            f'<th scope="col" class="left">Verdict</th>{heads}'
            '<th scope="col" class="why">Why</th></tr></thead><tbody>'
        )
        made += [_row(told) for told, _ in windows]
        made.append("</tbody></table></div>")
    return "\n".join([*made, "</section>"])


def _row(told: Told) -> str:
    cells = "".join(f"<td{_found(name, told[name])}>{told[name]:,}</td>" for name, _ in _NUMBERS)
    return (
        f'<tr><th scope="row" class="left">{_text(told["window"])}</th>'
        f'<td class="left">{_verdict(told["verdict"])}</td>{cells}'
        f'<td class="why">{_text(told["reason"] or "")}</td></tr>'
    )


def _found(name: str, value: int) -> str:
    return ' class="found"' if value and name in _FINDINGS else ""


def _method() -> str:
    return (
        "<section><h2>How to recount</h2><p>A window is <b>complete</b> when the platform's own "
        "listing proved itself and the database holds the same ids with the same statuses, and "
        "no execution has fewer rows below it than it tells. <b>Unproven</b>: the listing could "
        "not prove itself. A digest is SHA-256 over the lines “id status”, sorted by their "
        "bytes, each ended by a line feed; of a complete window both sides' are equal. Each "
        "window below names the two queries that recount what the database holds:</p>"
        f"<pre>{_text(_RECOUNT)}</pre></section>"
    )


def _details(windows: Sequence[tuple[Told, Examples]]) -> str:
    made = ["<section><h2>Digests and queries</h2>"]
    for told, examples in windows:
        shown = [
            ("Range", f"{_moment(told['since'])} up to {_moment(told['until'])}"),
            ("Platform", f"<code>{_text(told['upstream_digest'])}</code>"),
            ("Database", f"<code>{_text(told['database_digest'])}</code>"),
            ("Count", f"<code>{_text(told['count_sql'])}</code>"),
            ("Lines", f"<code>{_text(told['lines_sql'])}</code>"),
        ]
        shown += [
            (f"For example {kind}", f"<code>{_text(', '.join(ids))}</code>")
            for kind, ids in examples.items()
        ]
        items = "".join(f"<dt>{label}</dt><dd>{value}</dd>" for label, value in shown)
        made.append(
            f"<article><h3>{_text(told['source'])}, {_text(told['window'])}: "
            f"{_verdict(told['verdict'])}</h3><dl>{items}</dl></article>"
        )
    return "\n".join([*made, "</section>"])


def _verdict(word: str) -> str:
    return (
        f'<span class="verdict {word}"><span aria-hidden="true">{_SIGNS[word]}</span> {word}</span>'
    )


def _moment(at: datetime | None) -> str:
    return "the beginning" if at is None else f"{at:%Y-%m-%d %H:%M:%S.%f}".removesuffix(".000000")


def _text(value: object) -> str:
    return escape(str(value))
