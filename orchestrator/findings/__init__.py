"""What tables and claims are made of: cells, statistics, evidence, and their formats."""
