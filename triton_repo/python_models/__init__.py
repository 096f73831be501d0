"""The server's python models; `entry` is where a filled repository finds them."""
