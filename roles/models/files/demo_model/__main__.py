"""python -m demo_model --output DIRECTORY"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

from .conversations import ConversationsError, read_curriculum

HERE = Path(__file__).parent
CARD = HERE / "README.md"
# Stays with the weights, so that anyone can see what they know, and a test whether they are out of date.
LEARNT = "conversations.yml"


def main() -> int:
    arguments = _arguments()
    try:
        curriculum = read_curriculum(arguments.conversations)
    except ConversationsError as error:
        return _fail(str(error))
    if arguments.output.exists():
        return _fail(f"{arguments.output} exists already; remove it to make the model anew")
    _report(f"{len(curriculum.conversations)} conversations from {arguments.conversations}")
    # Here and not at the top: PyTorch takes seconds to load, and a mistake in the file should show at once.
    from . import training

    try:
        tokenizer, model = training.train(
            curriculum, arguments.seed, arguments.steps, arguments.tries, _report
        )
        with _Staged(arguments.output) as directory:
            training.save(tokenizer, model, directory)
            shutil.copyfile(CARD, directory / "README.md")
            shutil.copyfile(arguments.conversations, directory / LEARNT)
    except training.TrainingError as error:
        return _fail(str(error))
    except OSError as error:
        return _fail(f"cannot write {arguments.output}: {error.strerror}")
    _report(f"the demo model is in {arguments.output}")
    return 0


class _Staged:
    """A directory that appears under its final name only when everything is in it."""

    def __init__(self, final: Path) -> None:
        self.final = final
        final.parent.mkdir(parents=True, exist_ok=True)
        self.directory = Path(tempfile.mkdtemp(prefix=f".{final.name}.", dir=final.parent))

    def __enter__(self) -> Path:
        return self.directory

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            shutil.rmtree(self.directory)
            return
        # mkdtemp and safetensors write for their owner alone, but the server is another user.
        for file in self.directory.iterdir():
            file.chmod(0o644)
        self.directory.chmod(0o755)
        self.directory.replace(self.final)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m demo_model",
        description="Train the demo model: a tiny Qwen2 that knows the conversations of a file by heart.",
    )
    parser.add_argument("--output", type=Path, required=True, help="directory to make; must not exist")
    parser.add_argument(
        "--conversations",
        type=Path,
        default=HERE / "conversations.yml",
        help="what to teach (default: the project's own conversations)",
    )
    parser.add_argument("--seed", type=int, default=1, help="of weights and lessons (default: %(default)s)")
    parser.add_argument("--steps", type=_positive, default=450, help="of one try (default: %(default)s)")
    parser.add_argument("--tries", type=_positive, default=3, help="at most (default: %(default)s)")
    return parser.parse_args()


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _report(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)


def _fail(reason: str) -> int:
    print(f"demo_model: {reason}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
