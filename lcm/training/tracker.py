"""Follows the memory of tensors, operation by operation, on any device."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class MemoryTracker(TorchDispatchMode):
    """Follows the bytes of all tensors that operations make while it is entered, until they are freed.

    Buffers inside an operation are not seen.

    Attributes:
        live: Bytes now.
        trace: Live bytes after each operation; repeats of one operation in a row count once, with their largest value, for
            random numbers are drawn clip by clip.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's
        self.live = 0
        self.trace: list[int] = [0]
        self._known: dict[int, weakref.ref[torch.UntypedStorage]] = {}
        self._last: Any = None

    @property
    def peak(self) -> int:
        """The most bytes so far."""
        return max(self.trace)

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        """Run an operation and count what it made; views and in-place results share a storage with an input."""
        result = func(*args, **(kwargs or {}))
        given = {id(t.untyped_storage()) for t in tree_leaves((args, kwargs)) if _is_stored(t)}
        for tensor in filter(_is_stored, tree_leaves(result)):
            storage = tensor.untyped_storage()
            if id(storage) not in given and id(storage) not in self._known:
                self._follow(storage)
        if func is self._last:
            self.trace[-1] = max(self.trace[-1], self.live)
        else:
            self.trace.append(self.live)
        self._last = func
        return result

    def _follow(self, storage: torch.UntypedStorage) -> None:
        key, size = id(storage), storage.nbytes()

        def freed(_: weakref.ref[torch.UntypedStorage]) -> None:
            self._known.pop(key, None)
            self.live -= size

        self._known[key] = weakref.ref(storage, freed)
        self.live += size


def _is_stored(value: Any) -> bool:
    return isinstance(value, Tensor) and value.layout is torch.strided and value.device.type != "meta"
