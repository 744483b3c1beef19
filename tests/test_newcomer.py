"""A fourth platform costs one source file, one migration and its simulator; nothing is edited."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from newcomer import simulator

NEWCOMER = Path(simulator.__file__).parent

_COMMAND = """
import sys
from pathlib import Path
import etl.migrate, etl.sources
etl.sources.__path__.append({platforms!r})
etl.migrate.extra_locations.append(Path({migrations!r}))
from etl.cli import main
sys.argv = ["etl", *sys.argv[1:]]
main()
"""


def _etl(folder: Path, url: str, *arguments: str) -> str:
    """Runs `etl` in a process that knows of the fourth platform's two directories."""
    code = _COMMAND.format(
        platforms=str(NEWCOMER / "platforms"), migrations=str(NEWCOMER / "migrations")
    )
    command = [sys.executable, "-c", code, "--database", url, *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_fourth_platform_is_copied_by_the_commands_of_all(
    tmp_path: Path, every_blank_database_url: str
) -> None:
    chores: list[dict[str, Any]] = [
        {"id": "a", "title": "dishes", "state": "done", "began": 1700000000, "ended": 1700000600},
        {"id": "", "title": "without a key"},
        {"id": "c", "title": "laundry", "state": "doing", "began": 1700000700, "soap": 3},
    ]
    url = every_blank_database_url
    with simulator.serving(chores) as address:
        settings = f"sources:\n  home:\n    api: chores\n    url: {address}\n"
        (tmp_path / "schedules.yaml").write_text(settings)
        _etl(tmp_path, url, "sync")
        chores[2] |= {"state": "burnt", "ended": 1700009999}
        _etl(tmp_path, url, "sync")
        verified = _etl(tmp_path, url, "verify", "home", "--repair")
        assert "incomplete" not in verified
        assert _etl(tmp_path, url, "prune", "home", "--older-than", "2001-01-01").startswith(
            "home: 0 executions"
        )
        _etl(tmp_path, url, "backfill", "home", "--since", "2020-01-01")
        _etl(tmp_path, url, "db", "check")
    query = "SELECT id, status, duration_s FROM executions WHERE api = 'chores' ORDER BY id"
    assert json.loads(_etl(tmp_path, url, "sql", query, "--format", "json")) == [
        {"id": "a", "status": "succeeded", "duration_s": 600.0},
        {"id": "c", "status": "failed", "duration_s": 9299.0},
    ]
    rejects = "SELECT reason FROM rejected_records"
    assert len(json.loads(_etl(tmp_path, url, "sql", rejects, "--format", "json"))) == 1
    assert "laundry" in _etl(tmp_path, url, "sql", "SELECT name, extra FROM chores")
    assert "chores" in _etl(tmp_path, url, "tables")
    _etl(tmp_path, url, "db", "downgrade", "base", "--yes")
    _etl(tmp_path, url, "db", "upgrade")
