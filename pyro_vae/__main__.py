"""``python -m pyro_vae`` is ``pyro-vae``."""

from .commands.main import command

command()
