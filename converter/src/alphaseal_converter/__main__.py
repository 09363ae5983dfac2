"""``python -m alphaseal_converter``."""

from alphaseal_converter.cli import main

raise SystemExit(main())
