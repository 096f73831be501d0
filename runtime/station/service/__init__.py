"""A station among a plant's services: its state, metrics, watchdog and doctor."""
