"""``python -m pyro_vae`` is ``pyro-vae``."""

from .cli import command

command()
