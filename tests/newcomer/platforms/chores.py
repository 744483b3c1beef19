"""A fourth platform, whole: its table, its reading, its SOURCE. Nothing else knows of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Annotated, NamedTuple

from sqlalchemy import String
from sqlalchemy.engine import make_url

from etl.http import Api, Login, Platform, Reply, judge_status
from etl.schema import (
    EXTRA,
    KEY_LENGTH,
    REPAIRED,
    STATUS,
    Instant,
    LongText,
    column,
    data_table,
    key,
)
from etl.source import Debt, Listed, Page, Part, Record, Reject, Settings, Source, Span
from etl.values import BadKey, Fields, Json, parse

_STATUS = {"todo": "pending", "doing": "running", "done": "succeeded", "burnt": "failed"}


class ChoresSettings(Settings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`url` is all it needs."""

    url: str


class Chore(NamedTuple):
    """One piece of housework."""

    chore_id: Annotated[str, key(String(KEY_LENGTH), "The platform's id.")]
    name: Annotated[str | None, column(LongText(), "What is to be done.")]
    status: Annotated[str, column(STATUS, "Status in the vocabulary of all sources.")]
    started_at: Annotated[datetime | None, column(Instant(), "When it began.")]
    finished_at: Annotated[datetime | None, column(Instant(), "When it ended; NULL before.")]
    extra: Annotated[str | None, EXTRA]
    text_repaired: Annotated[bool, REPAIRED]


CHORES = data_table(
    "chores", Chore, "Chores: each is one piece of housework.", kind="chore", gone=True
)


class _Nobody:
    """Nobody asks who we are."""

    max_in_flight = None

    def apply(self, request: object) -> None:
        return

    def renew(self, login: Login) -> bool:
        return False


def _judge(reply: Reply) -> Json:
    judge_status(reply)
    return parse(reply.body)


def _platform(settings: ChoresSettings) -> Platform:
    return Platform(settings.url, make_url(settings.url).host or "", _Nobody(), _judge)


def _identity(settings: ChoresSettings) -> Mapping[str, str]:
    return {"url": settings.url}


def _record(item: dict[str, Json], asked_at: datetime) -> Record | Reject:
    fields = Fields(item)
    try:
        chore_id = fields.key_text("id")
    except BadKey as error:
        return Reject(None, str(error), item)
    row = Chore(
        chore_id,
        fields.text("title"),
        _STATUS.get(fields.text("state") or "", "unknown"),
        fields.instant("began"),
        fields.instant("ended"),
        fields.extra(),
        fields.repaired,
    )
    open_ = row.status in ("pending", "running")
    debts = (Debt("chore", chore_id, f"it is {row.status}"),) if open_ else ()
    return Record(chore_id, asked_at, [Part(CHORES, [row])], debts)


def _page(api: Api, path: str, params: Mapping[str, int] | None = None) -> Page:
    answer = api.get(path, params)
    read = [_record(item, answer.asked_at) for item in answer.content["chores"]]
    records = [each for each in read if isinstance(each, Record)]
    rejects = tuple(each for each in read if isinstance(each, Reject))
    return Page(records, rejects)


def _scan(api: Api, settings: ChoresSettings, span: Span) -> Iterator[Page]:
    count = int((span.position or {}).get("count", 0))
    while True:
        page = _page(api, "/chores", {"after": count})
        count += len(page.records) + len(page.rejects)
        page.cursor = {"count": count}
        yield page
        if not page.records and not page.rejects:
            return


def _refresh(
    api: Api, settings: ChoresSettings, debts: Iterable[Debt], span: Span
) -> Iterator[Page]:
    for debt in debts:
        yield _page(api, f"/chores/{debt.id}")


def _inventory(api: Api, settings: ChoresSettings, span: Span) -> Iterator[Sequence[Listed]]:
    for page in _scan(api, settings, span):
        rows = [each.parts[0].rows[0] for each in page.records if isinstance(each, Record)]
        yield [Listed(row[0], row[2]) for row in rows if _within(row[3], span)]


def _within(began: datetime | None, span: Span) -> bool:
    return began is not None and (
        (span.since is None or span.since <= began) and (span.until is None or began < span.until)
    )


SOURCE = Source(
    api="chores",
    stream="chores",
    settings=ChoresSettings,
    tables=(CHORES,),
    platform=_platform,
    identity=_identity,
    scan=_scan,
    refresh=_refresh,
    inventory=_inventory,
)
