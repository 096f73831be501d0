"""A box as an inspection station: images come in, verdicts go out; `l2bt line`."""
