"""What happens now: counters of the shift, the latest verdict, the state of the server."""
