"""Outcomes as a driver keeps them: what many of them say alike is kept once.

An outcome that came from a worker or from a file has a config and texts of its own, 4 kB of them; 300,000 such would
take more memory than all else that a driver has.
"""

from __future__ import annotations

import sys
from dataclasses import replace

from orchestrator.planning.node import Node
from orchestrator.store import Outcome


def shared(outcome: Outcome, node: Node) -> Outcome:
    """The same outcome with the config of its node, and with texts that all outcomes share."""
    return replace(
        outcome,
        key=node.key,
        workload=node.workload,
        config=node.config if outcome.config == node.config else outcome.config,
        metrics={sys.intern(name): value for name, value in outcome.metrics.items()},
        meta={
            sys.intern(name): sys.intern(value) if isinstance(value, str) else value
            for name, value in outcome.meta.items()
        },
        files={sys.intern(name): digest for name, digest in outcome.files.items()},
    )
