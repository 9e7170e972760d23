"""What the measured runs say, as tables of ratios."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import median

from breakdown import GROUPS
from contenders import Contender, Figures, Profile, grouped

ROUNDS = ("cold", "again")
Rounds = dict[Contender, list[Figures]]


@dataclass(frozen=True)
class Column:
    """A number of a line, from lft's run and the contender's of the same round; the table has the rounds' median."""

    title: str
    number: Callable[[Figures, Figures], float]
    form: str

    def of(self, ours: Iterable[Figures], theirs: Iterable[Figures]) -> str:
        found = (self.number(our, their) for our, their in zip(ours, theirs, strict=True))
        return f"{median(found):{self.form}}"


COLUMNS = (
    Column("tok/s", lambda ours, theirs: ours.rate / theirs.rate, "9.2f"),
    Column("tok/cpu-s", lambda ours, theirs: ours.cpu_rate / theirs.cpu_rate, "9.2f"),
    Column("memory", lambda ours, theirs: ours.memory / theirs.memory, "9.2f"),
    Column("loss", lambda ours, theirs: ours.final_loss / theirs.final_loss - 1, "+9.2%"),
    Column("1st step", lambda ours, theirs: ours.first_step / theirs.first_step, "9.2f"),
    Column("start", lambda ours, theirs: ours.start / theirs.start, "9.2f"),
    Column("start-cpu", lambda ours, theirs: ours.start_cpu / theirs.start_cpu, "9.2f"),
    Column("cpu", lambda _, theirs: theirs.cpu, "9.2f"),
)
OVERHEAD = (
    Column("step", lambda ours, theirs: theirs.step / ours.step - 1, "+9.1%"),
    Column("step-cpu", lambda ours, theirs: theirs.step_cpu / ours.step_cpu - 1, "+9.1%"),
)
LEGEND = """
lft over the contender of that line, medians of the rounds (tok/s, tok/cpu-s: supervised tokens, higher is better; the
others: lower is better); loss: by how much lft's final loss is higher
1st step: to the end of the first optimizer step; start: what comes before it (imports, tokens, model); start-cpu: in
processor seconds. Both leave evaluation out. cpu: processor seconds a second of the contender's steps, of its first
process (below the threads, others had the machine, or it waited for its peers)"""


def show_medians(rounds: Rounds, threads: int) -> None:
    """Ratios of each contender to lft; of several processes also the overhead of a step over lft's first engine."""
    several = any(contender.processes > 1 for contender in rounds)
    columns = (*OVERHEAD, *COLUMNS) if several else COLUMNS
    count = len(next(iter(rounds.values())))
    print(f"{threads} thread(s) a process; {count} alternating round(s), median of their ratios\n")
    print(f"{'method':6} {'data':10} {'contender':18}" + "".join(f"{column.title:>10}" for column in columns))
    for contender, our in grouped(rounds):
        numbers = "".join(" " + column.of(rounds[our], rounds[contender]) for column in columns)
        print(f"{contender.method:6} {contender.data:10} {contender.name:18}{numbers}")
    print(LEGEND)
    if several:
        print("lft here is lft's ddp; step, step-cpu: how much longer the contender's median step is than that one's")


def show_ratios(best: dict[Contender, Figures], threads: int) -> None:
    print(f"{threads} thread(s) a process; best of the rounds\n")
    print(
        f"{'data':10} {'contender':18} {'steps':>5} {'s':>7} {'sup. tok/s':>10} {'ratio':>6} {'loss':>7} "
        f"{'GiB':>5} {'ratio':>6} {'cpu':>5} {'ratio':>6}"
    )
    for contender, our in grouped(best):
        one, ours = best[contender], best[our]
        print(
            f"{contender.data:10} {contender.name:18} {one.steps:5} {one.seconds:7.1f} {one.rate:10.0f} "
            f"{ours.rate / one.rate:6.2f} {one.final_loss:7.4f} {one.memory / 2**30:5.2f} "
            f"{ours.memory / one.memory:6.2f} {one.cpu:5.2f} "
            f"{ours.cpu_rate / one.cpu_rate:6.2f}"
        )
    print("\nratio: lft over the contender of that line (speed: higher is better; memory: lower is better)")
    print(
        "cpu: processor seconds a second of steps (below the threads, others had the machine); ratio: tokens for each"
    )


def show_first_steps(rounds: Rounds) -> None:
    """Nothing is cached in a contender's first round; in the later ones what it keeps for itself."""
    print(
        "\nseconds from the start of the process to the end of the first optimizer step, and processor seconds (cpu)\n"
    )
    print(
        f"{'data':10} {'contender':18}" + "".join(f" {name:>6} {'ratio':>6} {'cpu':>6} {'ratio':>6}" for name in ROUNDS)
    )
    for contender, our in grouped(rounds):
        line = f"{contender.data:10} {contender.name:18}"
        for runs, others in zip(rounds_apart(rounds[contender]), rounds_apart(rounds[our]), strict=True):
            for what in ("first_step", "first_step_cpu"):
                one, ours = (min((getattr(run, what) for run in each), default=0.0) for each in (runs, others))
                line += f" {one:6.1f} {ours / one:6.2f}" if one else f" {'-':>6} {'-':>6}"
        print(line)


def rounds_apart(runs: list[Figures]) -> tuple[list[Figures], list[Figures]]:
    """The first round, and the others."""
    return runs[:1], runs[1:]


def show_profiles(profiles: dict[Contender, Profile]) -> None:
    print("\nwhere the time of lft's steps goes (torch.profiler, which makes small operators dearer than they are)\n")
    print(f"{'data':10} {'contender':18} {'ms/step':>8}" + "".join(f" {group:>12}" for group in GROUPS))
    for contender, found in profiles.items():
        shares = "".join(f" {found.shares[group]:12.1%}" for group in GROUPS)
        print(f"{contender.data:10} {contender.name:18} {found.step * 1e3:8.0f}{shares}")


def show_distance(best: dict[Contender, Figures], threads: int) -> None:
    """With one thread in processor seconds, as the peak is: what others take of the machine does not count."""
    print("\ndistance from this machine's float32 torch.mm (GFLOP/s; large: 1024 x 1024, shapes: this model's)\n")
    print(f"{'data':10} {'contender':18} {'achieved':>8} {'large':>7} {'share':>6} {'shapes':>7} {'share':>6}")
    for contender, figures in best.items():
        peak, seconds = figures.peak, figures.seconds * (figures.cpu if threads == 1 else 1.0)
        assert peak is not None
        achieved = figures.flops / seconds / 1e9
        print(
            f"{contender.data:10} {contender.name:18} {achieved:8.1f} {peak.large:7.1f} {achieved / peak.large:6.0%} "
            f"{peak.shapes:7.1f} {achieved / peak.shapes:6.0%}"
        )
