"""Computations that a sweep can run. Knows torch and nothing of Ray, MLflow or Parquet."""
