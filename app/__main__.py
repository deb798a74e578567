"""`python -m app` is `roo-vision`."""

from app.cli import main

main()
