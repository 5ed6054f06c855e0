"""The one exception for a mistake in what a user handed in."""


class InputError(ValueError):
    """A file, field or option that cannot be used.

    The message is one sentence that names the file, the field, what came and what to do;
    the command line prints it and exits with status 2.
    """


def require_positive(**options: int | float | None) -> None:
    """Refuse options that must be above 0; None, an option that was not given, is right.

    Raises:
        InputError: one is 0, negative or no number.
    """
    for name, value in options.items():
        if value is not None and not value > 0:
            raise InputError(f"--{name.replace('_', '-')} is {value}: it must be above 0")
