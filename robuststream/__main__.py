"""`python -m robuststream` is the same as `robuststream`."""

from robuststream.cli import main

if __name__ == "__main__":
    main()
