"""One pipeline on this machine, on SLURM and on Ray, without a word on the terminal."""

import os
import stat
import sys
from pathlib import Path

import pytest

pytest.importorskip("datatrove")

from lft.corpus.executor import SAID, make_executor, run_executor
from lft.corpus.schema import Run, Slurm
from lft.errors import MachineError
from tests.corpus.steps import Die, Note, Refuse, Tally

SLURM = Run(executor="slurm", tasks=3, workers=2, slurm=Slurm(partition="cpu", time="01:00:00", cpus=2, memory=3))

SBATCH = """\
#!/bin/bash
# runs a script's array at once, as a cluster would later
script="${@: -1}"
grep '^#SBATCH' "$script" >> "$TRIED/directives"
[ -z "$(grep launch_pickled_pipeline "$script")" ] && { echo "Submitted batch job 8"; exit 0; }
last=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\).*/\\1/p' "$script")
for task in $(seq 0 "$last"); do
  [ "$task" = "$SKIPPED" ] || SLURM_ARRAY_TASK_ID=$task SLURM_NODELIST=here bash "$script" > "$TRIED/task$task" 2>&1
done
echo "Submitted batch job 7"
"""
SRUN = '#!/bin/bash\nwhile [ "${1#-}" != "$1" ]; do [ "$1" = -n ] && shift; shift; done\nexec "$@"\n'
SCONTROL = "#!/bin/bash\necho here\n"
SQUEUE = "#!/bin/bash\nexit 0\n"


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A login node: what sbatch takes runs at once."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in {"sbatch": SBATCH, "srun": SRUN, "scontrol": SCONTROL, "squeue": SQUEUE}.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755 | stat.S_IXUSR)
    monkeypatch.setenv("PATH", os.pathsep.join((str(folder), str(Path(sys.executable).parent), os.environ["PATH"])))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]))
    monkeypatch.setenv("TRIED", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("workers", [1, 2])
def test_every_task_runs_and_nothing_is_said(tmp_path: Path, capfd: pytest.CaptureFixture[str], workers: int) -> None:
    run_executor(make_executor([Note(tmp_path / "out")], Run(tasks=3, workers=workers), tmp_path / "logs", "read"))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["0-of-3", "1-of-3", "2-of-3"]
    assert capfd.readouterr() == ("", "")
    assert "PIPELINE" in (tmp_path / "logs" / SAID).read_text(encoding="utf-8")
    assert (tmp_path / "logs" / "stats.json").is_file()


@pytest.mark.parametrize("workers", [1, 2])
def test_what_a_step_raises_in_a_task_arrives(tmp_path: Path, capfd: pytest.CaptureFixture[str], workers: int) -> None:
    executor = make_executor([Refuse()], Run(tasks=2, workers=workers), tmp_path / "logs", "read")
    with pytest.raises(MachineError, match="no such thing") as caught:
        run_executor(executor)
    assert caught.value.fix == "try another"
    assert capfd.readouterr() == ("", "")


def test_a_worker_that_is_killed_ends_the_run_with_a_message(tmp_path: Path) -> None:
    steps = [Note(tmp_path / "out"), Die()]
    with pytest.raises(MachineError, match="a worker process was killed") as caught:
        run_executor(make_executor(steps, Run(tasks=6, workers=2), tmp_path / "logs", "read"))
    assert caught.value.where == str(tmp_path / "logs")


@pytest.mark.parametrize("workers", [1, 2])
def test_what_steps_count_begins_at_nothing_in_every_task(tmp_path: Path, workers: int) -> None:
    run_executor(make_executor([Tally(tmp_path / "out")], Run(tasks=4, workers=workers), tmp_path / "logs", "read"))
    assert {path.name: path.read_text() for path in (tmp_path / "out").iterdir()} == {
        str(n): f"[{n}]" for n in range(4)
    }


def test_a_second_run_only_does_the_tasks_that_are_missing(tmp_path: Path) -> None:
    run = Run(tasks=3, workers=1)
    run_executor(make_executor([Note(tmp_path / "out")], run, tmp_path / "logs", "read"))
    for path in (tmp_path / "out").iterdir():
        path.unlink()
    (tmp_path / "logs" / "completions" / "00001").unlink()
    run_executor(make_executor([Note(tmp_path / "out")], run, tmp_path / "logs", "read"))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["1-of-3"]


@pytest.mark.slow
def test_slurm_gets_an_array_of_tasks_and_runs_them(cluster: Path) -> None:
    run_executor(make_executor([Note(cluster / "out")], SLURM, cluster / "logs", "read-c4"))
    assert sorted(path.name for path in (cluster / "out").iterdir()) == ["0-of-3", "1-of-3", "2-of-3"]


def test_slurm_is_asked_for_what_the_file_says(cluster: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lft.corpus.executor._SETTLE_SECONDS", 0.0)
    (cluster / "bin" / "srun").write_text("#!/bin/bash\nexit 1\n")
    with pytest.raises(MachineError, match="3 of 3 tasks did not finish") as caught:
        run_executor(make_executor([Note(cluster / "out")], SLURM, cluster / "logs", "read-c4"))
    assert caught.value.where == str(cluster / "logs")
    said = (cluster / "directives").read_text().splitlines()
    for directive in ("cpus-per-task=2", "mem-per-cpu=3G", "partition=cpu", "job-name=read-c4", "time=01:00:00"):
        assert f"#SBATCH --{directive}" in said
    assert "#SBATCH --array=0-2%2" in said
    assert not any("qos" in line for line in said)


def test_without_sbatch_or_ray_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MachineError, match="no sbatch"):
        make_executor([Refuse()], SLURM, tmp_path, "read")
    with pytest.raises(MachineError, match="ray, which is not installed"):
        make_executor([Refuse()], Run(executor="ray"), tmp_path, "read")
