"""Long runs, and faults on purpose."""
