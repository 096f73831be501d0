"""The console under load: a large archive, and a line that is watched."""
