"""The sweep orchestrator: spec -> plan -> frontier -> execute -> store -> records -> tables."""
