"""What scripts print on hosts: in the languages of the people who wrote them, good days and bad."""

from collections.abc import Callable
from random import Random

Answer = tuple[str, str, str, str]
"""status, stdout, stderr, message."""
Printer = Callable[[Random, str], Answer]


def _ok(stdout: str) -> Answer:
    return "success", stdout, "", ""


def _fail(stdout: str, stderr: str, message: str = "") -> Answer:
    return "fail", stdout, stderr, message or "exit status 1"


def disk_good(chance: Random, ip: str) -> Answer:
    """df, with a sensible share used."""
    used = chance.randrange(31, 84)
    return _ok(
        "Filesystem      Size  Used Avail Use% Mounted on\n"
        f"/dev/vdb1       500G  {used * 5}G  {500 - used * 5}G  {used}% /data\n"
        f"host {ip}: \x1b[32mOK\x1b[0m\n"
    )


def disk_bad(chance: Random, ip: str) -> Answer:
    """A full disk, in Chinese."""
    used = chance.randrange(96, 100)
    return _fail(
        f"磁盘使用率 {used}%，请检查 /data 分区\n",
        f"{ip}: write error: No space left on device\n",
    )


def backup_good(chance: Random, _: str) -> Answer:
    """A dump and its size."""
    size = chance.randrange(800, 4200)
    return _ok(f"dumping database orders ... done\nwrote /backup/orders.dump ({size} MB)\n")


def backup_bad(chance: Random, _: str) -> Answer:
    """Connection refused, permission denied, or no space."""
    reason = chance.choice(
        (
            'pg_dump: error: connection to server at "10.0.0.5", port 5432 failed: '
            "Connection refused\n",
            "cp: cannot create regular file '/backup/orders.dump': Permission denied\n",
            "pg_dump: error: could not write to output file: No space left on device\n",
        )
    )
    return _fail("dumping database orders ...\n", reason)


def load_good(chance: Random, _: str) -> Answer:
    """Rows loaded."""
    rows = chance.randrange(12_000, 90_000)
    return _ok(f"INFO read {rows} rows\nINFO 0 < {rows} & all keys unique\nINFO committed\n")


def load_bad(chance: Random, _: str) -> Answer:
    """A Python traceback."""
    line = chance.randrange(40, 220)
    return _fail(
        "INFO reading orders.csv\n",
        "Traceback (most recent call last):\n"
        f'  File "load_orders.py", line {line}, in <module>\n'
        "    main()\n"
        'requests.exceptions.ConnectTimeout: HTTPSConnectionPool(host="erp", port=443)\n',
    )


def patch_good(chance: Random, _: str) -> Answer:
    """A German Windows, CR LF."""
    count = chance.randrange(1, 9)
    return _ok(
        f"Es wurden {count} Updates gefunden.\r\nInstallation abgeschlossen, "
        "Neustart nicht nötig.\r\n"
    )


def patch_bad(_: Random, ip: str) -> Answer:
    """Access denied, in German."""
    return _fail(
        f"Verbindung zu \\\\{ip}\\updates wird hergestellt …\r\n",
        "Zugriff verweigert (5).\r\n",
        "exit status 5",
    )


def restart_good(chance: Random, _: str) -> Answer:
    """A service that came back."""
    pid = chance.randrange(1000, 32000)
    return _ok(f"nginx.service restarted, Main PID: {pid} (nginx), active (running)\n")


def restart_bad(_: Random, __: str) -> Answer:
    """A port that is taken."""
    return _fail("", "nginx: [emerg] bind() to 0.0.0.0:80 failed (98: Address already in use)\n")


def cleanup_good(chance: Random, _: str) -> Answer:
    """Logs cleared, in Chinese."""
    return _ok(f"已清理日志 {chance.randrange(20, 400)} 个文件，释放 {chance.random():.2f} GB\n")


def cleanup_bad(_: Random, __: str) -> Answer:
    """Not allowed, in Chinese."""
    return _fail("正在清理 /var/log …\n", "rm: 无法删除 '/var/log/audit': 权限不够\n")


def copy_good(_: Random, __: str) -> Answer:
    """A file that arrived."""
    return _ok("downloaded, checksum ok\n")


def copy_bad(_: Random, __: str) -> Answer:
    """A file that is not there."""
    return _fail("", "curl: (22) The requested URL returned error: 404\n")


def timed_out(seconds: int) -> Answer:
    """What the master writes for a host that did not answer in time."""
    return "timeout", "", "", f"timeout: no answer within {seconds} s"
