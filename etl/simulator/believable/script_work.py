"""Act2's part: scripts on thirty hosts in four data centres, one of them in a bad way."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random

from etl.simulator.believable import outputs
from etl.simulator.believable.outputs import Printer
from etl.simulator.believable.stage import Stage
from etl.simulator.scripts import Host, HostRow, Record, Script, uuid_like

_IDCS = (("杭州", 10), ("青岛", 20), ("shanghai-b", 30), ("frankfurt-a", 40))


def _host(n: int) -> Host:
    idc, net = _IDCS[n % 4]
    system = "windows" if n % 4 == 3 or n % 7 == 2 else "linux"
    second = f",192.168.{net}.{n + 1}" if n == 9 else ""
    return Host(uuid_like(f"machine {n}"), f"10.{net}.{n % 3}.{n + 1}{second}", system, idc)


HOSTS = tuple(_host(n) for n in range(30))
FLAKY, SILENT = HOSTS[16], HOSTS[8]
_LINUX = tuple(host for host in HOSTS if host.os_type == "linux")
_WINDOWS = tuple(host for host in HOSTS if host.os_type == "windows")


@dataclass(slots=True, frozen=True)
class Errand:
    """A script, its schedule, and what it prints when it works and when it does not."""

    name: str
    script: Script
    hosts: int
    hour: float
    every_h: float
    good: Printer
    bad: Printer
    failure_rate: float = 0.03


ERRANDS = (
    Errand(
        "disk",
        Script("#!/bin/bash\nset -e\ndf -h /data\n./alert_if_above 95", user="ops"),
        8,
        22.0,
        24,
        outputs.disk_good,
        outputs.disk_bad,
    ),
    Errand(
        "backup",
        Script(
            "#!/bin/bash\npg_dump orders > /backup/orders.dump",
            timeout=3600,
            user="dba",
            args="--compress 9",
            password="c2ltdWxhdGVkLCBub3QgYSByZWFsIHBhc3N3b3Jk",  # noqa: S106 - public on purpose
            env=(("PGUSER", "backup"), ("PGPASSWORD", "simulated")),
        ),
        5,
        18.5,
        24,
        outputs.backup_good,
        outputs.backup_bad,
        0.06,
    ),
    Errand(
        "load",
        Script("import load_orders\nload_orders.main()\n", "python", user="etl", timeout=1800),
        4,
        19.75,
        24,
        outputs.load_good,
        outputs.load_bad,
        0.05,
    ),
    Errand(
        "patch",
        Script("@echo off\r\nwuauclt /detectnow /updatenow\r\n", "bat", "ssh", user="desk"),
        6,
        2.5,
        48,
        outputs.patch_good,
        outputs.patch_bad,
        0.07,
    ),
    Errand(
        "restart",
        Script("systemctl restart nginx && systemctl status nginx", "shell", user="web"),
        3,
        6.0,
        24,
        outputs.restart_good,
        outputs.restart_bad,
    ),
    Errand(
        "cleanup",
        Script("#!/bin/bash\n# 清理七天前的日志\nfind /var/log -mtime +7 -delete", user="ops"),
        5,
        1.25,
        36,
        outputs.cleanup_good,
        outputs.cleanup_bad,
    ),
    Errand(
        "copy",
        Script(
            user="release",
            urls=("http://repo.example/app.tar.gz", "http://repo.example/app.tar.gz.sig"),
        ),
        4,
        9.0,
        72,
        outputs.copy_good,
        outputs.copy_bad,
    ),
)


def plan(stage: Stage) -> None:
    """The errands on their schedules, and a backup that runs just now."""
    for errand in ERRANDS:
        stage.daily(errand.name, errand.hour, errand.every_h, _run(stage, errand))
    stage.at(
        stage.now - timedelta(seconds=40),
        lambda at: begin(stage, ERRANDS[1], at, lasts_s=900, tag="now"),
    )


def plan_lively(stage: Stage) -> None:
    """A short errand every 70 seconds."""

    def act(at: datetime, turn: int) -> None:
        begin(stage, ERRANDS[turn % len(ERRANDS)], at, lasts_s=45, tag=f"lively {turn}")

    stage.often(70, act)


def _run(stage: Stage, errand: Errand) -> Callable[[datetime, int], None]:
    def act(at: datetime, turn: int) -> None:
        lasts = stage.dice("lasts", errand.name, turn).randrange(8, 240)
        record = begin(stage, errand, at, lasts_s=lasts, tag=str(turn))
        if errand.name == "restart" and turn in (5, 19, 33):
            record.hidden = True  # its hosts have left the inventory: no row joins any more

    return act


def begin(stage: Stage, errand: Errand, at: datetime, *, lasts_s: int, tag: str) -> Record:
    """An execution: its hosts have no status until it is done."""
    chance = stage.dice("errand", errand.name, tag)
    pool = _WINDOWS if errand.script.script_type == "bat" else _LINUX
    hosts = chance.sample(pool, errand.hosts)
    if pool is _LINUX and FLAKY not in hosts and chance.random() < 0.3:
        hosts[0] = FLAKY
    scripts = stage.world.act2
    record = scripts.start(errand.script, hosts, at)
    end = at + timedelta(seconds=lasts_s)
    stage.at(end, lambda then: _finish(stage, errand, scripts.edit(record.id), then))
    return record


def _finish(stage: Stage, errand: Errand, record: Record, at: datetime) -> None:
    chance = stage.dice("answers", errand.name, record.id)
    answers = {row.host.id: _answer(errand, row.host, chance) for row in record.rows}
    if errand.name == "backup" and stage.last_night(record.start):
        host = record.rows[-1].host
        answers[host.id] = HostRow(host, *errand.bad(chance, host.ip))
    statuses = {row.status for row in answers.values()}
    verdict = next((s for s in ("fail", "timeout") if s in statuses), "success")
    stage.world.act2.finish(record.id, verdict, at, answers)
    if SILENT.id in answers and chance.random() < 0.5:
        record.rows = [row for row in record.rows if row.host != SILENT]


def _answer(errand: Errand, host: Host, chance: Random) -> HostRow:
    rate = 0.55 if host == FLAKY else errand.failure_rate
    if chance.random() < rate:
        return HostRow(host, *errand.bad(chance, host.ip))
    if chance.random() < 0.015:
        return HostRow(host, *outputs.timed_out(errand.script.timeout))
    if chance.random() < 0.01:
        return HostRow(host)  # it never answered, and nobody noticed
    return HostRow(host, *errand.good(chance, host.ip))
