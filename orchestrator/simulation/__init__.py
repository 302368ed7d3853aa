"""The production core and loop in virtual time, around a modelled world: git, processes, people, faults, all by seed."""
