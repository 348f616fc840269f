"""What is found: raw measurements, failures, machines and sessions. Standard library only.

It computes nothing about speed: summaries are derived by `stats`, never kept in a record.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

from unetbench.errors import FailureKind
from unetbench.records.asked import Case

# The name among the options in force under which stands what was read of a case's threads from outside.
DENORMALS_SEEN = "denormals in its threads"
HIGH_WATER_MARK = "VmHWM"  # the kernel's, of a process: what a peak of memory is as a rule
MEASURED_CLASSES: Final = ("exact", "near", "approximate")  # the most exact first
ROUNDS = (
    1000  # a block's number modulo this is its round: those of a session's groups begin after 0, 1000, 2000 …
)
# From the best to the least: which one names a machine's CPU, whose model name often says nothing.
_TELLING_SETS = ("amx_int8", "amx_bf16", "avx512_bf16", "avx512_vnni", "avx512f", "avx_vnni", "avx2")
MARGIN_EDGES = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0)  # of Parity.margins, in units of the error's RMS


@dataclass(frozen=True, slots=True, kw_only=True)
class RewriteReport:
    """What one rewrite did: the proof that it fired, or that there was nothing to do."""

    rewrite: str
    offered: int  # modules that it could act on
    modules_before: int
    modules_after: int
    parameters_before: int
    parameters_after: int
    remaining: int | None = None  # of those offered, once it was applied; None in stores of earlier versions
    flop_before: int | None = None  # of one run of the case's input; None where no input was named
    flop_after: int | None = None
    moved_bytes_before: int | None = None  # read and written by the operations of one run
    moved_bytes_after: int | None = None
    reason: str = ""  # why nothing was offered; empty in stores of earlier versions

    @property
    def fired(self) -> bool:
        """Whether it changed anything: what there is, or how much is left to do."""
        counts = (self.modules_before, self.parameters_before) != (self.modules_after, self.parameters_after)
        return counts or (self.remaining is not None and self.remaining < self.offered)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """How far an answer is from the fp64 reference, on mean-removed logits (docs/measuring.md)."""

    relative_error: float  # L2 norm of the error over that of the reference
    eager_relative_error: float  # the same of torch_eager/fp32, computed beside the reference
    cosine: float
    agreement: float  # share of pixels with the same class
    flips_beyond_margin: int  # pixels that changed class where the reference was sure
    measured_class: Literal["exact", "near", "approximate"]
    inputs: int
    largest_error: float = 0.0  # of one logit, over the RMS of the mean-removed reference
    margins: tuple[int, ...] = ()  # pixels by the reference's margin in units of the RMS error: MARGIN_EDGES


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One turn of a case in a block: canaries, warm-up, a few timed runs, canaries; the others stopped."""

    order: int  # its place among all turns of the block
    before_ns: tuple[int, int]  # the canaries in cache and in memory, every case stopped
    after_ns: tuple[int, int]
    warmup_ns: tuple[int, ...] = ()
    run_ns: tuple[int, ...] = ()
    counters: dict[str, int | None] = field(default_factory=dict)  # their change over the turn
    started_s: float = 0.0  # by the supervisor's clock, which begins anywhere
    ended_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """What the cases of a group share in one block: their order's seed and the turns of the null runtime."""

    group: str  # the name of the cases that are in it together
    number: int  # of the session: no other group has it
    seed: int
    null_turns: tuple[Turn, ...]
    pss_bytes: int | None  # of all its processes together
    ready_s: tuple[float, ...]  # from the start of each process to its first turn


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """The raw nanoseconds and facts that one process produced for one case; never a mean."""

    warmup_ns: tuple[int, ...]
    run_ns: tuple[int, ...]
    bind_ns: tuple[int, ...]
    read_ns: tuple[int, ...]
    cpu_ns: int  # CPU time of all threads over the timed runs
    import_s: float
    build_s: float
    rewrite_s: float
    prepare_s: float
    first_run_s: float
    peak_load_bytes: int  # resident, from the start of the process to the end of the first run
    peak_run_bytes: int  # of steady inference, reset before it
    parameters: int
    encoder_parameters: int
    flop: int  # per run, a multiply-add counted as 2
    parity: Parity
    rewrites: tuple[RewriteReport, ...] = ()
    in_force: dict[str, str] = field(default_factory=dict)  # options read back from the runtime
    counters_before: dict[str, int | None] = field(default_factory=dict)
    counters_after: dict[str, int | None] = field(default_factory=dict)
    waiting_share: float | None = None  # of the timed runs with a process waiting for a CPU; None: unknown
    rejected_ns: tuple[tuple[int, ...], ...] = ()  # runs made again because the machine was not quiet
    turns: tuple[Turn, ...] = ()  # of a block: `run_ns` are theirs, in order
    block: int = 0  # its block's number; 0 where the process was alone
    peak_build_bytes: int | None = None  # up to the end of build, rewrite and conversion
    # Inputs and expected answers that measuring held in steady inference, fewer before; already off the peaks. None: recorded
    # before that was so, they are in them.
    held_bytes: int | None = None
    peak_is: str = HIGH_WATER_MARK  # what the kernel shows of the peaks, where it does not show that
    load_s: float | None = None  # of prepare_s: loading what was converted; None: prepared in the process
    artifact_bytes: int | None = None  # of the files that the runtime loads; None where there are none


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a case has no time: a finding, never a hole in the table."""

    stage: str
    kind: FailureKind
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """The facts that must agree before two results are compared in absolute terms."""

    cpu: str
    instruction_sets: tuple[str, ...]  # of those that matter for inference, what libraries may use
    cores: int  # threads that this process is granted
    logical_cpus: int
    memory_bytes: int
    kernel: str
    virtualisation: str | None
    governor: str | None
    versions: tuple[tuple[str, str], ...]
    # Whether the kernel backs memory with them: always, madvise (where asked), never.
    huge_pages: str | None = None
    environment: tuple[tuple[str, str], ...] | None = None  # variables that runtimes read, where they are set

    @property
    def telling_set(self) -> str:
        """The one instruction set that says most of what to expect; empty where none is known."""
        return next((name for name in _TELLING_SETS if name in self.instruction_sets), "")

    def differs_from(self, other: Machine) -> tuple[str, ...]:
        """Return the facts that forbid comparing times; kernel, memory and versions may differ.

        Huge pages and the shell's variables forbid it where both tell: early stores do not.
        """
        names = ["cpu", "instruction_sets", "cores", "logical_cpus", "virtualisation", "governor"]
        if self.huge_pages and other.huge_pages:
            names.append("huge_pages")
        if self.environment is not None and other.environment is not None:
            names.append("environment")
        return tuple(name for name in names if getattr(self, name) != getattr(other, name))


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One sitting on one machine under one set of conditions: what may be compared directly."""

    identifier: int
    started_utc: str
    machine: Machine
    preset: str
    images: str  # digest of the photographs
    command: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A case with its measurements in one session, or its failure: what reports read."""

    case: Case
    key: str = ""  # the case's, as stored: a checkpoint may have changed or gone since
    session: int
    measurements: tuple[Measurement, ...] = ()
    failure: Failure | None = None

    @property
    def alone(self) -> tuple[Measurement, ...]:
        """Those of processes that ran alone: costs, memory, agreement and the quick preset's times."""
        return tuple(each for each in self.measurements if not each.turns)

    @property
    def blocks(self) -> dict[int, Measurement]:
        """Those of paired blocks, by the block's number: what verdicts are made of."""
        return {each.block: each for each in self.measurements if each.turns}

    @property
    def parity(self) -> Parity:
        """How far its answers are from the reference: by the process that compared the most of them.

        Only where one measured alone.
        """
        return max((self.alone[-1], *self.blocks.values()), key=lambda each: each.parity.inputs).parity

    @property
    def turns(self) -> dict[int, tuple[Turn, ...]]:
        """The turns of each block, by the block's number."""
        return {number: each.turns for number, each in self.blocks.items()}

    @property
    def failed(self) -> bool:
        """Whether it was tried in vain; what was not run on purpose has not failed."""
        return self.failure is not None and self.failure.kind != "not run"
