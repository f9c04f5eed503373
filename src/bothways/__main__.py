"""Run the command line as a module: `python -m bothways`, the same as `bothways`."""

from bothways.cli import main

if __name__ == "__main__":
    main()
