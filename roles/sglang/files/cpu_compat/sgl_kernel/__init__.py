"""Stand-in for the CPU build of `sgl_kernel`, which is not published.

With SGLANG_USE_CPU_ENGINE=1 SGLang imports CPU kernels from here by name while it starts. All of them belong
to speculative decoding or to models with linear attention; plain decoding takes PyTorch's own operators. So a
kernel may be imported, and says what it is only when something calls it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn


def __getattr__(name: str) -> Callable[..., NoReturn]:
    # Anything else must look absent: SGLang and Python itself probe a module for names it need not have.
    if not name.endswith("_cpu"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def missing(*_: object, **__: object) -> NoReturn:
        raise NotImplementedError(
            f"the kernel {name} is not published for CPUs: choose a model and options that do without it"
        )

    return missing
