"""How near the network and what surrounds it come to what a machine can do."""
