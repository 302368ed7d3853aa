"""The production core and loop in virtual time, in a modelled world: git, processes, people and faults, all by seed."""
