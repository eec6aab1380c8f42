"""How `train` trains; loads torch."""
