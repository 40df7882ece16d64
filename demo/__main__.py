"""``make demo``: see samemap at work."""

import signal
import sys

# Until there is something to clean up, Ctrl-C simply ends it, also in the middle of an import.
signal.signal(signal.SIGINT, signal.SIG_DFL)

try:
    from show import main
except ModuleNotFoundError as error:
    sys.exit(f"The demo needs {error.name}, which is not installed here. 'make demo' installs all that it needs.")

main(prog_name="python demo")
