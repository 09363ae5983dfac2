"""``python -m alphaseal``."""

from alphaseal.cli import main

raise SystemExit(main())
