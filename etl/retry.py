"""Asks the platform again for what is in quarantine; what is right now leaves it."""

from __future__ import annotations

import json
from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from etl.engine import Pass
from etl.ledger import rejects
from etl.ledger.rejects import Kept
from etl.passes import Configured, Outcome, Surroundings, run_pass
from etl.source import Debt, Span


class Retried(Struct, frozen=True):
    """What became of the rejects of one source."""

    outcome: Outcome
    resolved: Sequence[Kept]
    staying: Sequence[Kept]
    """Still rejected, not answered, or without an id that could be asked for."""


def retry(configured: Configured, kept: Sequence[Kept], around: Surroundings) -> Retried:
    """Asks again for the rejects of one source; exit code 1 is for what stays.

    What was dismissed and is asked for is open again: dismissed is not mended.
    """
    kind = configured.source.tables[0].kind
    owed = {
        reject.execution_id: Debt(kind, reject.execution_id, "rejects retry", _hint(reject))
        for reject in kept
        if reject.execution_id is not None
    }

    def work(one: Pass, span: Span) -> None:
        if owed:
            asked = [reject.reject_id for reject in kept if reject.execution_id is not None]
            one.write(lambda writing: rejects.reopen(writing.connection, asked))
            anew = replace(span, fresh=True)
            one.copy(
                configured.source.refresh(one.api, configured.settings, list(owed.values()), anew)
            )

    outcome = run_pass(configured, around, "retry", work)
    with around.database.reading() as connection:
        still = rejects.unwritten(connection, configured.name)
    return Retried(
        outcome,
        [reject for reject in kept if reject.reject_id not in still],
        [reject for reject in kept if reject.reject_id in still],
    )


def _hint(reject: Kept) -> dict[str, object]:
    """The rejected record itself: a platform without a call for one looks for it by its time."""
    payload = json.loads(reject.payload)
    return payload if isinstance(payload, dict) else {}
