"""How the nodes of a plan are computed: groups, workers, time limits, stops; with Ray, without, or elsewhere."""
