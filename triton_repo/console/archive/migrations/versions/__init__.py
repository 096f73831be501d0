"""One module for each change of the tables, the first of which makes them."""
