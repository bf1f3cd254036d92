"""What is put beside SGLang on a CPU, without SGLang and without PyTorch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

COMPAT = Path(__file__).parents[2] / "roles/sglang/files/cpu_compat"


def python(program: str) -> str:
    """What a new interpreter prints that has the directory on its path."""
    environment = {**os.environ, "PYTHONPATH": str(COMPAT), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def test_every_interpreter_waits_for_torchvision_and_loads_no_torch() -> None:
    program = (
        "import sys\n"
        "print([type(finder).__name__ for finder in sys.meta_path[:2]],"
        " [name for name in sys.modules if name.startswith('torch')])"
    )
    assert python(program) == "['DeclareTorchvisionOperators', 'ListenOnLoopback'] []"


def test_the_operators_are_declared_before_torchvision_is_found(tmp_path: Path) -> None:
    """With a torch and a torchvision that only record the order in which they are used."""
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch/__init__.py").touch()
    (tmp_path / "torch/library.py").write_text(
        "class Library:\n"
        "    def __init__(self, name, kind): print(name, kind)\n"
        "    def define(self, schema): print(schema.split('(')[0])\n",
        encoding="utf-8",
    )
    (tmp_path / "torchvision.py").write_text("print('found')", encoding="utf-8")
    program = f"import sys; sys.path.append({str(tmp_path)!r}); import torchvision; import torchvision"
    assert python(program).split("\n") == ["torchvision DEF", "nms", "qnms", "found"]


def test_a_missing_kernel_can_be_imported_but_not_called() -> None:
    program = (
        "from sgl_kernel import verify_tree_greedy_cpu as kernel\n"
        "try: kernel(1, cols=2)\n"
        "except NotImplementedError as error: print(error)"
    )
    assert python(program).startswith("the kernel verify_tree_greedy_cpu is not published for CPUs")


def test_anything_but_a_cpu_kernel_is_absent() -> None:
    assert python("import sgl_kernel; print(hasattr(sgl_kernel, 'gelu_and_mul'))") == "False"


def test_the_rendezvous_store_listens_on_the_loopback_only(tmp_path: Path) -> None:
    """With a torch whose store only says which address the listening socket has that it is given."""
    (tmp_path / "torch/distributed").mkdir(parents=True)
    (tmp_path / "torch/__init__.py").touch()
    (tmp_path / "torch/distributed/__init__.py").write_text(
        "import socket\n"
        "class TCPStore:\n"
        "    def __init__(self, host_name, port, master_listen_fd=None, is_master=False):\n"
        "        print(master_listen_fd and socket.socket(fileno=master_listen_fd).getsockname()[0])\n"
        "from . import rendezvous\n",
        encoding="utf-8",
    )
    (tmp_path / "torch/distributed/rendezvous.py").write_text(
        "from torch.distributed import TCPStore\n", encoding="utf-8"
    )
    program = (
        f"import sys; sys.path.append({str(tmp_path)!r})\n"
        "from torch.distributed.rendezvous import TCPStore\n"
        "TCPStore(host_name='127.0.0.1', port=0, is_master=True)\n"
        "TCPStore(host_name='127.0.0.1', port=1, is_master=False)\n"
        "TCPStore(host_name='example.org', port=2, is_master=True)"
    )
    assert python(program).split("\n") == ["127.0.0.1", "None", "None"]
