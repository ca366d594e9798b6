"""The commands of the command line, a file each.

A file with a function ``run`` is a command of that name: ``parse(parser, arguments)`` adds its options and reads them,
``run(chosen)`` does it, and the module's docstring is its help.
"""
