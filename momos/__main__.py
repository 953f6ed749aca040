"""``python -m momos``."""

from momos.cli import main

if __name__ == "__main__":
    main()
