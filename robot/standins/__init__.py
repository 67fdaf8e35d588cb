"""Stand-ins that speak the devices' own protocols, for tests and rehearsals: the drivers cannot tell them from the machine."""
