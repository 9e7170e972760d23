"""What several commands share: the cache's place, quiet libraries, one line of progress."""

from __future__ import annotations

import logging
import os
import sys
import time
import warnings
from pathlib import Path


def cache_folder() -> Path:
    """Where converted bases and tokens are kept: $LFT_CACHE, else $XDG_CACHE_HOME/lft, else ~/.cache/lft."""
    named = os.environ.get("LFT_CACHE")
    return Path(named) if named else Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "lft"


def registry_folder() -> Path:
    """Where the adapters are kept: $LFT_HOME/registry; LFT_HOME is else $XDG_DATA_HOME/lft, else ~/.local/share/lft."""
    named = os.environ.get("LFT_HOME")
    home = Path(named) if named else Path(os.environ.get("XDG_DATA_HOME", Path.home() / ".local" / "share")) / "lft"
    return home / "registry"


def quiet_libraries() -> None:
    """Silence what libraries print on import and on load; lft says what a user must know."""
    os.environ.setdefault("DS_ACCELERATOR", "cpu" if not Path("/dev/nvidiactl").exists() else "cuda")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")  # c10d prints a stack of C++ where machines do not meet
    warnings.filterwarnings("ignore")
    for name in ("accelerate", "bitsandbytes", "peft", "trl"):
        logging.getLogger(name).setLevel(logging.ERROR)
    if "transformers" in sys.modules:  # it has looked at the environment; importing it here would take half a second
        from transformers.utils import logging as transformers_logging

        transformers_logging.set_verbosity_error()
        transformers_logging.disable_progress_bar()


class ProgressLine:
    """A line that rewrites itself on a terminal; elsewhere a line every few seconds, so that logs stay short.

    As a context manager it ends its line when the block ends, so that an error message begins on a line of its own.
    """

    def __init__(self, every: float = 10.0) -> None:
        self.live = sys.stdout.isatty()
        self.every = every
        self.printed_at = 0.0
        self.open = False

    def __enter__(self) -> ProgressLine:
        return self

    def __exit__(self, *_: object) -> None:
        if self.open:
            print(flush=True)
            self.open = False

    def update(self, text: str, *, last: bool = False) -> None:
        """Show the newest state."""
        now = time.monotonic()
        if self.live:
            print(f"\r\033[2K{text[: _columns() - 1]}", end="", flush=True)
            self.open = True
        elif last or now - self.printed_at >= self.every:
            print(text, flush=True)
            self.printed_at = now

    def line(self, text: str) -> None:
        """A line that stays."""
        if self.open:
            print()
            self.open = False
        print(text, flush=True)


def _columns() -> int:
    import shutil

    return shutil.get_terminal_size().columns


def duration(seconds: float) -> str:
    """Seconds as 1:05 or 2:03:04."""
    whole = max(round(seconds), 0)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def size(amount: int) -> str:
    """Bytes as 1.4 GiB."""
    return f"{amount / 2**30:.2f} GiB"
