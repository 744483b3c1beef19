"""Runs the contestants in turn and prints how `etl` stands beside each.

poe benchmark                        set S on SQLite and PostgreSQL, 9 rounds
poe benchmark --set tiny --rounds 1  seconds, to see that it works
poe benchmark --latency-ms 20 --in-flight 32
poe benchmark --latency-ms 20 --in-flight 8 --source graph
"""

from __future__ import annotations

import argparse
import compileall
import contextlib
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import databases

import etl
from benchmarks.checking import check
from benchmarks.contestants import (
    ALL,
    ETL,
    REQUESTS,
    Bench,
    Contestant,
    Cost,
    rival_python,
)
from benchmarks.data import SETS
from benchmarks.etl_itself import WORK
from benchmarks.rival_tables import create
from benchmarks.statistics import interval
from benchmarks.upstream import running

say = partial(print, flush=True)


@dataclass
class Results:
    """What every contestant cost, a round each."""

    first: dict[str, list[Cost]] = field(default_factory=dict)
    second: dict[str, list[Cost]] = field(default_factory=dict)


def main(arguments: Sequence[str]) -> None:
    options = _options(arguments)
    alone = options.alone or options.source
    python, why = (None, "left out") if alone else rival_python()
    if python is None:
        say(f"dlt and requests are skipped: {why}")
    for place in (Path(etl.__file__).parent, Path(__file__).parent):
        compileall.compile_dir(place, quiet=1)  # as pip did with the rivals when it installed them
    playing = [one for one in ALL if python or not one.is_rival]
    if options.only:
        playing = [one for one in playing if one is ETL or one.name in options.only]
    with running(options.set, options.latency_ms) as upstream:
        bench = Bench(upstream, options.in_flight, _sources(options), python)
        say(f"upstream: {upstream.requests_a_second():,.0f} requests/s, {options.latency_ms} ms")
        try:
            for kind in options.databases:
                with _fresh(kind, bench.directory) as fresh:
                    say(f"\n{kind}, set {options.set}, {options.in_flight} in flight")
                    _print(_rounds(options, bench, playing, fresh, kind), options)
        finally:
            shutil.rmtree(bench.directory)


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="poe benchmark", description=__doc__)
    parser.add_argument("--set", choices=sorted(SETS), default="S")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--latency-ms", type=int, default=0)
    parser.add_argument("--in-flight", type=int, default=16)
    kinds = ["sqlite", "postgresql"]
    parser.add_argument("--databases", nargs="+", choices=kinds, default=kinds)
    parser.add_argument("--only", nargs="*", default=[], help="these rivals")
    parser.add_argument("--alone", action="store_true", help="no rivals")
    parser.add_argument("--source", choices=list(WORK), help="no rivals, and this source alone")
    return parser.parse_args(arguments)


def _sources(options: argparse.Namespace) -> tuple[str, ...]:
    if options.source:
        return (options.source,)
    # With latency 200 more calls would only take their time.
    return ("graph", "scripts") if options.latency_ms else tuple(WORK)


class _Fresh:
    """Databases for one round each."""

    def __init__(self, kind: str, directory: Path) -> None:
        self._kind, self._directory, self._number = kind, directory, 0
        self._server = databases.start(kind) if kind != "sqlite" else None

    def get(self, contestant: Contestant) -> str:
        """An empty database; with `etl`'s tables for `etl`."""
        if self._server is not None:
            url = self._server.migrated() if contestant is ETL else self._server.blank()
        else:
            self._number += 1
            url = f"sqlite:///{self._directory}/{self._number}.db"
            if contestant is ETL:
                command = [sys.executable, "-m", "etl", "--database", url, "db", "upgrade"]
                subprocess.run(command, check=True, capture_output=True)
        if contestant.needs_tables:
            create(url)
        return url

    def close(self) -> None:
        if self._server is not None:
            self._server.close()


@contextlib.contextmanager
def _fresh(kind: str, directory: Path) -> Iterator[_Fresh]:
    fresh = _Fresh(kind, directory)
    try:
        yield fresh
    finally:
        fresh.close()


def _rounds(
    options: argparse.Namespace,
    bench: Bench,
    playing: list[Contestant],
    fresh: _Fresh,
    kind: str,
) -> Results:
    results, data = Results(), SETS[options.set]
    for number in range(options.rounds):
        for one in playing[number % len(playing) :] + playing[: number % len(playing)]:
            url = fresh.get(one)
            results.first.setdefault(one.name, []).append(bench.run(one, url))
            schema = one.schema if kind == "postgresql" else ""
            verify = partial(check, url, data, schema=schema, as_served=one.as_served)
            verify(sources=bench.sources)
            results.second.setdefault(one.name, []).append(bench.run(one, url))
            verify(sources=bench.sources)
            if kind == "sqlite":
                Path(url.removeprefix("sqlite:///")).unlink()
    say("every row of every run is right")
    return results


def _print(results: Results, options: argparse.Namespace) -> None:
    say(" " * 15 + "whole s   work s   CPU s   MiB  requests  at once")
    for title, costs in (("first load", results.first), ("second pass", results.second)):
        say(title)
        for name, runs in costs.items():
            middle = partial(_middle, runs)
            say(
                f"  {name:10} {middle('whole_s'):8.2f} {middle('work_s'):8.2f} "
                f"{middle('cpu_s'):7.2f} {max(r.peak_mib for r in runs):5.0f} "
                f"{middle('requests'):9.0f} {max(r.in_flight for r in runs):8}"
            )
        for name in costs.keys() - {ETL.name}:
            _compare(name, costs)
    if options.latency_ms:
        _beside_latency(results.first[ETL.name], options)


def _beside_latency(runs: Sequence[Cost], options: argparse.Namespace) -> None:
    """How near the first load comes to as many calls in flight as may be, all the time."""
    latency_s = options.latency_ms / 1000 / options.in_flight
    shares = [run.work_s / (run.requests * latency_s) for run in runs]
    low, high = interval(shares)
    median = statistics.median(shares)
    say(f"etl, work_s: {median:.3f} times requests × latency ÷ in flight [{low:.3f} … {high:.3f}]")


def _compare(name: str, costs: dict[str, list[Cost]]) -> None:
    """Beside the limit the work counts, beside a tool its whole process."""
    aspect = "work_s" if name == REQUESTS.name else "whole_s"
    ratios = [
        getattr(other, aspect) / getattr(own, aspect)
        for own, other in zip(costs[ETL.name], costs[name], strict=True)
        if getattr(own, aspect) > 0
    ]
    if ratios:
        low, high = interval(ratios)
        median = statistics.median(ratios)
        say(f"  {name} / etl, {aspect}: {median:.2f} times [{low:.2f} … {high:.2f}]")


def _middle(runs: Sequence[Cost], aspect: str) -> float:
    return statistics.median(float(getattr(run, aspect)) for run in runs)


if __name__ == "__main__":
    main(sys.argv[1:])
