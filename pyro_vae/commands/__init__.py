"""The commands of the command line, a file each.

A file with a function ``run`` is a command of that name: ``parse(parser, arguments)`` adds its options and reads them,
``run(chosen)`` does it, and the module's docstring is its help. A file that it writes into the folder of a run is named
in `pyro_vae.runs.new_folder`, for a new training to take it away with the weights that it shows.
"""
