"""The one exception for a mistake in what a user handed in."""


class InputError(ValueError):
    """A file, field or option that cannot be used.

    The message is one sentence that names the file, the field, what came and what to do;
    the command line prints it and exits with status 2.
    """
