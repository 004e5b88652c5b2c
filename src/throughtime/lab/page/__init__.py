"""The lesson in a browser: what is asked, turned, run and seen of each experiment, in order.

NiceGUI is imported by what `serve` imports, so that nothing else needs it.
"""

from throughtime.lab.page.serving import serve

__all__ = ["serve"]
