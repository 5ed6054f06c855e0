"""The one exception for a mistake in what a user handed in."""

from __future__ import annotations

MESSAGE_LENGTH = 300
"""The longest message: names and values out of files may have any length."""


class InputError(ValueError):
    """A file, field or option that cannot be used.

    The message is one sentence that names the file, the field, what came and what to do;
    the command line prints it and exits with status 2. Whatever a file puts into it, it stays one line of printable
    characters, of which the middle is left out beyond `length`; a message that lists others asks for more.
    """

    def __init__(self, message: str, length: int = MESSAGE_LENGTH) -> None:
        super().__init__(one_line(message, length))


def one_line(text: str, length: int = MESSAGE_LENGTH) -> str:
    """`text` without line breaks and control characters, its middle left out where it is longer than `length`."""
    if len(text) > 4 * length:
        text = text[: 2 * length] + text[-2 * length :]
    text = "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))
    if len(text) <= length:
        return text
    end = length // 3
    return f"{text[: length - end - 5]} ... {text[-end:]}"


def require_positive(**options: int | float | None) -> None:
    """Refuse options that must be above 0; None, an option that was not given, is right.

    Raises:
        InputError: one is 0, negative or no number.
    """
    for name, value in options.items():
        if value is not None and not value > 0:
            raise InputError(f"--{name.replace('_', '-')} is {value}: it must be above 0")
