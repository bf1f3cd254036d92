"""`python -m tts_engine`: the engine in the foreground.

Exit status 0 after SIGTERM or SIGINT, 1 where it cannot start, 2 where a setting is bad.
"""

from __future__ import annotations

import os
import sys

# Before gRPC is imported: its own lines about a failed bind are C++ traces, ours says the same in words.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

from tts_engine import logs
from tts_engine.errors import StartError
from tts_engine.server import run
from tts_engine.settings import load_settings


def main() -> int:
    settings = load_settings(sys.argv[1:], os.environ)
    logs.set_up()
    try:
        run(settings)
    except StartError as error:
        print(f"tts-engine: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # while the voices load; later SIGINT is a stop like SIGTERM
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
