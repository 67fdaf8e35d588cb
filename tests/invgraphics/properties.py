"""How property tests run here: few examples, no deadline (timing never decides a test)."""

from hypothesis import settings

quick = settings(max_examples=40, deadline=None)
