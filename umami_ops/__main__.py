"""`python -m umami_ops`."""

from umami_ops.cli import main

if __name__ == "__main__":
    main(prog_name="umami-ops")
