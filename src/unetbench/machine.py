"""What this computer grants: cores, quota, instruction sets, memory, versions. Reads, never sets."""

from __future__ import annotations

import os
import platform
import re
import shlex
import subprocess
from functools import cache
from pathlib import Path, PurePosixPath

from unetbench.errors import BadInput
from unetbench.records import Machine

# The instruction sets that change which recipe wins, from the kernel's names for them.
_SETS_THAT_MATTER = (
    "avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16",
    "amx_bf16", "amx_int8", "asimd", "sve", "bf16", "i8mm",
)  # fmt: skip
BF16_SETS = ("avx512_bf16", "amx_bf16", "bf16")  # any of them computes in bf16; else it is emulated
INT8_SETS = ("avx_vnni", "avx512_vnni", "amx_int8", "i8mm")  # any of them sums products of bytes in 32 bits
# They cap what torch's convolutions and products use (the second is the old name): by each cap the sets that are above it.
# oneDNN ignores other words.
_ONEDNN_CAPS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
_AMX = ("amx_bf16", "amx_int8")
_ABOVE_VNNI = ("avx512_bf16", "avx512_fp16", *_AMX)
_AVX512 = ("avx512f", "avx512_vnni", *_ABOVE_VNNI)
_ONEDNN_WITHOUT = {
    **dict.fromkeys(("SSE41", "AVX", "AVX2"), ("avx_vnni", *_AVX512)),
    **dict.fromkeys(("AVX2_VNNI", "AVX2_VNNI_2"), _AVX512),
    "AVX512_CORE": ("avx_vnni", "avx512_vnni", *_ABOVE_VNNI),
    "AVX512_CORE_VNNI": _ABOVE_VNNI,
    "AVX512_CORE_BF16": ("avx512_fp16", *_AMX),
    **dict.fromkeys(("AVX512_CORE_FP16", "AVX10_1_512"), _AMX),
}
# Variables of the shell that runtimes, their compilers and allocators read, by how their names begin; those that every
# worker is given in our words say nothing.
_READ_BY_RUNTIMES = (
    "OMP_", "GOMP_", "KMP_", "MKL_", "ONEDNN_", "DNNL_", "ATEN_", "TORCHINDUCTOR_", "AOT_INDUCTOR_", "OV_", "ORT_", "MALLOC_",
    "GLIBC_TUNABLES", "LD_PRELOAD", "CXX", "CPATH", "CPLUS_INCLUDE_PATH",
)  # fmt: skip
GIVEN_TO_WORKERS = (
    "OMP_NUM_THREADS", "MKL_NUM_THREADS", "TORCHINDUCTOR_COMPILE_THREADS", "TORCHINDUCTOR_CACHE_DIR",
)  # fmt: skip
_GROUPS = "/sys/fs/cgroup"
_CACHES = 8  # that the kernel tells of, at most: data, instructions and three levels as a rule
_CACHE_UNITS = {"K": 10, "M": 20}  # of the kernel's cache sizes, as powers of two
_PACKAGES = ("unetbench", "torch", "timm", "numpy")  # those whose version moves a number
_NOT_INSTALLED = "not installed"
# And these, where they are installed: of runtimes, and of networks that are not ours.
_RUNTIMES = ("onnxruntime", "openvino", "nncf", "torchao", "ncnn", "pnnx", "MNN")
_NETWORKS = ("torchvision", "segmentation-models-pytorch", "dynamic-network-architectures")


def machine() -> Machine:
    """Return the facts of this machine that results depend on."""
    return Machine(
        cpu=_cpu_model(),
        instruction_sets=instruction_sets(),
        cores=granted_cores(),
        logical_cpus=os.cpu_count() or 1,
        memory_bytes=granted_memory_bytes(),
        kernel=platform.release(),
        virtualisation="virtual machine" if "hypervisor" in cpu_flags() else None,
        governor=_text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        versions=_versions(),
        huge_pages=_huge_pages(),
        environment=environment(),
    )


def environment() -> tuple[tuple[str, str], ...]:
    """Return the variables that runtimes read and that are set here, by name; what cannot be printed is escaped."""
    return tuple(
        sorted(
            (name, value.encode("unicode_escape").decode("ascii"))
            for name, value in os.environ.items()
            if name.startswith(_READ_BY_RUNTIMES) and name not in GIVEN_TO_WORKERS
        )
    )


def _huge_pages() -> str | None:
    """The kernel's choice for anonymous memory, which it shows in brackets among all three."""
    choices = _text("/sys/kernel/mm/transparent_hugepage/enabled") or ""
    chosen = re.search(r"\[(\w+)\]", choices)
    return chosen[1] if chosen else None


def _versions() -> tuple[tuple[str, str], ...]:
    found = [("python", platform.python_version()), *((name, version(name)) for name in _PACKAGES)]
    others = ((name, version(name)) for name in (*_RUNTIMES, *_NETWORKS))
    return (*found, *(each for each in others if each[1] != _NOT_INSTALLED))


def granted_cores() -> int:
    """Return floor(min(affinity, CFS quota, physical cores)), at least 1.

    `os.cpu_count()` and the affinity both miss a container's quota; hyper-threads add no cores.
    """
    cpus = _affinity()
    return max(1, int(min(len(cpus), _quota_cores(), _physical_cores(cpus))))


def threads_or_granted(asked: int | None) -> int:
    """Return the number of threads to use: what was asked, or the cores granted.

    Raises: BadInput where more are asked than CPUs are allowed.
    """
    if asked is None:
        return granted_cores()
    if not 1 <= asked <= len(_affinity()):
        raise BadInput(
            f"--threads {asked} is not possible: this process may use 1 to {len(_affinity())} "
            f"CPUs; leave it out to use the {granted_cores()} cores granted."
        )
    return asked


def granted_memory_bytes() -> int:
    """Return the memory limit: the machine's, or that of a control group of this process where that is less."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = [_text(f"{folder}/memory.max") for folder in control_groups()]
    limits.append(_text("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
    return min([total, *(int(limit) for limit in limits if limit and limit.isdigit())])


def control_groups() -> tuple[str, ...]:
    """Return the folders of this process's control group (v2) and of all above it, whose limits hold too."""
    own = re.search(r"^0::(/.*)$", _text("/proc/self/cgroup") or "", re.MULTILINE)
    path = PurePosixPath(own[1] if own and ".." not in own[1] else "/")  # .. leads out of what can be seen
    return tuple(f"{_GROUPS}{each}".rstrip("/") for each in (path, *path.parents))


def last_cache_bytes() -> int | None:
    """Return the size of the largest cache that the first CPU has a part in; None where nothing tells."""
    folder = "/sys/devices/system/cpu/cpu0/cache"
    sizes = [_text(f"{folder}/index{index}/size") for index in range(_CACHES)]
    found = [int(size[:-1]) << _CACHE_UNITS[size[-1]] for size in sizes if size and size[-1] in _CACHE_UNITS]
    return max(found, default=None)


def multiplies_bytes(*, capped: bool = True) -> bool:
    """Whether the CPU sums products of bytes in 32 bits; else sums of two saturate in 16, and half the range is all there is.

    `capped`: by what oneDNN may use, else by what the CPU has.
    """
    sets = instruction_sets() if capped else cpu_flags()
    return any(name in INT8_SETS for name in sets)


def instruction_sets() -> tuple[str, ...]:
    """Return the sets that matter and that torch's kernels may use (`ONEDNN_MAX_CPU_ISA` obeyed)."""
    present = tuple(name for name in _SETS_THAT_MATTER if name in cpu_flags())
    cap = next((os.environ[name] for name in _ONEDNN_CAPS if name in os.environ), "")
    without = _ONEDNN_WITHOUT.get(cap.upper(), ())
    return tuple(name for name in present if name not in without)


def bf16_instructions() -> tuple[str, ...]:
    """Return the instruction sets that compute in bf16 here; empty where PyTorch emulates it."""
    return tuple(name for name in instruction_sets() if name in BF16_SETS)


def _affinity() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def _quota_cores() -> float:
    """The CFS quota in cores, infinite where there is none (cgroup v2 and v1)."""
    quotas = [(_text(f"{folder}/cpu.max") or "max").split() for folder in control_groups()]
    first = [_text(f"{_GROUPS}/cpu/cpu.cfs_{name}_us") or "" for name in ("quota", "period")]
    numbers = [each for each in (*quotas, first) if len(each) == 2 and all(map(str.isdecimal, each))]
    return min((int(quota) / int(period) for quota, period in numbers), default=float("inf"))


def cpus_core_by_core() -> list[int]:
    """Return the CPUs that this process may use: one of each core first, then those that share a core with them."""
    cpus = sorted(_affinity())
    cores = [_core(cpu) for cpu in cpus]
    shared = {cpu: cores[:place].count(cores[place]) for place, cpu in enumerate(cpus)}
    return sorted(cpus, key=lambda cpu: (shared[cpu], cpu))


def _physical_cores(cpus: set[int]) -> int:
    return len({_core(cpu) for cpu in cpus})


def _core(cpu: int) -> object:
    folder = f"/sys/devices/system/cpu/cpu{cpu}/topology"
    package, core = _text(f"{folder}/physical_package_id"), _text(f"{folder}/core_id")
    return cpu if core is None else (package, core)


@cache
def _cpuinfo() -> str:
    return _text("/proc/cpuinfo") or ""


@cache
def cpu_flags() -> tuple[str, ...]:
    """Return all that the kernel says of the CPU's instructions, sorted."""
    match = re.search(r"^(?:flags|Features)\s*:\s*(.*)$", _cpuinfo(), re.MULTILINE)
    return tuple(sorted(set(match[1].split()))) if match else ()


@cache
def compiler() -> str:
    """Return the name and version of the C++ compiler that Inductor would call."""
    asked = shlex.split(os.environ.get("CXX") or "g++")
    try:
        told = subprocess.run([*asked, "--version"], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return f"{shlex.join(asked)}, which does not tell its version"
    return told.stdout.partition("\n")[0]


def _cpu_model() -> str:
    match = re.search(r"^model name\s*:\s*(.*)$", _cpuinfo(), re.MULTILINE)
    return match[1] if match else platform.processor() or platform.machine()


def version(package: str) -> str:
    """Return the version of a package, or that it is not installed."""
    # 0.03 s that a worker, which asks for none, need not wait.
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return _NOT_INSTALLED


def _text(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError:
        return None
