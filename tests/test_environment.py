"""What this process keeps of the memory that tensors leave, and what it gives back."""

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource
import torch
from jkbench.engine import environment

environment.prepare()

def faults(mib):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(16):
        torch.ones(mib * 2**18)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults(16)
print(faults(16), faults(64))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's malloc alone is told what to keep")
def test_tensors_of_a_step_stay_and_large_ones_go_back():
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True)
    step, large = (int(word) for word in done.stdout.split())
    assert step < 100  # a tensor of 16 MiB is 4,096 pages: none is faulted in again
    assert large > 300  # 64 MiB are faulted in anew each time, since they were given back
