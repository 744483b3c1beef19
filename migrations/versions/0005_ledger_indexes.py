"""Indexes of the ledger: `status`, the page and the metrics stay quick beside 100,000 runs.

Deploy: any order; old code is only quicker. On a large ledger it holds `sync_runs` for a second.
"""

from __future__ import annotations

from alembic import op

from etl.migrate.steps import create_index

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

CREATES = ()

INDEXES = (
    ("sync_runs", "source", "started_at"),
    ("sync_runs", "source", "status", "started_at"),
    ("rejected_records", "source", "resolved_at"),
)


def upgrade() -> None:
    for table, *columns in INDEXES:
        create_index(table, *columns)


def downgrade() -> None:
    for table, *columns in reversed(INDEXES):
        op.drop_index(f"ix_{table}_{'_'.join(columns)}", table, if_exists=True)
