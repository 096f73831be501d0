"""The students, their bundle on disk, and the network that they are part of."""
