"""The report: one HTML page that says what the numbers of an evaluation mean."""
