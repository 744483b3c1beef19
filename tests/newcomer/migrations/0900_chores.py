"""The fourth platform's table, and its branch of `executions`.

Deploy: any order; the code that writes it comes with it.
"""

from __future__ import annotations

import sqlalchemy as sa

from etl.migrate import location
from etl.migrate.steps import JSON as JSON_TEXT
from etl.migrate.steps import (
    LONG,
    TIME,
    create_table,
    create_view,
    drop_table,
    earlier,
    may,
    must,
    stamps,
    text,
    union,
)
from etl.migrate.words import words

revision = "0900"
down_revision = max(path.name[:4] for path in (location() / "versions").glob("0*.py"))
branch_labels = None
depends_on = None

CREATES = ("chores",)

_BRANCH = """
    SELECT c.source, 'chores' AS api, 'chore' AS kind, c.chore_id AS id, c.name,
        c.name AS definition_id, c.name AS definition_name, c.status,
        c.status AS upstream_status, {final} AS is_final, {failure} AS is_failure,
        c.started_at AS created_at, c.started_at, c.finished_at, {seconds} AS duration_s,
        NULL AS waited_s,
        c.changed_at, c.upstream_gone_at
    FROM chores c"""


def upgrade() -> None:
    create_table(
        "chores",
        "Chores: each is one piece of housework.",
        must("source", text(64), "Your name for the source."),
        must("chore_id", text(255), "The platform's id."),
        may("name", LONG, "What is to be done."),
        must("status", text(16), "Status in the vocabulary of all sources."),
        may("started_at", TIME, "When it began."),
        may("finished_at", TIME, "When it ended; NULL before."),
        may("extra", JSON_TEXT, "Fields of the platform that have no column (JSON); NULL if none."),
        *stamps(gone=True),
        sa.PrimaryKeyConstraint("source", "chore_id", name="pk_chores"),
    )
    views, w = earlier("0003"), words()
    branch = _BRANCH.format(
        final=views.is_final("c"),
        failure=views.is_failure("c"),
        seconds=w.seconds_between("c.started_at", "c.finished_at"),
    )
    branches = union([*views.executions(w), branch])
    create_view("executions", views.EXECUTIONS_COMMENT, views.EXECUTIONS, branches)


def downgrade() -> None:
    views = earlier("0003")
    create_view(
        "executions", views.EXECUTIONS_COMMENT, views.EXECUTIONS, union(views.executions(words()))
    )
    drop_table("chores")
