"""A workload that makes every kind of noise: for tests that none of it reaches the screen."""

from __future__ import annotations

import logging
import subprocess
import sys
import warnings

from workloads.contract import Config, Context, Result


class LoudConfig(Config):
    """`fails`: it ends in an error."""

    fails: bool = False


def run(config: LoudConfig, context: Context) -> Result:
    """Says NOISE in every way that a library might."""
    import torch

    print("NOISE printed")
    print("NOISE on stderr", file=sys.stderr)
    warnings.warn("NOISE of warnings", stacklevel=1)
    logging.getLogger("torch").warning("NOISE logged")
    subprocess.run(["echo", "NOISE of a child"], check=True)
    value = float(torch.tensor([0.5 + context.seed]).sqrt())
    context.log(1, value=value)
    if config.fails:
        raise RuntimeError("it was told to")
    return Result({"value": value})
