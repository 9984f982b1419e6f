"""How fast a training goes, once it goes: what its record says and what is shown meanwhile."""

from dataclasses import dataclass


@dataclass
class Pace:
    """Tokens and seconds of training steps, without the first step of every process.

    That one also compiles what it calls, for up to half a minute, and says nothing of those after it.

    Example:
        >>> pace = Pace()
        >>> pace.add(100, 25.0, is_first=True)
        >>> pace.tokens_per_second is None
        True
        >>> pace.add(100, 0.5, is_first=False)
        >>> pace.tokens_per_second
        200.0
    """

    tokens: float = 0.0
    seconds: float = 0.0

    def add(self, tokens: float, seconds: float, *, is_first: bool) -> None:
        """Count a step."""
        if not is_first:
            self.tokens += tokens
            self.seconds += seconds

    @property
    def tokens_per_second(self) -> float | None:
        """The mean, or None before there is one."""
        return self.tokens / self.seconds if self.seconds else None
