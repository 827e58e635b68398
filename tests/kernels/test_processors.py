"""Processors: affinity, and quotas of control groups as containers set them."""

from __future__ import annotations

import math
import os

import pytest

from asr.kernels import pool, processors

V1 = "4:memory:/docker/ab12\n3:cpu,cpuacct:/docker/ab12\n2:cpuset:/docker/ab12\n"
GROUP2, GROUP1 = "sys/fs/cgroup", "sys/fs/cgroup/cpu"


def machine(root, groups, files):
    for name, text in {"proc/self/cgroup": groups, **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(("groups", "files", "wanted"), [
    # Version 2: a container's own mount; a service of systemd; an outer group is stricter.
    ("0::/\n", {f"{GROUP2}/cpu.max": "250000 100000\n"}, 2.5),
    ("0::/\n", {f"{GROUP2}/cpu.max": "max 100000\n"}, math.inf),
    ("0::/a.slice/b.service\n", {f"{GROUP2}/a.slice/b.service/cpu.max": "400000 100000\n"}, 4.0),
    ("0::/a.slice/b.service\n", {f"{GROUP2}/a.slice/b.service/cpu.max": "max 100000\n",
                                 f"{GROUP2}/a.slice/cpu.max": "150000 100000\n"}, 1.5),
    ("0::/../../elsewhere\n", {f"{GROUP2}/cpu.max": "100000 50000\n"}, 2.0),
    # Version 1: the path is the host's, the mount the container's; and without a limit.
    (V1, {f"{GROUP1}/cpu.cfs_quota_us": "300000\n", f"{GROUP1}/cpu.cfs_period_us": "100000\n"},
     3.0),
    (V1, {f"{GROUP1}/docker/ab12/cpu.cfs_quota_us": "50000\n",
          f"{GROUP1}/docker/ab12/cpu.cfs_period_us": "100000\n"}, 0.5),
    (V1, {f"{GROUP1}/cpu.cfs_quota_us": "-1\n", f"{GROUP1}/cpu.cfs_period_us": "100000\n"},
     math.inf),
    # Nothing, and nonsense.
    ("", {}, math.inf), ("0::/\n", {f"{GROUP2}/cpu.max": "lots\n"}, math.inf),
    ("strange\n", {f"{GROUP2}/cpu.max": "100000 100000\n"}, math.inf),
    ("0::/\n", {f"{GROUP2}/cpu.max": "100000 0\n"}, math.inf)])
def test_the_quota_of_a_control_group(tmp_path, groups, files, wanted):
    assert processors.quota(machine(tmp_path, groups, files)) == wanted


@pytest.mark.parametrize(("quota", "wanted"), [
    (math.inf, 6), (64.0, 6), (2.5, 3), (0.2, 1), (6.0, 6)])
def test_processors_are_those_allowed_and_paid_for(monkeypatch, quota, wanted):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)), raising=False)
    monkeypatch.setattr(processors, "quota", lambda: quota)
    monkeypatch.delenv("ASR_NUM_THREADS", raising=False)
    assert processors.usable() == wanted == pool.default_threads()


def test_a_system_without_affinity(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(processors, "quota", lambda: math.inf)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert processors.usable() == 1
