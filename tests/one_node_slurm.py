"""A Slurm of one node with one CPU, of Debian's packages, all of whose files are in one folder."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

DAEMONS = ("munged", "slurmctld", "slurmd")
CONF = """
ClusterName=test
SlurmctldHost=HOST
AuthType=auth/munge
AuthInfo=socket=FOLDER/munge.socket,cred_expire=5
SlurmUser=root
SlurmdUser=root
SlurmctldPort=PORT1
SlurmdPort=PORT2
StateSaveLocation=FOLDER/state
SlurmdSpoolDir=FOLDER/spool
SlurmctldPidFile=FOLDER/slurmctld.pid
SlurmdPidFile=FOLDER/slurmd.pid
SlurmctldLogFile=FOLDER/slurmctld.log
SlurmdLogFile=FOLDER/slurmd.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0,defer
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobAcctGatherType=jobacct_gather/none
KillWait=5
MinJobAge=60
NodeName=HOST CPUs=1 RealMemory=4000 State=UNKNOWN
PartitionName=low Nodes=HOST Default=YES PriorityTier=1 State=UP
PartitionName=urgent Nodes=HOST PriorityTier=10 State=UP
"""
"""Jobs of ``urgent`` take the place of those of ``low``. A job that is put back starts again after ``cred_expire``."""
FILES = ("socket", "key-file", "pid-file", "log-file", "seed-file")


def why_not() -> str:
    """Why no Slurm is started here; empty where one is."""
    missing = [name for name in DAEMONS if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") is None]
    if missing:
        return f"no Slurm is started here: {', '.join(missing)} not installed (apt-get install slurm-wlm munge)"
    return "" if getpass.getuser() == "root" else "no Slurm is started here: only root starts its daemons"


@contextmanager
def started(folder: Path) -> Iterator[None]:
    """Its commands (sbatch, squeue) work while the context is open."""
    for name in ("state", "spool"):
        (folder / name).mkdir()
    (folder / "slurm.conf").write_text(_conf(folder))
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        patch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
        patch.setenv("PATH", f"{os.environ['PATH']}:/usr/sbin")
        files = [f"--{name}={folder}/munge.{name.partition('-')[0]}" for name in FILES]
        stack.enter_context(_running(folder, "munged", "--foreground", "--force", *files))
        wait_until((folder / "munge.socket").exists, folder / "munged.out")
        stack.enter_context(_running(folder, "slurmctld", "-D", "-i"))
        stack.enter_context(_running(folder, "slurmd", "-D"))
        wait_until(lambda: "idle" in _answer("sinfo", "-h", "-o%T"), folder / "slurmctld.log")
        yield
        _answer("scancel", "--me")
        wait_until(lambda: not _answer("squeue", "-h"), folder / "slurmctld.log")


def _conf(folder: Path) -> str:
    text = CONF.replace("=HOST", f"={socket.gethostname()}").replace("FOLDER", str(folder))
    return text.replace("PORT1", str(_port())).replace("PORT2", str(_port()))


def _port() -> int:
    with socket.socket() as free:
        free.bind(("", 0))
        return int(free.getsockname()[1])


@contextmanager
def _running(folder: Path, *command: str) -> Iterator[None]:
    with (folder / f"{command[0]}.out").open("wb") as log:
        daemon = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        yield
    finally:
        daemon.terminate()
        daemon.wait(30)


def _answer(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True).stdout


def wait_until(ready: Callable[[], bool], log: Path) -> None:
    """Return when it is so; after half a minute, tell what a daemon has logged."""
    deadline = time.monotonic() + 30
    while not ready():
        assert time.monotonic() < deadline, log.read_text()[-2000:]
        time.sleep(0.2)
