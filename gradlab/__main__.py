"""`python -m gradlab` is the command `gradlab`."""

from gradlab.cli.main import main

if __name__ == "__main__":
    main()
