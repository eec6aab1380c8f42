"""What a submitted job runs: `python -m orchestrator.cluster.submitted`, in the folder that holds what was sent.

The command line is always this one: what a user wrote stands in request.json, and no shell ever reads it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from orchestrator.cli import main

REQUEST = "request.json"

ENTRYPOINT = "exec python -m orchestrator.cluster.submitted"

if __name__ == "__main__":
    sys.exit(main(json.loads(Path(REQUEST).read_text())["arguments"]))
