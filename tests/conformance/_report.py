"""Counts what holds and prints what does not."""

import sys

SHOWN_MAX = 100


class Report:
    def __init__(self):
        self.passed = 0
        self.failed = 0

    def check(self, is_so, what):
        """Counts one fact; `what` names it, or is a function that does."""
        if is_so:
            self.passed += 1
            return
        self.failed += 1
        if self.failed <= SHOWN_MAX:
            print("FAILED:", what() if callable(what) else what)

    def equal(self, got, wanted, what):
        self.check(got == wanted, lambda: f"{what}: got {got!r}, wanted {wanted!r}")

    def end(self):
        print(f"{self.passed} passed, {self.failed} failed")
        sys.exit(1 if self.failed else 0)
