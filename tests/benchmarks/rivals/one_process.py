"""One trial in a process of its own: python one_process.py MODEL RATE SEED DATA DEVICE THREADS FOLDER."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

from tests.benchmarks.rivals.plain_trial import Trial, run


def main(model: str, rate: str, seed: str, data: str, device: str, threads: str, folder: str) -> None:
    torch.set_num_threads(int(threads))
    print(json.dumps(run(Trial(model, float(rate), int(seed)), Path(data), device, Path(folder))))


if __name__ == "__main__":
    main(*sys.argv[1:])
