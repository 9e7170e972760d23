"""A layer's keys and values in buffers with room for more columns, so that a token is written and nothing is copied.

The library's own layer joins what it holds with each new token, which copies all of it for every token.
"""

from __future__ import annotations

from typing import Any, Final

from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

_ROOM: Final = 128  # columns that a buffer has beyond what is wanted of it


class RoomyLayer(DynamicLayer):  # type: ignore[misc]
    """``keys`` and ``values`` [rows x heads x T x d] are the filled columns of the buffers."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._buffers: tuple[Any, ...] = ()

    def hold(self, keys: Any, values: Any) -> None:
        """Other rows or columns instead of those that it held."""
        self.keys, self.values, self._buffers = keys, values, ()

    def update(self, key_states: Any, value_states: Any, *_: Any, **__: Any) -> tuple[Any, Any]:
        """All columns, with the new ones behind those that it held."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        held = self.get_seq_length()
        end = held + key_states.shape[2]
        if not self._buffers or end > self._buffers[0].shape[2]:
            self._buffers = _buffer(self.keys, key_states, held, end), _buffer(self.values, value_states, held, end)
        for buffer, new in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[:, :, held:end] = new
        self.keys, self.values = (buffer[:, :, :end] for buffer in self._buffers)
        return self.keys, self.values


def roomy_cache(config: Any) -> Any:
    """An empty cache of a model whose layers are all plain (``DynamicLayer``)."""
    cache = DynamicCache(config=config)
    cache.layers = [RoomyLayer() for _ in cache.layers]
    return cache


def _buffer(old: Any, new: Any, held: int, end: int) -> Any:
    rows, heads, _, size = new.shape
    buffer = new.new_empty(rows, heads, end + _ROOM, size)
    if held:
        buffer[:, :, :held] = old
    return buffer
