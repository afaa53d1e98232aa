"""Accounts, qualities of service and their limits, where the cluster keeps accounts."""

from __future__ import annotations

import os
import pwd
import shutil
from collections.abc import Iterator, Mapping

from slurm import scheduler
from slurm.cluster import Cluster, time_min
from slurm.finding import Finding, failure, ok, warning
from slurm.profiles import did_you_mean
from slurm.scheduler import SchedulerError


def examine_accounting(cluster: Cluster, known: Mapping[str, str]) -> Iterator[Finding]:
    """Yield what accounting says to a profile.

    Args:
        cluster: The profile.
        known: SLURM's settings.
    """
    kind = known.get("AccountingStorageType", "").rpartition("/")[2]
    if kind in {"none", "(null)", ""}:
        yield ok("accounting", "off; nothing here needs it: state is read from disk")
        if cluster.account or cluster.qos:
            yield warning("account", "account and qos of the profile mean nothing without accounting", "Leave them out.")
        return
    yield ok("accounting", f"on ({kind}); nothing here needs it: state is read from disk")
    if not shutil.which("sacctmgr"):
        yield warning("account", "there is no sacctmgr here to ask for accounts", "sbatch's answer below covers it.")
        return
    try:
        yield from _associations(cluster, known.get("AccountingStorageEnforce", ""))
    except (SchedulerError, KeyError) as error:  # KeyError: this user has no name here
        yield warning("account", f"accounts cannot be asked for: {error}", "sbatch's answer below covers it.")


def _associations(cluster: Cluster, enforced: str) -> Iterator[Finding]:
    """Compare account and qos with this user's associations."""
    user = pwd.getpwuid(os.geteuid()).pw_name  # SLURM goes by the number, not by $USER
    asked = ["sacctmgr", "-n", "-P", "show", "assoc", "where", f"user={user}", "format=account,qos,defaultqos,maxsubmitjobs"]
    rows = [line.split("|") for line in scheduler.run(asked).splitlines() if line.count("|") == 3]
    accounts = sorted({row[0] for row in rows})
    bad = failure if "associations" in enforced or "limits" in enforced or "qos" in enforced else warning
    if not rows:
        said = f"user {user} has no account here" + ("" if bad is failure else ", and none is demanded")
        yield bad("account", said, "Ask the administrators for one, if jobs are refused.")
        return
    if cluster.account and cluster.account not in accounts:
        todo = f"Set cluster.account to one of yours: {', '.join(accounts)}.{did_you_mean(cluster.account, accounts)}"
        yield bad("account", f"user {user} has no account {cluster.account!r}", todo)
    else:
        yield ok("account", f"{cluster.account or 'the default'} of {', '.join(accounts)}")
    mine = [row for row in rows if not cluster.account or row[0] == cluster.account] or rows
    allowed = sorted({name for row in mine for name in row[1].split(",") if name})
    if cluster.qos and cluster.qos not in allowed:
        todo = f"Set cluster.qos to one of yours: {', '.join(allowed)}.{did_you_mean(cluster.qos, allowed)}"
        yield bad("qos", f"qos {cluster.qos!r} is not open to user {user}", todo)
        return
    yield from _limits(cluster, cluster.qos or mine[0][2], mine[0][3])


def _limits(cluster: Cluster, qos: str, most: str) -> Iterator[Finding]:
    """Compare the profile with the limits of a quality of service and of the association."""
    asked = ["sacctmgr", "-n", "-P", "show", "qos", *([qos] if qos else []), "format=name,maxwall,maxsubmitjobsperuser"]
    rows = [line.split("|") for line in scheduler.run(asked).splitlines() if line.count("|") == 2] if qos else []
    wall, submit = (rows[0][1], rows[0][2]) if rows else ("", "")
    if wall and time_min(wall) < cluster.time_min:
        yield failure("qos", f"qos {qos} ends jobs after {wall}, but time is {cluster.time}", f"Set cluster.time={wall} or another qos.")
    elif qos:
        yield ok("qos", f"{qos}, time limit {wall or 'none of its own'}")
    jobs = min((int(text) for text in (most, submit) if text.isdigit()), default=None)
    if jobs is not None:
        todo = "Each element of an array counts. Raise cluster.shards_per_task so that fewer are needed, or submit again when some ended."
        yield warning("jobs in the queue", f"at most {jobs} at once", todo)
