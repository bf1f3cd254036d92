"""Let the published SGLang wheel run on a CPU-only PyTorch; Python imports this by name at start.

Put this directory on PYTHONPATH of whatever uses SGLang's environment. It holds the two things missing on a
CPU, and keeps PyTorch's rendezvous store, which would listen on every address of the host, on the loopback:

* `torchvision`, which SGLang and transformers import whenever it is there, comes from the package index as
  a CUDA build. Its compiled operators do not load beside a CPU PyTorch, and its own Python code then stops
  at "operator torchvision::nms does not exist". Declaring the operators is enough: a text model never calls
  them.
* `sgl_kernel`, whose CPU build is not published: see the package of that name next to this file.

SGLang starts its workers as new interpreters. They inherit PYTHONPATH, and so run this file too.
"""

from __future__ import annotations

import ipaddress
import socket
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from types import ModuleType

OPERATORS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


class DeclareTorchvisionOperators(MetaPathFinder):
    """Declares torchvision's operators when torchvision is first looked for; finds nothing itself."""

    def __init__(self) -> None:
        # PyTorch forgets a library's operators when the Library object is collected.
        self.libraries: list[object] = []

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        if fullname != "torchvision" or self.libraries:
            return
        # Here and not at the top: every interpreter runs this file, and few of them want PyTorch.
        from torch.library import Library  # type: ignore[import-not-found]

        library = Library("torchvision", "DEF")
        for schema in OPERATORS:
            library.define(schema)
        self.libraries.append(library)


class ListenOnLoopback(MetaPathFinder):
    """Makes torch.distributed's TCPStore listen where it is told to; finds nothing itself.

    PyTorch takes only the port of `tcp://127.0.0.1:PORT` and listens on all addresses; there is no setting.
    """

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        # The module that opens the store takes the class from its package, which has it by then.
        if fullname != "torch.distributed.rendezvous":
            return
        package = sys.modules["torch.distributed"]
        base: type = package.TCPStore

        class LoopbackTCPStore(base):  # type: ignore[misc]
            def __init__(self, host_name: str, port: int, **options: object) -> None:
                if options.get("is_master") and "master_listen_fd" not in options and is_loopback(host_name):
                    options["master_listen_fd"] = socket.create_server((host_name, port)).detach()
                super().__init__(host_name, port, **options)

        package.TCPStore = LoopbackTCPStore  # type: ignore[attr-defined]


def is_loopback(host: str) -> bool:
    """Whether `host` is an address of the loopback; a name is none."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


sys.meta_path[:0] = [DeclareTorchvisionOperators(), ListenOnLoopback()]
