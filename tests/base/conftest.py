"""Model folders of this room's tests, made once a session."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tiny import save_tiny


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny llama folder; copy it before changing anything."""
    return save_tiny(tmp_path_factory.mktemp("llama"), "llama")
