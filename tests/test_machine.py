"""What the machine grants: the least of affinity, quota and physical cores."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from unetbench import machine
from unetbench.errors import BadInput
from unetbench.measuring import launch

ROOT = Path(__file__).parents[1]


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The kernel's files as the test wants them; what is not there cannot be read."""
    contents: dict[str, str] = {}
    monkeypatch.setattr(machine, "_text", contents.get)
    return contents


def _cpus(monkeypatch: pytest.MonkeyPatch, files: dict[str, str], cpus: int, per_core: int = 1) -> None:
    monkeypatch.setattr(machine, "_affinity", lambda: set(range(cpus)))
    for cpu in range(cpus):
        folder = f"/sys/devices/system/cpu/cpu{cpu}/topology"
        files[f"{folder}/physical_package_id"] = "0"
        files[f"{folder}/core_id"] = str(cpu // per_core)


@pytest.mark.parametrize(
    ("cpus", "per_core", "quota", "granted"),
    [
        (8, 1, {}, 8),
        (8, 2, {}, 4),
        (8, 1, {"/sys/fs/cgroup/cpu.max": "max 100000"}, 8),
        (8, 1, {"/sys/fs/cgroup/cpu.max": "250000 100000"}, 2),
        (8, 1, {"/sys/fs/cgroup/cpu.max": "290000 100000"}, 2),
        (8, 1, {"/sys/fs/cgroup/cpu.max": "50000 100000"}, 1),
        (
            8,
            1,
            {
                "/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "300000",
                "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
            },
            3,
        ),
        (8, 1, {"/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1"}, 8),
        (1, 1, {"/sys/fs/cgroup/cpu.max": "400000 100000"}, 1),
        # As systemd's CPUQuota sets it, of a service or of a slice above it.
        (
            8,
            1,
            {"/proc/self/cgroup": "0::/a.slice/b", "/sys/fs/cgroup/a.slice/b/cpu.max": "300000 100000"},
            3,
        ),
        (
            8,
            1,
            {
                "/proc/self/cgroup": "1:cpu:/x\n0::/a.slice/b",
                "/sys/fs/cgroup/a.slice/cpu.max": "200000 100000",
            },
            2,
        ),
        (8, 1, {"/proc/self/cgroup": "0::/../b", "/sys/fs/cgroup/cpu.max": "500000 100000"}, 5),
    ],
)
def test_cores(
    monkeypatch: pytest.MonkeyPatch,
    files: dict[str, str],
    cpus: int,
    per_core: int,
    quota: dict[str, str],
    granted: int,
) -> None:
    _cpus(monkeypatch, files, cpus, per_core)
    files.update(quota)
    assert machine.granted_cores() == granted


def test_a_topology_that_is_hidden_counts_cpus(
    monkeypatch: pytest.MonkeyPatch, files: dict[str, str]
) -> None:
    monkeypatch.setattr(machine, "_affinity", lambda: {0, 1, 5})
    assert machine.granted_cores() == 3


def test_one_cpu_of_each_core_comes_first(monkeypatch: pytest.MonkeyPatch, files: dict[str, str]) -> None:
    _cpus(monkeypatch, files, 6, per_core=2)
    assert machine.cpus_core_by_core() == [0, 2, 4, 1, 3, 5]
    files.clear()
    assert machine.cpus_core_by_core() == list(range(6)), "a topology that is hidden counts CPUs"


def test_threads(monkeypatch: pytest.MonkeyPatch, files: dict[str, str]) -> None:
    _cpus(monkeypatch, files, 4, per_core=2)
    assert machine.threads_or_granted(None) == 2
    assert machine.threads_or_granted(4) == 4
    for asked in (0, 5):
        with pytest.raises(BadInput, match="1 to 4"):
            machine.threads_or_granted(asked)


@pytest.mark.parametrize(
    ("cap", "found"),
    [
        (None, ("avx512_bf16", "amx_bf16")),
        ("AVX512_CORE_AMX", ("avx512_bf16", "amx_bf16")),
        ("AVX512_CORE_BF16", ("avx512_bf16",)),
        ("avx2", ()),
        ("AVX512_CORE_VNNI", ()),
    ],
)
def test_bf16_needs_instructions_that_torch_may_use(
    monkeypatch: pytest.MonkeyPatch, cap: str | None, found: tuple[str, ...]
) -> None:
    monkeypatch.setattr(machine, "cpu_flags", lambda: frozenset({"avx2", "avx512_bf16", "amx_bf16"}))
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    if cap:
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", cap)
    assert machine.bf16_instructions() == found
    assert "avx2" in machine.instruction_sets()


@pytest.mark.parametrize(
    ("cap", "found", "multiplies"),
    [
        (None, ("avx_vnni", "avx512_vnni", "amx_int8"), True),
        ("AVX512_CORE_FP16", ("avx_vnni", "avx512_vnni"), True),
        ("AVX512_CORE_VNNI", ("avx_vnni", "avx512_vnni"), True),
        ("AVX512_CORE", (), False),
        ("AVX2_VNNI", ("avx_vnni",), True),
        ("AVX2", (), False),
    ],
)
def test_sums_of_bytes_saturate_where_torch_may_not_use_what_sums_them(
    monkeypatch: pytest.MonkeyPatch, cap: str | None, found: tuple[str, ...], multiplies: bool
) -> None:
    flags = frozenset({"avx2", "avx_vnni", "avx512f", "avx512_vnni", "amx_int8"})
    monkeypatch.setattr(machine, "cpu_flags", lambda: flags)
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    if cap:
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", cap)
    assert tuple(name for name in machine.instruction_sets() if name in machine.INT8_SETS) == found
    assert machine.multiplies_bytes() is multiplies
    assert machine.multiplies_bytes(capped=False), "whatever oneDNN may use"


def test_a_machine_without_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "cpu_flags", lambda: frozenset({"avx2", "fma"}))
    assert machine.bf16_instructions() == ()


def test_the_control_groups_memory_counts(files: dict[str, str]) -> None:
    total = machine.granted_memory_bytes()
    files["/sys/fs/cgroup/memory.max"] = str(total // 2)
    assert machine.granted_memory_bytes() == total // 2
    files["/sys/fs/cgroup/memory.max"] = "max"
    assert machine.granted_memory_bytes() == total
    files |= {"/proc/self/cgroup": "0::/a.slice/b", "/sys/fs/cgroup/a.slice/memory.max": str(total // 4)}
    assert machine.granted_memory_bytes() == total // 4


def test_how_the_kernel_gives_huge_pages(files: dict[str, str]) -> None:
    assert machine.machine().huge_pages is None
    files["/sys/kernel/mm/transparent_hugepage/enabled"] = "always [madvise] never"
    assert machine.machine().huge_pages == "madvise"


def test_the_facts_name_the_versions_that_move_numbers() -> None:
    assert {"python", "torch", "timm", "unetbench"} <= dict(machine.machine().versions).keys()


@pytest.mark.parametrize("cap", ["", "NONSENSE"])
def test_what_onednn_ignores_limits_nothing(monkeypatch: pytest.MonkeyPatch, cap: str) -> None:
    monkeypatch.setattr(machine, "cpu_flags", lambda: frozenset({"amx_bf16"}))
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", cap)
    assert machine.bf16_instructions() == ("amx_bf16",)


def test_the_old_name_of_onednns_cap_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "cpu_flags", lambda: frozenset({"avx2", "amx_bf16"}))
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    monkeypatch.setenv("DNNL_MAX_CPU_ISA", "avx2")
    assert machine.bf16_instructions() == ()


def test_the_last_cache_is_the_largest_that_the_kernel_tells_of(files: dict[str, str]) -> None:
    assert machine.last_cache_bytes() is None
    for index, size in enumerate(("32K", "32K", "1024K", "32M")):
        files[f"/sys/devices/system/cpu/cpu0/cache/index{index}/size"] = size
    assert machine.last_cache_bytes() == 32 << 20


def test_variables_that_runtimes_read_are_facts_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, _ in machine.environment():
        monkeypatch.delenv(name)
    plain = machine.machine()
    monkeypatch.setenv("OMP_NUM_THREADS", "7")  # every worker is given its own
    monkeypatch.setenv("HOME_OF_NOTHING", "x")
    assert machine.machine() == plain
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")
    monkeypatch.setenv("LD_PRELOAD", "")
    other = machine.machine()
    assert other.environment == (("LD_PRELOAD", ""), ("OMP_WAIT_POLICY", "passive"))
    assert plain.differs_from(other) == ("environment",)
    assert not replace(plain, environment=None).differs_from(other), "early stores do not tell"
    monkeypatch.setenv("LD_PRELOAD", "a\nb\udcff")
    assert machine.environment()[0] == ("LD_PRELOAD", "a\\nb\\udcff"), "it is printed and stored"


def test_a_cpu_passes_for_one_with_avx2_alone() -> None:
    """numpy asks the CPU, unetbench the kernel; a program's own handler of segmentation faults still has its turn."""
    asked = (
        "import faulthandler, os, signal, sys; faulthandler.enable()\n"
        "from numpy._core._multiarray_umath import __cpu_features__ as told\n"
        "from unetbench import machine\n"
        "print(told['AVX2'], any(told[name] for name in told if name.startswith('AVX512')), *machine.instruction_sets())\n"
        "print(*(name for name, _ in machine.environment()))\n"
        "sys.stdout.flush(); os.kill(os.getpid(), signal.SIGSEGV)\n"
    )
    done = subprocess.run(
        [ROOT / "scripts" / "with_avx2_alone", sys.executable, "-c", asked],
        capture_output=True,
        text=True,
        check=False,
    )
    if "cannot make CPUID fault" in done.stderr:
        assert done.returncode == 2, "nothing runs as what it is not"
        pytest.skip(done.stderr.strip())
    flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    here = [name for name in ("avx2", "fma", "f16c") if name in flags]
    sets, environment = done.stdout.splitlines()
    assert sets.split() == [str("avx2" in here), "False", *here]
    assert {"LD_PRELOAD", "GLIBC_TUNABLES"} <= set(environment.split()), "results are stored with it"
    assert done.stderr.startswith("Fatal Python error: Segmentation fault")
    assert done.returncode


def test_a_workers_caches_are_its_own_and_nothing_is_fetched_unless_asked_for(tmp_path: Path) -> None:
    """A compiler that finds what another has compiled is not cold."""
    for online in (False, True):
        given = launch._environment(2, tmp_path / str(online), online=online)
        for name in ("TORCHINDUCTOR_CACHE_DIR", "TMPDIR"):
            assert Path(given[name]).is_relative_to(tmp_path / str(online))
        assert given.get("HF_HUB_OFFLINE") == (None if online else "1")
        assert (given["CUDA_VISIBLE_DEVICES"], given["THP_MEM_ALLOC_ENABLE"]) == ("", "0")
        assert {given[name] for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")} == {"2"}


def test_what_is_no_fact_is_what_workers_are_given(tmp_path: Path) -> None:
    given = launch._environment(2, tmp_path, online=False)
    assert set(machine.GIVEN_TO_WORKERS) <= given.keys()
