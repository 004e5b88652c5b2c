"""The garbage collector, which would hold up all requests to look through the modules of torch."""

import gc
import os
import signal

from throughtime.serve import Service, serve


def test_what_is_there_before_the_first_request_is_left_alone(run):
    found = []

    def begun(address):
        found.append(gc.get_freeze_count())
        os.kill(os.getpid(), signal.SIGTERM)

    serve(Service(run), port=0, begun=begun)
    assert found[0] > 100_000, "nearly all that there is"
    assert gc.get_freeze_count() == 0, "and not for ever: the process may go on"
