"""Computing an exported package of nodes where there are torch and pydantic and nothing else of ours."""
