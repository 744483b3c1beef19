"""How fast `etl` is beside other tools, on the same work: `poe benchmark` (see the README)."""
