"""The configuration files of a private SLURM cluster, and ports for it."""

from __future__ import annotations

import random
import socket
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from time import time

GPU_TYPE = "rtx8000"

# Everything is in one folder; no systemd, no cgroups. What each unusual setting is for stands beside it.
SLURM = """\
ClusterName=lab
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# The shortest that SLURM takes: a requeued job waits until its first credential has expired.
AuthInfo=socket={folder}/munge/socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/pid/slurmctld
SlurmdPidFile={folder}/pid/slurmd.%n
SlurmctldLogFile={folder}/log/slurmctld
SlurmdLogFile={folder}/log/slurmd.%n
PlugStackConfig={folder}/plugstack.conf
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
# The nodes claim more than this machine has.
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=100
GresTypes=gpu
JobRequeue=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
# Without it a preempted job gets no USR2.
SlurmctldParameters=preempt_send_user_signal
# Half of SLURM's default: long enough for a busy machine, short enough to be waited for.
KillWait=15
ReturnToService=2
SlurmdTimeout=20
SlurmctldTimeout=20
MinJobAge=900
BatchStartTimeout=10
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=2,sched_interval=5,sched_min_interval=0,batch_sched_delay=0
MaxArraySize=10001
# By the clock, a thousand a second: job ids never come again in a later lab, where old result files would be taken for new ones.
FirstJobId={first_job}
AccountingStorageType=accounting_storage/none
"""
ACCOUNTING = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={ports[1]}
AccountingStoragePass={folder}/munge/socket
AccountingStorageTRES=gres/gpu
"""
PARTITIONS = """\
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=5
PartitionName=high Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
"""
SLURMDBD = """\
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
DbdHost={host}
DbdAddr=127.0.0.1
DbdPort={ports[1]}
SlurmUser=root
PidFile={folder}/pid/slurmdbd
LogFile={folder}/log/slurmdbd
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=slurm_acct_db
CommitDelay=0
"""


@dataclass
class Configuration:
    """What a lab looks like; lines are `Key=value` as in slurm.conf, a later one of a key (or of a partition) replaces an earlier one."""

    folder: Path
    nodes: int = 3
    gpus: int = 2
    cpus: int = 16
    memory_mb: int = 64_000
    accounting: bool = False
    lines: Sequence[str] = ()
    ports: list[int] = field(default_factory=list)
    first_job: int = field(default_factory=lambda: int(time()) % 60_000 * 1000 + 1)

    def __post_init__(self) -> None:
        self.ports = self.ports or free_ports(2 + self.nodes)

    def write(self) -> None:
        """Write slurm.conf, gres.conf and, with accounting, slurmdbd.conf."""
        filled = {"folder": self.folder, "host": socket.gethostname().split(".")[0], "ports": self.ports, "first_job": self.first_job}
        text = SLURM + (ACCOUNTING if self.accounting else "") + PARTITIONS
        lines = [line for line in text.format(**filled).splitlines() if not line.startswith("#")]
        nodes = (self._node(number, filled["host"]) for number in range(self.nodes))
        self._write("slurm.conf", "\n".join([*_replaced([*nodes, *lines, *self.lines]), ""]))
        devices = f"Name=gpu Type={GPU_TYPE} File={self.folder}/dev/gpu[0-{self.gpus - 1}]" if self.gpus else ""
        self._write("gres.conf", f"AutoDetect=off\n{devices}\n")
        self._write("plugstack.conf", "")
        if self.accounting:
            self._write("slurmdbd.conf", SLURMDBD.format(**filled), mode=0o600)

    def _node(self, number: int, host: object) -> str:
        gres = f"Gres=gpu:{GPU_TYPE}:{self.gpus}" if self.gpus else ""
        return (
            f"NodeName=node{number + 1} NodeHostname={host} NodeAddr=127.0.0.1 Port={self.ports[2 + number]} "
            f"CPUs={self.cpus} RealMemory={self.memory_mb} {gres} State=UNKNOWN"
        )

    def _write(self, name: str, text: str, mode: int = 0o644) -> None:
        path = self.folder / name
        path.write_text(textwrap.dedent(text))
        path.chmod(mode)


def _replaced(lines: Iterable[str]) -> list[str]:
    """One line a key, the last; nodes and partitions are told apart by their names."""
    kept: dict[str, str] = {}
    for line in lines:
        key, value = line.split("=", 1)
        kept[f"{key}={value.split()[0]}" if key in {"NodeName", "PartitionName"} else key] = line
    return list(kept.values())


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, below the range from which the system takes those of outgoing connections.

    A node that boots again needs its port again, so an outgoing connection must not have taken it meanwhile.
    """
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    return list(islice(_free(range(10_000, max(lowest, 20_000))), count))


def _free(ports: range) -> Iterator[int]:
    for port in random.SystemRandom().sample(ports, len(ports)):
        with socket.socket() as probe:
            try:
                probe.bind(("", port))
            except OSError:
                continue
        yield port
