"""Accounting for a lab: slurmdbd on a MariaDB of its own, reached by a socket in the lab's folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lab import Lab

# Of MariaDB 10, and as later releases name it.
SYSTEM_TABLES = ("/usr/share/mysql/mysql_system_tables.sql", "/usr/share/mariadb/mariadb_system_tables.sql")
SMALL = (
    "--innodb-buffer-pool-size=64M", "--innodb-log-file-size=8M", "--innodb-flush-log-at-trx-commit=0",
    "--innodb-doublewrite=0", "--skip-log-bin",
)
CLOSED = ("--skip-grant-tables", "--skip-networking", "--skip-name-resolve", "--performance-schema=OFF", "--innodb-lock-wait-timeout=900")


def start(lab: Lab) -> None:
    """Start the database and slurmdbd, and make the cluster known to it."""
    folder = lab.folder / "db"
    (folder / "data").mkdir(parents=True)
    (folder / "tmp").mkdir()
    common = ["mariadbd", "--no-defaults", "--user=root", f"--datadir={folder}/data", f"--tmpdir={folder}/tmp", *SMALL]
    # What mariadb-install-db does, which needs a client that is not installed.
    tables = next(path for path in map(Path, SYSTEM_TABLES) if path.exists())
    lab.run(*common, "--bootstrap", stdin="create database mysql;\nuse mysql;\n" + tables.read_text())
    files = [f"--socket={folder}/socket", f"--pid-file={lab.folder}/pid/mariadbd", f"--log-error={lab.folder}/log/mariadbd"]
    lab.run("setsid", "--fork", *common, *CLOSED, *files)
    lab.wait_for((folder / "socket").exists, 30, "the database listens")
    lab.run("env", f"MYSQL_UNIX_PORT={folder}/socket", "slurmdbd")
    lab.wait_for(lambda: "Cluster" in lab.run("sacctmgr", "show", "cluster", check=False), 30, "slurmdbd answers")
    lab.run("sacctmgr", "-i", "add", "cluster", "lab")
