"""`python -m l2bt`."""

from l2bt.command_line import main

main()
