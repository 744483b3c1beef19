"""What was found of one window: figures, digests, examples and the verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from msgspec import Struct, field
from sqlalchemy import Connection, insert

from etl.ledger.tables import completeness
from etl.source import Doubt
from etl.verify import sheet as s
from etl.verify.ranges import Range
from etl.verify.sheet import Sheet

_EXAMPLES = 5
_FIGURES = (
    *("upstream_total", "upstream_ids", "database_ids", "missing", "differing", "gone"),
    *("database_unfinished", "rejected", "unlisted", "upstream_digest", "database_digest"),
    *("verdict", "reason", "checked_at", "run_id"),
)


class Window(Struct):
    """One calendar month (or the part of it that was copied) of one source, as it stands at the
    end: the figures are those of `completeness`, `short` is how many of `differing` lack rows
    below them, `repaired` and `marked` say what this run mended."""

    source: str
    stream: str
    since: datetime | None
    until: datetime
    upstream_total: int = 0
    upstream_ids: int = 0
    database_ids: int = 0
    missing: int = 0
    differing: int = 0
    short: int = 0
    gone: int = 0
    database_unfinished: int = 0
    rejected: int = 0
    unlisted: int = 0
    upstream_digest: str = ""
    database_digest: str = ""
    verdict: str = "unproven"
    reason: str | None = None
    checked_at: datetime | None = None
    run_id: int | None = None
    repaired: int = 0
    marked: int = 0
    accepted: int = 0
    """Missing ones whose reject was dismissed by hand."""
    examples: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """A few ids of each kind of finding: missing, differing, gone."""

    @property
    def label(self) -> str:
        """The month, with the days where it is not a whole one."""
        if self.since is None:
            return f"before {self.until:%Y-%m-%d}"
        whole = self.since.day == 1 and self.until.day == 1
        if whole and not (_has_time(self.since) or _has_time(self.until)):
            return f"{self.since:%Y-%m}"
        end = f"{self.until:%d %H:%M}" if _has_time(self.until) else f"{self.until:%m-%d}"
        return f"{self.since:%Y-%m-%d} … {end}"

    def count(self, sheet: Sheet, doubts: Sequence[Doubt]) -> None:
        """Takes the figures from what lies on the sheet, and judges them."""
        self.upstream_ids = sheet.count(s.LISTED)
        self.database_ids = sheet.count(s.HELD)
        totals = [doubt.upstream_total for doubt in doubts if doubt.upstream_total is not None]
        self.upstream_total = max(totals, default=self.upstream_ids)
        self.unlisted = sum(doubt.unlisted for doubt in doubts)
        self.missing, self.differing = sheet.count(s.MISSING), sheet.count(s.DIFFERING)
        self.short, self.gone = sheet.count(s.SHORT), sheet.count(s.GONE)
        self.rejected = sheet.count(s.REJECTED)
        self.database_unfinished = sheet.count(s.UNFINISHED)
        self.upstream_digest, self.database_digest = sheet.digest("listed"), sheet.digest("held")
        kinds = (("missing", s.MISSING), ("differing", s.DIFFERING), ("gone", s.GONE))
        shown = {kind: sheet.examples(query, _EXAMPLES) for kind, query in kinds}
        self.examples = {kind: ids for kind, ids in shown.items() if ids}
        self.accepted = sheet.count(s.ACCEPTED)
        self.judge(doubts)

    def judge(self, doubts: Sequence[Doubt]) -> None:
        """Takes verdict and reason from the figures."""
        reasons = [doubt.reason for doubt in doubts]
        if self.missing > self.accepted or self.differing or self.gone:
            self.verdict = "incomplete"
        else:
            self.verdict = "complete"
        if doubts:
            self.verdict = "unproven"
        found = ("missing", "differing", "gone")
        for name in found:
            short = f" ({self.short:,} with fewer rows below than told)" if self.short else ""
            if getattr(self, name):
                detail = short if name == "differing" else ""
                reasons.append(f"{getattr(self, name):,} {name}{detail}")
        if self.rejected:
            reasons.append(f"{self.rejected:,} in quarantine (etl rejects)")
        self.reason = "; ".join(reasons) or None

    def note(self, why: str) -> None:
        """Adds to the reason."""
        self.reason = f"{self.reason}; {why}" if self.reason else why

    def keep(self, connection: Connection) -> None:
        """Writes its row of `completeness`."""
        figures = {name: getattr(self, name) for name in _FIGURES}
        connection.execute(
            insert(completeness).values(
                source=self.source,
                stream=self.stream,
                since=self.since,
                until=self.until,
                **figures,
            )
        )

    @property
    def range(self) -> Range:
        return self.since, self.until


def _has_time(at: datetime) -> bool:
    return bool(at.hour or at.minute or at.second or at.microsecond)
