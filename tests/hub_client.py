"""A machine beside the hub of the tests: a home, a registry and caches of its own, and processes that use them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.hub_server import HubServer

ROOT = Path(__file__).resolve().parents[1]
LFT = "import sys; from lft.cli.main import run; sys.exit(run(sys.argv[1:]))"
PATIENCE = 120  # seconds


@dataclass(frozen=True)
class Done:
    """How a process ended."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> Any:
        """What it printed as JSON."""
        return json.loads(self.out)

    @property
    def one_message(self) -> str:
        """The error, of which there is exactly one, with something to do, and no traceback."""
        assert "Traceback" not in self.err, self.err
        found = [line for line in self.err.splitlines() if line.startswith("error: ")]
        assert len(found) == 1, self.err
        return self.err[self.err.index(found[0]) :]


@dataclass(frozen=True)
class Machine:
    """A clean home beside a hub."""

    server: HubServer
    home: Path

    def lft(self, *arguments: str, token: str | None = None, offline: bool = False, **more: str | None) -> Done:
        """`lft adapters ARGUMENTS`."""
        return self.command("adapters", *arguments, token=token, offline=offline, **more)

    def command(self, *arguments: str, token: str | None = None, offline: bool = False, **more: str | None) -> Done:
        """`lft ARGUMENTS`."""
        return self.python(LFT, *arguments, token=token, offline=offline, **more)

    def python(
        self, code: str, *arguments: str, token: str | None = None, offline: bool = False, **more: str | None
    ) -> Done:
        """A process with this home."""
        self.home.mkdir(parents=True, exist_ok=True)
        env = self.server.environment(self.home / "hf", token=token, offline=offline)
        env |= {"HOME": str(self.home), "LFT_HOME": str(self.home / "lft"), "LFT_CACHE": str(self.home / "cache")}
        env |= {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
        env = {name: value for name, value in (env | more).items() if value is not None}
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            env=env, cwd=self.home, capture_output=True, text=True, timeout=PATIENCE, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        return Done(done.returncode, done.stdout, done.stderr)

    @property
    def registry(self) -> Path:
        return self.home / "lft/registry"

    def left_behind(self) -> list[str]:
        """Files that a failed pull must not leave: versions, drafts, parts of downloads, links that lead nowhere."""
        versions = [*self.registry.glob("manifests/*/*/*.json"), *self.registry.glob("tmp/*/*")]
        parts = list(self.home.rglob("*.incomplete"))
        hanging = [path for path in self.home.rglob("snapshots/*/*") if not path.exists()]
        return [os.fspath(path.relative_to(self.home)) for path in (*versions, *parts, *hanging)]
