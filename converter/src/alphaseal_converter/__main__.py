"""``python -m alphaseal_converter``."""

from .cli import main

raise SystemExit(main())
