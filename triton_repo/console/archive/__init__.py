"""Every inspection that a server wrote down, in a database."""
