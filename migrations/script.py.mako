"""${message}: what it adds, for whom.

Deploy: say which order is safe. A new table or a nullable column: any order, old code ignores it.
A column that goes: first a release that no longer reads it, then this. A column that must be
filled: add it nullable, fill it, and make it NOT NULL in the next migration.

On MySQL and MariaDB every statement commits by itself: use the repeatable steps of
`etl.migrate.steps`, name every constraint, and write the way down. Import no table of etl.
"""

from __future__ import annotations

from etl.migrate.steps import create_index, create_table, drop_table
${imports if imports else ""}

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}

CREATES = ()
"""Tables and views that are new here: somebody else's of the same name is refused before."""


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}
