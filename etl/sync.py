"""The sync: reads on from the cursor less the overlap, then asks again for what is not final."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from etl.engine import Pass
from etl.ledger import debts
from etl.passes import Configured, Outcome, Surroundings, run_pass
from etl.source import Debt, Span

_REFRESH_CHUNK = 100
_DEAR = 5.0
"""Requests that a debt may cost, as long as none tells: the attempts of one call."""


def sync(configured: Configured, around: Surroundings) -> Outcome:
    """One incremental pass over one source."""

    def work(one: Pass, span: Span) -> None:
        one.copy(configured.source.scan(one.api, configured.settings, span))
        _ask_again(configured, one, span, around)

    return run_pass(configured, around, "sync", work)


def sync_all(chosen: Sequence[Configured], around: Surroundings) -> list[Outcome]:
    """All at once: each source has a platform of its own to wait for."""
    with ThreadPoolExecutor(max_workers=max(1, len(chosen)), thread_name_prefix="pass") as pool:
        return list(pool.map(lambda configured: sync(configured, around), chosen))


def _ask_again(configured: Configured, one: Pass, span: Span, around: Surroundings) -> None:
    """The oldest debts first, at most `refresh_limit` requests of a pass."""
    limit = configured.settings.refresh_limit

    def due() -> list[Debt]:
        with around.database.reading() as connection:
            return debts.due(
                connection, configured.name, now=span.now, every=around.all_due, limit=limit
            )

    owed = one.persistence(due)
    before, asked, dearness = one.api.requests, 0, _DEAR
    while asked < len(owed):
        spent = one.api.requests - before
        if spent >= limit:
            return
        some = owed[asked : asked + max(1, min(_REFRESH_CHUNK, int((limit - spent) / dearness)))]
        ask(configured, one, span, some)
        asked += len(some)
        dearness = max(1.0, (one.api.requests - before) / asked)


def ask(configured: Configured, one: Pass, span: Span, owed: Sequence[Debt]) -> None:
    """Asks for `owed` now; what brought no answer is asked again later, not at once."""
    one.notes_answers = True
    one.answered.clear()
    one.copy(configured.source.refresh(one.api, configured.settings, owed, span))
    silent = [debt for debt in owed if debt.id not in one.answered]
    if silent:
        one.write(
            lambda writing: debts.add(
                writing.connection, one.seat.source, silent, terms=one.terms, now=writing.stamp
            )
        )
