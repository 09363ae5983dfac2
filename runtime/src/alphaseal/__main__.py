"""``python -m alphaseal``."""

from .cli import main

raise SystemExit(main())
