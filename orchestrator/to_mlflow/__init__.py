"""How events become MLflow runs: operations, the spool, and the one process that writes."""
