"""The one error that a user is meant to read."""


class UnseenError(Exception):
    """Could not run: what was wrong, which rule it breaks, the remedy. The command line prints it and exits with 2."""

    def __init__(self, what: str, rule: str = "", remedy: str = ""):
        self.what, self.rule, self.remedy = what, rule, remedy
        super().__init__("; ".join(part for part in (what, rule, remedy) if part))
