"""`python -m fraudloop` is the command `fraudloop`."""

from fraudloop.cli.main import main

main()
