"""`sweep schema`: for editors."""

from __future__ import annotations

import json
from argparse import Namespace


def schema_command(request: Namespace) -> int:
    """`sweep schema`: print the JSON schema of sweep files."""
    from orchestrator.sweepfile.fileschema import file_schema

    print(json.dumps(file_schema(), indent=1, ensure_ascii=False))
    return 0
