"""``python -m samemap`` is the ``samemap`` command."""

from .cli import main

if __name__ == "__main__":
    main()
