"""A cluster that is simulated, and what runs on it."""
