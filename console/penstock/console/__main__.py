"""`python -m penstock.console` is the `penstock` command."""

from penstock.console.main import app

if __name__ == "__main__":
    app(prog_name="penstock")
