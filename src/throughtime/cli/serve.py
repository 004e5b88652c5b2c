"""`throughtime serve`: a run as a server of live sequences."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from throughtime.cli.failures import say
from throughtime.cli.options import Json, RunFolder, SpareSeed
from throughtime.errors import OptionError

_LOOPBACK = ("127.", "localhost", "::1")


def serve(
    run: RunFolder,
    host: Annotated[
        str, typer.Option(help="Address to listen at; others can't reach the first.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 for any that is free.")] = 8000,
    slots: Annotated[int, typer.Option(min=1, help="Sequences that there is room for.")] = 10_000,
    idle: Annotated[
        float, typer.Option(min=0, help="Seconds without a row after which one goes; 0 for never.")
    ] = 3600.0,
    implicit_start: Annotated[
        bool,
        typer.Option(
            "--implicit-start",
            help="Let a row of an unknown sequence begin it, without sequence_start.",
        ),
    ] = False,
    max_delay: Annotated[
        float,
        typer.Option(
            min=0,
            max=1000,
            metavar="MS",
            help="Milliseconds that the first row waits for others to be read with.",
        ),
    ] = 0.0,
    snapshot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Keep the sequences in a file: gone on with at the start, written now and then "
            "and at the end.",
        ),
    ] = None,
    snapshot_every: Annotated[
        float,
        typer.Option(
            min=0.1,
            metavar="SECONDS",
            help="How often it is written; with --redis, how often open sequences are copied "
            "there.",
        ),
    ] = 60.0,
    redis: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            envvar="THROUGHTIME_REDIS",
            help="Where sequences go that leave, and copies of those that are open; other workers "
            "find them there.",
        ),
    ] = None,
    redis_expiry: Annotated[
        float,
        typer.Option(min=1, metavar="SECONDS", help="After which they are forgotten there."),
    ] = 86_400.0,
    token_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Holds the token that clients must show; else the variable THROUGHTIME_TOKEN may.",
        ),
    ] = None,
    max_body: Annotated[
        int, typer.Option(min=1024, max=2**26, metavar="BYTES", help="Most of a request's body.")
    ] = 2**20,
    max_waiting: Annotated[
        int, typer.Option(min=1, help="Most steps that wait; more are refused.")
    ] = 20_000,
    max_connections: Annotated[int, typer.Option(min=1, help="Most at a time.")] = 8192,
    deadline: Annotated[
        float,
        typer.Option(min=0.001, metavar="SECONDS", help="In which a step must get its turn."),
    ] = 10.0,
    json: Json = False,
    seed: SpareSeed = 0,
) -> None:
    """Serve live sequences over HTTP and WebSockets, many stepped together.

    POST /v1/step reads rows and answers each; /openapi.json describes everything.
    Ctrl-C or SIGTERM ends it: what is under way is answered, and the sequences are kept.
    """
    from throughtime.serve.access import check_can_serve, read_token

    check_can_serve()
    token = read_token(token_file)
    if max_body > 2**26:
        raise OptionError(f"expected --max-body of at most {2**26:,} bytes, got {max_body:,}")
    # One thread steps, and more would only wait for one another.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from throughtime.run import load
    from throughtime.serve.limits import Limits
    from throughtime.serve.server import serve as serve_until_asked
    from throughtime.serve.service import Service
    from throughtime.serve.store import RedisStore

    loaded = load(run)
    store = None if redis is None else RedisStore(redis, loaded.fingerprint, expiry=redis_expiry)
    service = Service(
        loaded,
        slots=slots,
        idle=idle or None,
        implicit_start=implicit_start,
        max_delay=max_delay / 1000,
        snapshot=snapshot,
        snapshot_every=snapshot_every,
        store=store,
        token=token,
        limits=Limits(
            body=max_body,
            held=max(64 * max_body, 64 * 2**20),
            waiting=max_waiting,
            connections=max_connections,
            deadline=deadline,
        ),
        tell=say,
    )
    if token is None and not host.startswith(_LOOPBACK):
        say(f"whoever reaches {host} can use this server: give it --token-file")

    def begun(address: str) -> None:
        from throughtime.cli.show import print_json

        if json:
            print_json(
                {"address": address, "run": str(run), "restored": service.restored}, indent=None
            )
            sys.stdout.flush()
        else:
            say(f"serving {run} at {address}, {slots:,} slots, {service.restored:,} taken")

    serve_until_asked(service, host=host, port=port, begun=begun)
