"""WebSockets: requests of steps as messages, an answer to each in their order.

A client may send the next message before the last one is answered. Once many wait, nothing more is
read from it, and TCP holds it up.
"""

import asyncio
from contextlib import suppress

from starlette.websockets import WebSocket, WebSocketDisconnect

from throughtime.serve.answers import answers_to, encode, steps_of
from throughtime.serve.limits import WINDOW
from throughtime.serve.refusals import Refusal
from throughtime.serve.service import Service
from throughtime.serve.steps import Outcome, Step

ENDED = 1000
LEAVING = 1001
NO_TEXT = 1003
SLOW = 1008

_Pending = tuple[list[Step], "asyncio.Future[list[Outcome]]"] | bytes


class _Ending(Exception):
    """The stream ends with a code."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


async def stream(websocket: WebSocket, service: Service) -> None:
    """Answer the messages of a client until it leaves, is silent for too long, or the server ends.

    Each message is what the body of `/v1/step` is, and its answer what that gives; a message that
    is refused as a whole is answered by its error, and the next is read.
    """
    await websocket.accept()
    task = asyncio.current_task()
    if task is not None:
        service.enter(task)
    pending: asyncio.Queue[_Pending | None] = asyncio.Queue(WINDOW)
    loop = asyncio.get_running_loop()
    reader = loop.create_task(_read(websocket, service, pending))
    writer = loop.create_task(_write(websocket, service, pending))
    end = loop.create_task(service.stopping.wait())
    try:
        await asyncio.wait({reader, writer, end}, return_when=asyncio.FIRST_COMPLETED)
        ending = _Ending(LEAVING, "the server ends")
        if reader.done():
            with suppress(WebSocketDisconnect):
                try:
                    reader.result()
                except _Ending as found:
                    ending = found
        elif not writer.done():
            reader.cancel()
            with suppress(asyncio.CancelledError, _Ending, WebSocketDisconnect):
                await reader
        if not writer.done():
            # What was read is answered first.
            async with asyncio.timeout(service.limits.deadline + service.limits.patience):
                await pending.put(None)
                await writer
        writer.result()
        await websocket.close(ending.code, ending.reason)
    except (WebSocketDisconnect, RuntimeError, TimeoutError):
        # The client has gone, or does not take its answers; the connection is closed as we leave.
        pass
    finally:
        for each in (reader, writer, end):
            each.cancel()
        await asyncio.gather(reader, writer, end, return_exceptions=True)


async def _read(
    websocket: WebSocket, service: Service, pending: "asyncio.Queue[_Pending | None]"
) -> None:
    while True:
        try:
            async with asyncio.timeout(service.limits.quiet):
                message = await websocket.receive()
        except TimeoutError:
            quiet = f"nothing came for {service.limits.quiet:g} s"
            raise _Ending(SLOW, quiet) from None
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", ENDED))
        text = message.get("text")
        if text is None:
            raise _Ending(NO_TEXT, "expected text")
        try:
            steps = steps_of(text.encode())
            given = await service.batcher.submit_in_turn(steps)
        except Refusal as refusal:
            service.metrics.refusal(refusal.code)
            await pending.put(encode({"error": refusal.to_json()}))
        else:
            await pending.put((steps, given))


async def _write(
    websocket: WebSocket, service: Service, pending: "asyncio.Queue[_Pending | None]"
) -> None:
    while (item := await pending.get()) is not None:
        if isinstance(item, bytes):
            content = item
        else:
            steps, given = item
            content = encode(answers_to(steps, await given))
        async with asyncio.timeout(service.limits.patience):
            await websocket.send_text(content.decode())
